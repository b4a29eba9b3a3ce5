package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/acl"
)

// raw sends bytes as they are over one connection and returns the answers to
// as many requests.
func (e *edge) raw(n int, text string) []res {
	e.t.Helper()
	conn, err := e.dial()
	must(e.t, err)
	defer conn.Close()
	must(e.t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, text)
	must(e.t, err)
	in := bufio.NewReader(conn)
	var all []res
	for range n {
		answer, err := http.ReadResponse(in, nil)
		must(e.t, err)
		body, err := io.ReadAll(answer.Body)
		must(e.t, err)
		all = append(all, res{answer.StatusCode, answer.Header, string(body)})
	}
	return all
}

func TestOddRequestLines(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a/b", "found")
	auth := "Host: x\r\nAuthorization: token=" + tokenOf(t, "alice", "") + "\r\n"
	for _, row := range []struct {
		line   string
		status int
	}{
		{"GET //secrets/v1/secret/default//a//b HTTP/1.1", 200},
		{"GET /secrets/v1/secret/default/a%2Fb HTTP/1.1", 200},
		{"GET http://elsewhere/secrets/v1/secret/default/a/b HTTP/1.1", 200},
		{"GET /secrets/v1/secret/default/a/b#x HTTP/1.1", 404},
		{"GET /secrets/v1/secret/default/a\\b HTTP/1.1", 404},
		{"GET /secrets/v1/../v1/secret/default/a/b HTTP/1.1", 404},
		{"GET /secrets/v1/./secret/default/a/b HTTP/1.1", 404},
		{"GET /secrets/v1/secret/default/../default/a/b HTTP/1.1", 404},
		{"GET /secrets/V1/secret/default/a/b HTTP/1.1", 404},
		{"get /secrets/v1/secret/default/a/b HTTP/1.1", 405},
		{"BREW /secrets/v1/secret/default/a/b HTTP/1.1", 405},
		{"OPTIONS /secrets/v1/secret/default/a/b HTTP/1.1", 405},
		{"TRACE /secrets/v1/store HTTP/1.1", 405},
		{"CONNECT elsewhere:443 HTTP/1.1", 404},
		{"GET * HTTP/1.1", 404},
		{"OPTIONS * HTTP/1.1", 404},
	} {
		got := e.raw(1, row.line+"\r\n"+auth+"Connection: close\r\n\r\n")[0]
		if got.status != row.status || got.status/100 == 3 {
			t.Errorf("%s: %d %s, want %d", row.line, got.status, got.body, row.status)
		}
		e.checkAnswer(req{method: "GET", path: row.line}, got)
	}
}

// TestAConnectionIsUsableAfterRefusals sends good requests behind refused ones
// on one connection: what is left of a refused body must not be taken for a
// request.
func TestAConnectionIsUsableAfterRefusals(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	auth := "Host: x\r\nAuthorization: token=" + tokenOf(t, "alice", "") + "\r\n"
	var b strings.Builder
	refused := `DELETE /secrets/v1/secret/default/a HTTP/1.1`
	fmt.Fprintf(&b, "PUT %s/a HTTP/1.1\r\n%sContent-Length: 13\r\n\r\n{\"value\":\"v\"}", base, auth)
	fmt.Fprintf(&b, "PUT %s/b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", base, len(refused), refused)
	fmt.Fprintf(&b, "PATCH %s/a HTTP/1.1\r\n%sContent-Length: 13\r\n\r\n{\"value\":\"w\"}", base, auth)
	fmt.Fprintf(&b, "GET %s/a HTTP/1.1\r\n%sConnection: close\r\n\r\n", base, auth)
	got := e.raw(4, b.String())
	for i, want := range []int{201, 401, 204, 200} {
		if got[i].status != want {
			t.Errorf("answer %d: %d, want %d", i, got[i].status, want)
		}
	}
	if !strings.Contains(got[3].body, `"w"`) {
		t.Errorf("body %q", got[3].body)
	}
}

