package server

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/fixture"
)

// patience is how long a step may take on a busy machine.
const patience = time.Minute

// startFor runs a server with accounts and pages, by HTTP and HTTPS, that takes so
// many connections; 0 is as many as usual.
func startFor(t *testing.T, connections int) *running {
	t.Helper()
	dir := t.TempDir()
	store, cert, key := filepath.Join(dir, "s.db"), filepath.Join(dir, "cert"), filepath.Join(dir, "tls-key")
	if err := fixture.Bootstrapped(store); err != nil {
		t.Fatal(err)
	}
	if err := fixture.Certificate(cert, key); err != nil {
		t.Fatal(err)
	}
	return startWith(t, Outside{Stdout: io.Discard, TestOnlyConnections: connections},
		"--storage", "bolt:"+store, "--superuser", "root", "--auth-secret-file", write(t, dir, "key", fixture.Key+"\n"),
		"--iam", "builtin", "--superuser-password-file", write(t, dir, "superusers", horse("admin")),
		"--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key)
}

// connect opens a connection of HTTP/1 that sends text.
func (r *running) connect(t *testing.T, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.urls[0], "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, text) // fails if the server has refused the connection, which the reader sees
	return conn, bufio.NewReader(conn)
}

// http2 returns a client with a connection of HTTP/2 of its own, on which the server
// may send window bytes of an answer before somebody reads them; 0 is as many as usual.
func http2(t *testing.T, window int) *http.Transport {
	c := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, ExpectContinueTimeout: patience,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: window},
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// ask returns a request for the HTTPS address.
func (r *running) ask(t *testing.T, method, path string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.urls[1]+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// stall leaves a request in the middle of its body, once the server reads it.
func stall(path string) func(*testing.T, *running) {
	return func(t *testing.T, r *running) { r.stall(t, path) }
}

// stall returns what reads the answer.
func (r *running) stall(t *testing.T, path string) *bufio.Reader {
	t.Helper()
	_, in := r.connect(t, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\nExpect: 100-continue\r\n\r\n")
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
		if line, err := in.ReadString('\n'); err != nil || line != want {
			t.Fatalf("%q, %v", line, err)
		}
	}
	return in
}

// stall2 is stall over HTTP/2.
func stall2(path string) func(*testing.T, *running) {
	return func(t *testing.T, r *running) { r.stall2(t, http2(t, 0), path) }
}

func (r *running) stall2(t *testing.T, c *http.Transport, path string) {
	t.Helper()
	body, feed := io.Pipe()
	req := r.ask(t, "POST", path, body, "Expect", "100-continue", "Content-Type", "application/json")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if res, err := c.RoundTrip(req); err == nil {
			res.Body.Close()
		}
		body.Close()
	}()
	t.Cleanup(func() {
		feed.CloseWithError(io.ErrUnexpectedEOF)
		<-ended
	})
	if _, err := io.WriteString(feed, "a"); err != nil {
		t.Fatal(err)
	}
}

// unread asks for something over HTTP/2, and reads no more than the head of the answer.
func unread(path string) func(*testing.T, *running) {
	return func(t *testing.T, r *running) {
		t.Helper()
		res, err := http2(t, 1).RoundTrip(r.ask(t, "GET", path, nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
	}
}

const live = "GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// TestStrangersWhoTakeTheirTimeKeepNobodyOut: they hold all connections, each with a
// request that does not end, and others are served.
func TestStrangersWhoTakeTheirTimeKeepNobodyOut(t *testing.T) {
	const connections = 3
	r := startFor(t, connections)
	for name, hold := range map[string]func(*testing.T, *running){
		"the body of a sign-in":         stall("/acs/api/v1/auth/login"),
		"the form of a sign-in":         stall("/ui/sign-in"),
		"the form of a sign-out":        stall("/ui/sign-out"),
		"HTTP/2, the body of a sign-in": stall2("/acs/api/v1/auth/login"),
		"HTTP/2, the form of a sign-in": stall2("/ui/sign-in"),
		"HTTP/2, a script":              unread("/ui/script.js"),
		"HTTP/2, a document":            unread("/openapi.json"),
	} {
		t.Run(name, func(t *testing.T) {
			for range connections {
				hold(t, r)
			}
			_, in := r.connect(t, live)
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal("refused:", err)
			}
			if answer.StatusCode != http.StatusOK {
				t.Error(answer.Status)
			}
		})
	}
}

// TestStrangersTakeNoConnectionOfAUser while a request is in progress: a body that
// arrives, or a page that is being read.
func TestStrangersTakeNoConnectionOfAUser(t *testing.T) {
	r := startFor(t, 1)
	refuse := func(during string) {
		t.Helper()
		if _, in := r.connect(t, live); in != nil {
			if answer, err := http.ReadResponse(in, nil); err == nil {
				t.Errorf("%s: a stranger got %s", during, answer.Status)
			}
		}
	}
	raw, err := token.Sign("root", time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		t.Fatal(err)
	}
	c := http2(t, 1<<10)
	body, feed := io.Pipe()
	written := make(chan int, 1)
	go func() {
		res, err := c.RoundTrip(r.ask(t, "PUT", "/secrets/v1/secret/default/a", body, "Authorization", "token="+raw, "Expect", "100-continue", "Content-Type", "application/json"))
		if err != nil {
			written <- 0
			return
		}
		res.Body.Close()
		written <- res.StatusCode
	}()
	fmt.Fprint(feed, `{"value":"v","description":"`)
	refuse("a write")
	fmt.Fprint(feed, strings.Repeat("long ", 800)+`"}`)
	feed.Close()
	if status := <-written; status != http.StatusCreated {
		t.Fatalf("the write: %d", status)
	}

	form := url.Values{"token": {raw}}.Encode()
	res, err := c.RoundTrip(r.ask(t, "POST", "/ui/sign-in", strings.NewReader(form), "Content-Type", "application/x-www-form-urlencoded"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	cookie, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
	if res, err = c.RoundTrip(r.ask(t, "GET", "/ui/secret?path=a", nil, "Cookie", cookie)); err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	refuse("a page")
	page, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(string(page)), "</html>") || len(page) < 5<<10 {
		t.Errorf("the page: %s, %d bytes, %v", res.Status, len(page), err)
	}
}

// TestBodiesOfStrangersAreBounded, however many there are: the oldest ones are given
// up. Others sign in, and users write large values.
func TestBodiesOfStrangersAreBounded(t *testing.T) {
	r := startFor(t, 0)
	oldest := r.stall(t, "/acs/api/v1/auth/login")
	c := http2(t, 0)
	for range 64 { // of a connection; each may become a form of 256 KiB
		r.stall2(t, c, "/ui/sign-in")
	}
	answer, err := http.ReadResponse(oldest, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "without a token") {
		t.Errorf("%s, %v, %s, %v", answer.Status, answer.Header, text, err)
	}
	r.signIn(t, "admin", "correct horse")
	if status, text := r.request(t, "root", "PUT", "/secrets/v1/secret/default/large", `{"value":"`+strings.Repeat("v", 1<<20)+`"}`); status != http.StatusCreated {
		t.Errorf("a write: %d %s", status, text)
	}
}

// TestAFormIsGoneBeforeItsPageIsRead: pages that strangers do not read keep nobody from
// signing in.
func TestAFormIsGoneBeforeItsPageIsRead(t *testing.T) {
	r := startFor(t, 0)
	c := http2(t, 1)
	form := "token=x&next=./secrets?folder%3D" + strings.Repeat("q", 6000) + "&pad=" // the page repeats it
	form += strings.Repeat("p", 250<<10-len(form))
	for range 16<<20/len(form) + 1 { // more than strangers share
		res, err := c.RoundTrip(r.ask(t, "POST", "/ui/sign-in", strings.NewReader(form), "Content-Type", "application/x-www-form-urlencoded"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		if res.StatusCode != http.StatusUnauthorized {
			t.Fatal(res.Status)
		}
	}
	r.signIn(t, "admin", "correct horse")
}

// TestStreamsOfAConnectionAreBounded: the server tells clients of HTTP/2 how many
// requests it takes at once.
func TestStreamsOfAConnectionAreBounded(t *testing.T) {
	r := startFor(t, 0)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.urls[1], "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// The preface of a client, and SETTINGS without any (RFC 9113, 3.4, 4.1 and 6.5).
	io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	var head [9]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil || head[3] != 4 {
		t.Fatalf("%x, %v; want SETTINGS", head, err)
	}
	settings := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(conn, settings); err != nil {
		t.Fatal(err)
	}
	const maxConcurrentStreams = 3
	for s := settings; len(s) >= 6; s = s[6:] {
		if binary.BigEndian.Uint16(s) == maxConcurrentStreams {
			if n := binary.BigEndian.Uint32(s[2:]); n != 100 {
				t.Errorf("%d streams", n)
			}
			return
		}
	}
	t.Errorf("no such setting: %x", settings)
}
