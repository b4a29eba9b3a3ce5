package framing

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// patience is how long a step may take on a busy machine.
const patience = time.Minute

// newSecure serves HTTPS on loopback. Its answers name the protocol, whether it is
// over TLS, and what Begin says.
func newSecure(t *testing.T, failed func(net.Conn, error)) (address string, stop func()) {
	t.Helper()
	donor := httptest.NewTLSServer(nil)
	donor.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig:   &tls.Config{Certificates: donor.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}},
		ConnContext: Context,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			both := Begin(w, r)
			body, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %t %t %s %v", r.Proto, r.TLS != nil, both, body, err)
		}),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ListenTLS(l, server.TLSConfig, patience, failed)) }()
	stop = func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-ended
	}
	return l.Addr().String(), stop
}

func dialTLS(t *testing.T, address string, protocols ...string) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestBothNamesAreSeenInTLS, whether or not the client names its protocol.
func TestBothNamesAreSeenInTLS(t *testing.T) {
	address, stop := newSecure(t, func(_ net.Conn, err error) { t.Error(err) })
	defer stop()
	for _, protocols := range [][]string{nil, {"http/1.1"}} {
		conn := dialTLS(t, address, protocols...)
		fmt.Fprint(conn, post+five+hello+post+five+chunked+chunks)
		r := bufio.NewReader(conn)
		for _, want := range []string{"HTTP/1.1 true false hello <nil>", "HTTP/1.1 true true hello <nil>"} {
			answer, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(answer.Body); string(got) != want || err != nil {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		}
		_ = conn.Close()
	}
}

// TestNothingBehindChunksIsServed, even if a handler keeps the connection: its end is
// where net/http says, and so nobody has looked at the head of what follows.
func TestNothingBehindChunksIsServed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ConnContext: Context, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if Begin(w, r) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Del("Connection")
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(Listen(l)) }()
	defer func() {
		_ = server.Close()
		<-ended
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, post+chunked+chunks+post+five+hello+post+five+hello)
	r := bufio.NewReader(conn)
	for _, want := range []int{http.StatusOK, http.StatusBadRequest} {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != want || answer.Close != (want != http.StatusOK) {
			t.Errorf("%s, the last one: %v, %v; want %d", answer.Status, answer.Close, err, want)
		}
	}
	if rest, _ := io.ReadAll(r); len(rest) != 0 {
		t.Errorf("%q", rest)
	}
}

// TestHTTP2IsServed as without this package.
func TestHTTP2IsServed(t *testing.T) {
	address, stop := newSecure(t, func(_ net.Conn, err error) { t.Error(err) })
	defer stop()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, "POST", "https://"+address, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got, err := io.ReadAll(answer.Body); string(got) != "HTTP/2.0 true false hello <nil>" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestFailedHandshakes are reported. A client of plain HTTP learns what is wrong, and
// one that says nothing keeps neither others nor the end of the server waiting.
func TestFailedHandshakes(t *testing.T) {
	failures := make(chan error, 1)
	address, stop := newSecure(t, func(_ net.Conn, err error) { failures <- err })
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	plain, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(plain, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got, err := io.ReadAll(plain); !strings.Contains(string(got), "HTTP request to an HTTPS server") {
		t.Errorf("%q, %v", got, err)
	}
	if err := <-failures; err == nil {
		t.Error("no error")
	}
	if err := dialTLS(t, address).Close(); err != nil {
		t.Error(err)
	}
	stop()
	if err := silent.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := silent.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("the silent connection: %d, %v", n, err)
	}
	select {
	case err := <-failures:
		t.Errorf("reported: %v", err)
	default:
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