// TestARefusalReachesAClientThatWritesFirst: HTTP libraries commonly send the
// whole body before they look for an answer.
func TestARefusalReachesAClientThatWritesFirst(t *testing.T) {
	e := newEdge(t, edgeOptions{maxSize: 1000})
	alice := "Authorization: token=" + tokenOf(t, "alice", "") + "\r\n"
	plenty := strings.Repeat("x", 20<<20) // more than the buffers of two sockets hold
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(plenty), plenty)
	chunked := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(plenty), plenty)
	octets := "Content-Type: application/octet-stream\r\n"
	put := "PUT " + base + "/a HTTP/1.1\r\nHost: x\r\n"
	for name, row := range map[string]struct {
		text   string
		status int
	}{
		"too large":                     {put + alice + octets + length, 413},
		"too large JSON":                {put + alice + length, 413},
		"too large, of unknown length":  {put + alice + octets + chunked, 413},
		"no token":                      {put + octets + length, 401},
		"no token and unknown length":   {put + octets + chunked, 401},
		"an unknown method":             {"POST " + base + "/a HTTP/1.1\r\nHost: x\r\n" + alice + length, 405},
		"an endpoint that takes little": {"PUT /secrets/v1/unseal/default HTTP/1.1\r\nHost: x\r\nAuthorization: token=" + tokenOf(t, "root", "") + "\r\n" + length, 413},
	} {
		if got := e.raw(1, row.text)[0]; got.status != row.status {
			t.Errorf("%s: %d %s, want %d", name, got.status, got.body, row.status)
		}
	}
	e.sealStore()
	if got := e.raw(1, put+alice+octets+length)[0]; got.status != 503 {
		t.Errorf("sealed: %d %s, want 503", got.status, got.body)
	}
}

// TestARefusalWaitsOnlySoLongForTheRestOfABody compares with the 15 seconds of
// drainTime: a client that sends half a body, and then nothing, gets its answer
// after them. Without a deadline net/http would wait for ever, for a small
// body.
func TestARefusalWaitsOnlySoLongForTheRestOfABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		begun := time.Now()
		if got := e.raw(1, "PUT "+base+"/a HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\nhalf")[0]; got.status != 401 {
			t.Errorf("%d, want 401", got.status)
		}
		if took := time.Since(begun); took != 15*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// TestAWatchDoesNotWaitForTheRestOfABody: a watch has no deadlines, and
// net/http reads the rest of a body before it answers.
func TestAWatchDoesNotWaitForTheRestOfABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true, readTimeout: time.Second})
		e.put("a", "v")
		alice := " HTTP/1.1\r\nHost: x\r\nAuthorization: token=" + tokenOf(t, "alice", "") + "\r\n"
		for _, path := range []string{base + "/none?watch=&timeout=1s", base + "/a?watch=&timeout=1s", "/secrets/v1/watch/default"} {
			for _, body := range []string{"Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\na\r\nhalf"} {
				if got := e.raw(1, "GET "+path+alice+body)[0]; got.status != 400 {
					t.Errorf("%s: %d, want 400", path, got.status)
				}
			}
		}
		// One that comes does no harm: neither to the watch nor to what
		// follows.
		watch := "GET " + base + "/none?watch=&timeout=1s" + alice + "Content-Length: 5\r\n\r\nwhole"
		got := e.raw(2, watch+"GET "+base+"/a"+alice+"\r\n")
		if got[0].status != 304 || got[1].status != 200 {
			t.Errorf("%d and %d, want 304 and 200", got[0].status, got[1].status)
		}
	})
}

// TestDrainingABodyIsBounded: an announced length does not make the server read
// for ever.
func TestDrainingABodyIsBounded(t *testing.T) {
	e := newEdge(t, edgeOptions{maxSize: 1000})
	got := e.raw(1, "PUT "+base+"/a HTTP/1.1\r\nHost: x\r\nAuthorization: token="+tokenOf(t, "alice", "")+
		"\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000000000\r\n\r\n")[0]
	if got.status != 413 {
		t.Errorf("%d, want 413", got.status)
	}
}

