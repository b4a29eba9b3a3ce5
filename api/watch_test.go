package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api/wire"
	"secretstore/store"
	"secretstore/store/bolt"
	"secretstore/store/memory"
)

// patience is for what must happen soon.
const patience = 30 * time.Second

// begin sends a request and returns where its answer will be.
func (e *edge) begin(q req) <-chan res {
	e.t.Helper()
	return e.beginAs(q, "token="+tokenOf(e.t, q.uid, q.service))
}

func (e *edge) beginAs(q req, authorization string) <-chan res {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), q.method, e.url+q.path, nil)
	must(e.t, err)
	for name, values := range q.header {
		r.Header[name] = values
	}
	r.Header.Set("Authorization", authorization)
	answers := make(chan res, 1)
	go func() {
		defer close(answers)
		answer, err := e.client.Do(r)
		if err != nil {
			answers <- res{body: err.Error()}
			return
		}
		defer answer.Body.Close()
		raw, err := io.ReadAll(answer.Body)
		if err != nil {
			answers <- res{body: err.Error()}
			return
		}
		answers <- res{answer.StatusCode, answer.Header, string(raw)}
	}()
	return answers
}

// awaitWaiting waits until so many requests wait.
func (e *edge) awaitWaiting(n int) {
	e.t.Helper()
	for deadline := time.Now().Add(patience); e.server.Waiting() != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.t.Fatalf("%d requests wait, want %d", e.server.Waiting(), n)
		}
	}
}

func (e *edge) answered(answers <-chan res, status int, words ...string) res {
	e.t.Helper()
	select {
	case got := <-answers:
		if got.status != status {
			e.t.Errorf("status %d (%s), want %d", got.status, got.body, status)
		}
		for _, w := range words {
			if !strings.Contains(got.body, w) {
				e.t.Errorf("body %q lacks %q", got.body, w)
			}
		}
		return got
	case <-time.After(patience):
		e.t.Fatal("no answer")
		panic("unreachable")
	}
}

// etag returns the ETag of a secret as alice reads it.
func (e *edge) etag(path string) string {
	e.t.Helper()
	return e.want(req{method: "GET", path: base + "/" + path, uid: "alice"}, 200).header.Get("ETag")
}

func watching(path, known string) req {
	return req{method: "GET", path: base + "/" + path + "?watch=" + strings.Trim(known, `"`) + "&timeout=10m", uid: "alice"}
}

func TestAWatchAnswersAtOnceIfTheClientHasAnotherValue(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "v")
	etag := e.etag("a")
	id := strings.Trim(etag, `"`)
	other := strings.Repeat("0", 32)
	for _, row := range []struct {
		path, query string
		status      int
		etag        string
	}{
		{"a", "watch=" + id + "&timeout=0s", 304, etag},
		{"a", "watch=%22" + id + "%22&timeout=1ms", 304, etag},
		{"a", "watch=" + other, 200, etag},
		{"a", "watch=", 200, etag},
		{"a", "watch", 200, etag},
		{"a", "watch=%22%22", 200, etag},
		{"b", "watch=&timeout=0s", 304, ""},
		{"b", "watch=" + id, 404, ""},
		{"a", "watch=x", 400, ""},
		{"a", "watch=" + id[1:], 400, ""},
		{"a", "watch=" + strings.ToUpper(id) + "A", 400, ""},
		{"a", "watch=%22" + id, 400, ""},
		{"a", "watch=" + id + "&watch=" + id, 400, ""},
		{"a", "watch=&timeout=1m&timeout=1m", 400, ""},
		{"a", "watch=&timeout=60", 400, ""},
		{"a", "watch=&timeout=-1s", 400, ""},
		{"a", "watch=&timeout=11m", 400, ""},
		{"a", "watch=&timeout=", 400, ""},
		{"a", "timeout=x", 200, etag}, // without watch it is an unknown parameter
		{"?list=true&watch=x", "", 400, ""},
	} {
		path := base + "/" + row.path
		if row.query != "" {
			path += "?" + row.query
		}
		got := e.want(req{method: "GET", path: path, uid: "alice"}, row.status)
		if tag := got.header.Get("ETag"); tag != row.etag {
			t.Errorf("%s: ETag %q, want %q", path, tag, row.etag)
		}
	}
	e.want(req{method: "GET", path: base + "/a?watch=", uid: "nobody"}, 403)
	e.want(req{method: "GET", path: base + "/a?watch=", uid: "alice", header: http.Header{"Accept": {wire.TypeBinary}}}, 200, "v")
	if got := e.want(req{method: "HEAD", path: base + "/a?watch=", uid: "alice"}, 200); got.body != "" {
		t.Errorf("body %q", got.body)
	}
}

func TestWatchAnswersWhenTheSecretChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true, timeouts: 300 * time.Millisecond}) // which must not end it
		created := e.begin(watching("a", ""))
		e.awaitWaiting(1)
		time.Sleep(time.Minute) // longer than the deadlines of the server
		e.put("a", "v1")
		first := e.answered(created, 200, `"v1"`).header.Get("ETag")

		changed, scheduler := e.begin(watching("a", first)), watching("a", first)
		scheduler.uid, scheduler.header = "scheduler", http.Header{wire.ServiceHeader: {"/app"}}
		behalf := e.begin(scheduler)
		task := watching("a", first)
		task.service = "/app"
		own := e.begin(task)
		e.awaitWaiting(3)
		e.patch("alice", "a", "v2")
		second := e.answered(changed, 200, `"v2"`).header.Get("ETag")
		e.answered(behalf, 200, `"v2"`)
		e.answered(own, 200, `"v2"`)
		if second == first || second != e.etag("a") {
			t.Errorf("ETag %s after %s, now %s", second, first, e.etag("a"))
		}

		deleted := e.begin(watching("a", second))
		e.awaitWaiting(1)
		e.want(req{method: "DELETE", path: base + "/a", uid: "alice"}, 204)
		e.answered(deleted, 404, "does not exist")

		// Deleted and made anew, it is another value.
		e.put("a", "v2")
		again := e.begin(watching("a", second))
		if third := e.answered(again, 200, `"v2"`).header.Get("ETag"); third == second {
			t.Error("the same ETag after a delete and a create")
		}
		e.awaitWaiting(0)
	})
}

func TestPermissionIsCheckedAgainWhileAWatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("a", "CANARY-VALUE")
		etag := e.etag("a")
		policy := e.policy.Load()

		// The policy changes, and then the secret: not its value is sent.
		w := e.begin(watching("a", etag))
		e.awaitWaiting(1)
		e.policy.Store((*acl.Policy)(nil).WithSuperusers("root"))
		e.patch("root", "a", "CANARY-VALUE")
		e.answered(w, 403)
		// The policy alone.
		e.policy.Store(policy)
		etag = e.etag("a")
		w = e.begin(watching("a", etag))
		e.awaitWaiting(1)
		began := time.Now()
		e.policy.Store((*acl.Policy)(nil).WithSuperusers("root"))
		if got := e.answered(w, 403); strings.Contains(got.body, "CANARY") {
			t.Error(got.body)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the watch went on for %v", took)
		}
		e.policy.Store(policy)

		// The token expires.
		raw, err := token.Sign("alice", time.Now().Add(-token.Leeway+2*time.Second), "", []byte(hmacKey))
		must(t, err)
		w = e.beginAs(watching("a", etag), "token="+raw)
		e.answered(w, 401)

		// A seal.
		w = e.begin(watching("a", etag))
		e.awaitWaiting(1)
		e.sealStore()
		e.answered(w, 503, "the secret store is sealed")
		e.want(watching("a", etag), 503, "the secret store is sealed")
		_, err = e.store.Unseal(t.Context(), []byte(e.unseal))
		must(t, err)

		// The end of the server.
		w = e.begin(watching("a", etag))
		e.awaitWaiting(1)
		e.server.EndWatches()
		if got := e.answered(w, 503, "this server stops"); got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		e.answered(e.begin(watching("a", etag)), 503, "this server stops")
		e.answered(e.begin(watching("a", "")), 200)
		e.awaitWaiting(0)
	})
}

