package body

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"secretstore/api/internal/problem"
)

// TestABodyOfAStrangerIsGivenUpForANewOne, and that of a user is not. All memory is
// free in the end.
func TestABodyOfAStrangerIsGivenUpForANewOne(t *testing.T) {
	const size = StrangersBytes / 4
	b := NewBudget(1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, release, err := b.Read(Of(w, r), user(r.Header.Get("User")), Limit{Bytes: size})
		if err != nil {
			p := problem.Of(err)
			http.Error(w, p.Text, p.Status)
			return
		}
		defer release()
		fmt.Fprint(w, len(content))
	}))
	defer web.Close()
	type request struct {
		conn net.Conn
		in   *bufio.Reader
	}
	begin := func(user, length string) request {
		t.Helper()
		conn, err := net.Dial("tcp", web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nUser: %s\r\nExpect: 100-continue\r\n%s\r\n\r\n", user, length)
		q := request{conn, bufio.NewReader(conn)}
		if line, err := q.in.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
			t.Fatalf("%q, %v", line, err)
		}
		if line, err := q.in.ReadString('\n'); err != nil || line != "\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
		return q
	}
	want := func(q request, status int, text string) {
		t.Helper()
		answer, err := http.ReadResponse(q.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != status || !strings.Contains(string(got), text) {
			t.Errorf("%s, %q, %v; want %d, %q", answer.Status, got, err, status, text)
		}
	}
	whole := strings.Repeat("x", size)
	fixed := fmt.Sprintf("Content-Length: %d", size)
	alice := begin("alice", fixed)
	var all []request
	for i := range 5 { // one more than there is room for
		length := fixed
		if i%2 == 1 {
			length = "Transfer-Encoding: chunked"
		}
		all = append(all, begin("", length))
		if i%2 == 0 {
			fmt.Fprint(all[i].conn, "some")
		}
	}
	want(all[0], http.StatusServiceUnavailable, textStrangers)
	small := begin("", "Content-Length: 3") // in place of the second
	fmt.Fprint(small.conn, "abc")
	want(small, http.StatusOK, "3")
	want(all[1], http.StatusServiceUnavailable, textStrangers)
	fmt.Fprint(all[2].conn, whole[len("some"):])
	want(all[2], http.StatusOK, fmt.Sprint(size))
	all[3].conn.Close()
	fmt.Fprint(all[4].conn, whole[len("some"):])
	want(all[4], http.StatusOK, fmt.Sprint(size))
	fmt.Fprint(alice.conn, whole)
	want(alice, http.StatusOK, fmt.Sprint(size))
	web.Close() // waits for all handlers
	if b.strangers.free != StrangersBytes || b.strangers.arriving.Len() != 0 {
		t.Errorf("%d bytes are free, %d bodies arrive", b.strangers.free, b.strangers.arriving.Len())
	}
}

// TestBodiesThatHaveArrivedKeepTheirMemory: then others are refused.
func TestBodiesThatHaveArrivedKeepTheirMemory(t *testing.T) {
	b := NewBudget(1)
	_, release, err := b.Read(send(t.Context(), strings.Repeat("x", StrangersBytes)), user(""), Limit{Bytes: StrangersBytes})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = b.Read(send(t.Context(), "x"), user(""), Limit{Bytes: 1})
	isBusy(t, err, textStrangers)
	if _, _, err := b.Read(send(t.Context(), "x"), user("alice"), Limit{Bytes: 1}); err != nil {
		t.Errorf("a user waits for strangers: %v", err)
	}
	release()
	release()
	if _, release, err = b.Read(send(t.Context(), "x"), user(""), Limit{Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	release()
	if b.strangers.free != StrangersBytes {
		t.Errorf("%d bytes are free", b.strangers.free)
	}
}