// untouchable fails the test if it is read.
type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestABodyIsNotReadBeforeItsTurn(t *testing.T) {
	e := newEdge(t, edgeOptions{maxSize: 1000})
	refuse := func(uid, path string, length int64, status int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "PUT", path, untouchable{t})
		must(t, err)
		r.ContentLength, r.RemoteAddr = length, "127.0.0.1:1"
		if uid != "" {
			r.Header.Set("Authorization", "token="+tokenOf(t, uid, ""))
		}
		w := newRecorder()
		e.server.ServeHTTP(w, r)
		if w.status != status {
			t.Errorf("%s as %s: %d, want %d", path, uid, w.status, status)
		}
	}
	refuse("", base+"/a", 10, 401)
	refuse("nobody", base+"/a", 10, 403)
	refuse("alice", base+"/a/..", 10, 404)
	refuse("alice", base+"/a", 1<<40, 413)
	e.sealStore()
	refuse("alice", base+"/a", 10, 503)
	refuse("alice", base+"/a", 1<<40, 503)
	refuse("alice", base+"/a", -1, 503)
	refuse("root", "/secrets/v1/rekey/default", 10, 503)
}

func TestExpectContinueIsNotGrantedToARefusedBody(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.sealStore()
	got := e.raw(1, "PUT "+base+"/a HTTP/1.1\r\nHost: x\r\nAuthorization: token="+tokenOf(t, "alice", "")+
		"\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")[0]
	if got.status != 503 {
		t.Errorf("status %d", got.status)
	}
}

// TestPermissionIsCheckedAgainAfterTheBody: bodies may take minutes.
func TestPermissionIsCheckedAgainAfterTheBody(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "before")
	alices := e.policy.Load()
	for _, row := range []struct{ method, path, body string }{
		{"PUT", base + "/b", `{"value":"v"}`},
		{"PATCH", base + "/a", `{"value":"after"}`},
		{"POST", "/secrets/v1/resolve/default", `{"service":"/x","secrets":{"a":{"source":"a"}}}`},
		{"POST", "/secrets/v1/check/default", `{"service":"/x","secrets":{"a":{"source":"a"}}}`},
	} {
		e.policy.Store(alices)
		conn, err := net.Dial("tcp", e.addr)
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(patience)))
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: token=%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
			row.method, row.path, tokenOf(t, "alice", ""), len(row.body))
		in := bufio.NewReader(conn)
		line, err := in.ReadString('\n')
		if must(t, err); !strings.Contains(line, "100 Continue") { // which is when the body is read
			t.Fatalf("%s %s: %q", row.method, row.path, line)
		}
		_, err = in.ReadString('\n')
		must(t, err)
		e.policy.Store((*acl.Policy)(nil).WithSuperusers("root"))
		_, err = io.WriteString(conn, row.body)
		must(t, err)
		answer, err := http.ReadResponse(in, nil)
		if must(t, err); answer.StatusCode != 403 {
			t.Errorf("%s %s: %d, want 403", row.method, row.path, answer.StatusCode)
		}
		must(t, conn.Close())
	}
	e.want(req{method: "GET", path: base + "/b", uid: "root"}, 404)
	e.want(req{method: "GET", path: base + "/a", uid: "root"}, 200, "before")
}

func TestATruncatedBodyStoresNothing(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	conn, err := net.Dial("tcp", e.addr)
	must(t, err)
	fmt.Fprintf(conn, "PUT %s/a HTTP/1.1\r\nHost: x\r\nAuthorization: token=%s\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nhalf", base, tokenOf(t, "alice", ""))
	must(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	answer.Body.Close()
	conn.Close()
	if answer.StatusCode != 400 {
		t.Errorf("status %d", answer.StatusCode)
	}
	e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 404)
}

// recorder is a ResponseWriter that costs next to nothing.
type recorder struct {
	header http.Header
	status int
	size   int
}