func TestAWatchOutlastsAnOutageOfTheStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("a", "v")
		etag := e.etag("a")
		short := watching("a", etag)
		short.path = strings.Replace(short.path, "10m", "1s", 1)

		e.backend.age.Store(int64(90 * time.Second))
		if got := e.answered(e.begin(short), 304); got.header.Get("Age") != "90" || got.header.Get("ETag") != etag {
			t.Errorf("headers %v", got.header)
		}
		e.backend.age.Store(0)

		e.backend.down.Store(true)
		if got := e.answered(e.begin(short), 503, "unreachable"); got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		w := e.begin(watching("a", etag))
		e.awaitWaiting(1)
		e.backend.down.Store(false)
		e.patch("alice", "a", "w")
		e.answered(w, 200, `"w"`)
	})
}

func TestEachWatchHasOneAuditLineWhenItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		w := e.begin(watching("a", ""))
		e.awaitWaiting(1)
		for _, line := range e.auditLines() {
			if line["endpoint"] == "secret.watch" {
				t.Errorf("a line before there was an answer: %v", line)
			}
		}
		e.put("a", "CANARY-VALUE")
		e.answered(w, 200)
		var lines []map[string]any
		for _, line := range e.auditLines() {
			if line["endpoint"] == "secret.watch" {
				lines = append(lines, line)
			}
		}
		if len(lines) != 1 || lines[0]["outcome"] != "allowed" || lines[0]["status"] != 200.0 || lines[0]["resource"] != "dcos:secrets:default:/a" || lines[0]["action"] != "read" {
			t.Errorf("%v", lines)
		}
	})
}

func TestAWatchEndsWhenItsClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", e.url+watching("a", "").path, nil)
		must(t, err)
		r.Header.Set("Authorization", "token="+tokenOf(t, "alice", ""))
		done := make(chan error, 1)
		go func() {
			_, err := e.client.Do(r)
			done <- err
		}()
		e.awaitWaiting(1)
		cancel()
		if err := <-done; err == nil {
			t.Error("an answer")
		}
		e.awaitWaiting(0)
	})
}

// TestOneChangeWakesAllWatchers does so through real connections, on each
// storage of one server, three times: no watcher may miss the change, and none
// may stay.
func TestOneChangeWakesAllWatchers(t *testing.T) { testOneChangeWakes(t, 200) }

func testOneChangeWakes(t *testing.T, watchers int) {
	for name, open := range map[string]func(*testing.T) store.Backend{
		"memory": func(*testing.T) store.Backend { return memory.New() },
		"bolt": func(t *testing.T) store.Backend {
			b, err := bolt.Open(t.Context(), filepath.Join(t.TempDir(), "s.db"))
			must(t, err)
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			backend := open(t)
			t.Cleanup(func() { must(t, backend.Close()) })
			e := newEdge(t, edgeOptions{storage: backend, level: 2})
			e.put("group/a", "v0")
			etag := e.etag("group/a")
			for round := range 3 {
				answers := make([]<-chan res, watchers)
				for i := range answers {
					answers[i] = e.begin(watching("group/a", etag))
				}
				e.awaitWaiting(watchers)
				value := fmt.Sprint("v", round+1)
				must(t, e.api("alice").UpdateText(t.Context(), "group/a", wire.SecretWrite{Value: value}))
				etag = e.etag("group/a")
				var wg sync.WaitGroup
				for _, a := range answers {
					wg.Go(func() {
						if got := <-a; got.status != 200 || !strings.Contains(got.body, value) || got.header.Get("ETag") != etag {
							t.Errorf("%d %s", got.status, got.body)
						}
					})
				}
				wg.Wait()
				e.awaitWaiting(0)
				if t.Failed() {
					return
				}
			}
		})
	}
}
