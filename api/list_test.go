//go:build long

package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"secretstore/acl"
	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/store"
)

// manySecrets is more than a list answers in one piece.
const manySecrets = 1<<15 + 1<<13

// fillMany stores manySecrets below "many", in several folders.
func (e *edge) fillMany() (names []string) {
	e.t.Helper()
	var writers sync.WaitGroup
	for folder := range 8 {
		for i := range manySecrets / 8 {
			names = append(names, fmt.Sprintf("f%d/s%05d", folder, i))
		}
		mine := names[len(names)-manySecrets/8:]
		writers.Go(func() {
			for _, name := range mine {
				p, err := acl.ParsePath("many/" + name)
				if err == nil {
					_, err = e.store.Create(e.t.Context(), p, seal.Change{Kind: seal.Text, Value: []byte("v")})
				}
				if err != nil {
					e.t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	writers.Wait()
	return names
}

func TestALongListIsSentWhileItIsRead(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	want := e.fillMany()
	got := e.want(req{method: "GET", path: base + "/many?list=true", uid: "alice", long: true}, 200)
	if got.header.Get("Content-Length") != "" {
		t.Error("its length was known before: the test says nothing")
	}
	var list wire.List
	must(t, json.Unmarshal([]byte(got.body), &list))
	if strings.Join(list.Array, " ") != strings.Join(want, " ") {
		t.Errorf("%d names, want %d, or they differ", len(list.Array), len(want))
	}
	head := e.do(req{method: "HEAD", path: base + "/many?list=true", uid: "alice", long: true})
	for head.status == 503 { // it reads all of the list within the time limit of a request
		head = e.do(req{method: "HEAD", path: base + "/many?list=true", uid: "alice", long: true})
	}
	if head.status != 200 || head.body != "" {
		t.Error("HEAD has a body")
	}

	// Whether it is complete is known at its end.
	_, err := e.backend.Apply(t.Context(), store.Create(junkFolder, []byte("junk")))
	must(t, err)
	got = e.want(req{method: "GET", path: base + "/many?list=true", uid: "alice", long: true}, 200)
	list = wire.List{}
	must(t, json.Unmarshal([]byte(got.body), &list))
	if !list.Incomplete || len(list.Array) != len(want) {
		t.Errorf("%d names, incomplete: %v", len(list.Array), list.Incomplete)
	}

	// What has been sent when it breaks off must not be taken for whole.
	breakOff := func(what string, happens func()) {
		r := httptest.NewRequest(http.MethodGet, base+"/many?list=true", nil)
		r.Header.Set("Authorization", "token="+tokenOf(t, "alice", ""))
		w := &meanwhileWriter{ResponseRecorder: httptest.NewRecorder(), happens: happens}
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("%s: the connection was not ended: %v", what, v)
			}
			if body := w.Body.String(); strings.HasSuffix(body, "}") {
				t.Errorf("%s: a list that broke off looks whole", what)
			}
			if len(w.Body.String()) >= len(got.body) {
				t.Errorf("%s: all of it was sent", what)
			}
		}()
		e.server.ServeHTTP(w, r)
	}
	before := e.policy.Load()
	breakOff("no permission any more", func() { e.policy.Store((*acl.Policy)(nil).WithSuperusers("root")) })
	e.policy.Store(before)
	breakOff("sealed", e.sealStore)
}

// meanwhileWriter has something happen once the answer has begun.
type meanwhileWriter struct {
	*httptest.ResponseRecorder
	happens func()
	once    sync.Once
}

func (w *meanwhileWriter) Write(p []byte) (int, error) {
	w.once.Do(w.happens)
	return w.ResponseRecorder.Write(p)
}