func newRecorder() *recorder { return &recorder{header: make(http.Header, 8)} }

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) { w.status = status }

func (w *recorder) Write(p []byte) (int, error) {
	w.size += len(p)
	return len(p), nil
}

// BenchmarkCachedRead is a GET of a small secret through everything but
// net/http itself.
func BenchmarkCachedRead(b *testing.B) {
	e := newEdge(b, edgeOptions{level: 1})
	e.put("group/app/password", strings.Repeat("x", 256))
	r, err := http.NewRequestWithContext(b.Context(), "GET", base+"/group/app/password", nil)
	must(b, err)
	r.RemoteAddr = "127.0.0.1:1234"
	r.Header.Set("Authorization", "token="+tokenOf(b, "alice", ""))
	r.Header.Set("Accept", "*/*")
	b.ReportAllocs()
	for b.Loop() {
		w := newRecorder()
		e.server.ServeHTTP(w, r)
		if w.status != 200 {
			b.Fatal(w.status)
		}
	}
}

// TestNothingIsReadBehindARequestWhoseEndIsInDoubt: a proxy that goes by the other
// header takes what is behind for a part of the request, and has not checked it.
func TestNothingIsReadBehindARequestWhoseEndIsInDoubt(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	alice := "Host: x\r\nAuthorization: token=" + tokenOf(t, "alice", "") + "\r\n"
	const document = `{"value":"v"}`
	chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(document), document)
	smuggled := "PUT " + base + "/smuggled HTTP/1.1\r\n" + alice + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(document), document)
	both := fmt.Sprintf("Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n%s", len(chunks)+len(smuggled), chunks)
	for name, row := range map[string]struct {
		text   string
		status int
	}{
		"both headers":             {"PUT " + base + "/both HTTP/1.1\r\n" + alice + both, 400},
		"the other order":          {"PUT " + base + "/other HTTP/1.1\r\n" + alice + fmt.Sprintf("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n%s", chunks), 400},
		"both headers, no token":   {"PUT " + base + "/both HTTP/1.1\r\nHost: x\r\n" + both, 400},
		"both headers, no route":   {"PUT /none HTTP/1.1\r\nHost: x\r\n" + both, 400},
		"both headers, open":       {"PUT /live HTTP/1.1\r\nHost: x\r\n" + both, 400},
		"chunks":                   {"PUT " + base + "/chunks HTTP/1.1\r\n" + alice + "Transfer-Encoding: chunked\r\n\r\n" + chunks, 201},
		"two lengths":              {"PUT " + base + "/two HTTP/1.1\r\n" + alice + "Content-Length: 4\r\nContent-Length: 5\r\n\r\n", 400},
		"two transfer encodings":   {"PUT " + base + "/two HTTP/1.1\r\n" + alice + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunks, 501},
		"an encoding in HTTP/1.0":  {"PUT " + base + "/old HTTP/1.0\r\nConnection: keep-alive\r\n" + alice + fmt.Sprintf("Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n%s", len(document), document), 400},
		"a space before the colon": {"PUT " + base + "/space HTTP/1.1\r\n" + alice + "Transfer-Encoding : chunked\r\n\r\n" + chunks, 400},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		must(t, conn.SetDeadline(time.Now().Add(patience)))
		io.WriteString(conn, row.text+smuggled) // an error, if the server is quicker, shows below
		all, err := io.ReadAll(conn)            // until the server ends the connection
		conn.Close()
		if !strings.HasPrefix(string(all), fmt.Sprintf("HTTP/1.1 %d ", row.status)) && !strings.HasPrefix(string(all), fmt.Sprintf("HTTP/1.0 %d ", row.status)) ||
			strings.Count(string(all), "HTTP/1.") != 1 {
			t.Errorf("%s: %q, %v; want one answer with %d", name, all, err, row.status)
		}
	}
	e.want(req{method: "GET", path: base + "/smuggled", uid: "alice"}, 404, "does not exist")
}
