package api_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"secretstore/acl"
	"secretstore/api/internal/body"
	"secretstore/api/wire"
)

// TestLargeReadsTakePartOfTheBudget: reads, of a version too, and watches of a
// large value wait for memory. Small ones do not, and those of other pools.
func TestLargeReadsTakePartOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		octets := http.Header{"Content-Type": {wire.TypeBinary}}
		e.put("group/small", "v")
		e.want(req{method: "PUT", path: base + "/group/large", uid: "alice", header: octets, body: strings.Repeat("b", 1<<20)}, 201)
		e.want(req{method: "PUT", path: base + "/group/inline", uid: "alice", header: octets, body: strings.Repeat("b", 100<<10)}, 201)
		release, err := e.server.TakeAnswers(t.Context())
		must(t, err)
		for _, path := range []string{"/group/large", "/group/inline", "/group/large?version=1", "/group/large?watch=&timeout=0s"} {
			if got := e.want(req{method: "GET", path: base + path, uid: "alice"}, 503, "too many large requests"); got.header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", path)
			}
			// Bound tokens have their own pool.
			if !strings.Contains(path, "version") {
				e.want(req{method: "GET", path: base + path, uid: "alice", service: "/group"}, 200)
			}
		}
		e.want(req{method: "GET", path: base + "/group/small", uid: "alice"}, 200)
		waiting := e.begin(req{method: "GET", path: base + "/group/large?watch=&timeout=1m", uid: "alice"})
		e.awaitWaiting(1)
		release()
		e.answered(waiting, 200)
		for range 50 { // each gives back what it had
			e.want(req{method: "GET", path: base + "/group/large", uid: "alice"}, 200)
		}
		release, err = e.server.TakeAnswers(t.Context())
		must(t, err)
		release()
	})
}

// TestAClientThatDoesNotReadHoldsAShareOnly asks for a large value again and
// again, and reads no answer. Others are served.
func TestAClientThatDoesNotReadHoldsAShareOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true, maxSize: 8 << 20})
		octets := http.Header{"Content-Type": {wire.TypeBinary}}
		e.want(req{method: "PUT", path: base + "/large", uid: "alice", header: octets, body: strings.Repeat("b", 8<<20)}, 201)
		const share = 8
		for range share {
			conn, err := e.dial()
			must(t, err)
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s/large HTTP/1.1\r\nHost: x\r\nAuthorization: token=%s\r\n\r\n", base, tokenOf(t, "alice", ""))
			line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
			if must(t, err); !strings.Contains(line, "200") {
				break // its share is used up
			}
		}
		e.want(req{method: "GET", path: base + "/large", uid: "alice"}, 503, "of this user")
		e.want(req{method: "GET", path: base + "/large", uid: "root"}, 200)
	})
}

// TestFormsTakePartOfTheBudget: what people send to the pages counts as bodies of
// requests of the API.
func TestFormsTakePartOfTheBudget(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	const share = body.BudgetBytes / 8
	read := func(uid string, size int, want int) func() {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ui/secret-new", strings.NewReader(strings.Repeat("x", size)))
		content, release, status, err := e.server.ReadBody(httptest.NewRecorder(), r, acl.Principal{UID: uid}, share)
		if status != want || (err == nil) != (want == 0) || err == nil && len(content) != size {
			t.Fatalf("%s, %d bytes: %d, %v, %d bytes; want %d", uid, size, status, err, len(content), want)
		}
		return release
	}
	large := req{method: "PUT", path: base + "/large", uid: "alice", header: http.Header{"Content-Type": {wire.TypeBinary}}, body: strings.Repeat("b", 1<<20)}
	read("alice", share+1, 413)
	release := read("alice", share, 0)
	read("alice", 1<<20, 503)
	e.want(large, 503, "too many large requests of this user")
	read("alice", 1<<10, 0)()
	read("bob", 1<<20, 0)()
	release()
	e.want(large, 201)
	read("alice", 1<<20, 0)()
}

// TestPagesTakePartOfTheBudget: what the pages send to people counts as answers of the
// API to them.
func TestPagesTakePartOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		hold := func(uid string, size int64, want int) func() {
			t.Helper()
			release, status, err := e.server.HoldAnswer(acl.Principal{UID: uid}, size)
			if status != want || (err == nil) != (want == 0) {
				t.Fatalf("%s, %d bytes: %d, %v; want %d", uid, size, status, err, want)
			}
			return release
		}
		e.want(req{method: "PUT", path: base + "/large", uid: "alice", header: http.Header{"Content-Type": {wire.TypeBinary}}, body: strings.Repeat("b", 1<<20)}, 201)
		large := req{method: "GET", path: base + "/large", uid: "alice"}
		release := hold("alice", body.BudgetBytes/8, 0)
		e.want(large, 503, "too many large requests of this user")
		hold("alice", 1<<20, 503)
		hold("alice", 1<<10, 0)()
		hold("bob", 1<<20, 0)()
		release()
		e.want(large, 200)
		hold("alice", 1<<20, 0)()
	})
}
