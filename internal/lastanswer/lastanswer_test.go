package lastanswer

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// connection is a ResponseWriter that gives its connection away.
type connection struct {
	http.ResponseWriter
	net.Conn
	in *bufio.Reader
}

func (c *connection) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return c.Conn, bufio.NewReadWriter(c.in, nil), nil
}

// Write resolves the ambiguity.
func (c *connection) Write(p []byte) (int, error) { return c.Conn.Write(p) }

// TestTheBufferIsCleared before the answer is sent, and the connection ends behind it.
func TestTheBufferIsCleared(t *testing.T) {
	in := bufio.NewReader(strings.NewReader(strings.Repeat("share", 1000)))
	if _, err := in.Discard(100); err != nil {
		t.Fatal(err)
	}
	server, client := net.Pipe()
	defer client.Close()
	w := &connection{httptest.NewRecorder(), server, in}
	w.Header().Set("Location", "there")
	go Send(w, httptest.NewRequest(http.MethodPost, "/", nil), http.StatusSeeOther, []byte("text"))
	answers := bufio.NewReader(client)
	answer, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil || string(text) != "text" || answer.StatusCode != http.StatusSeeOther || !answer.Close ||
		answer.Header.Get("Location") != "there" || answer.Header.Get("Date") == "" {
		t.Errorf("%s, %v, %q, %v", answer.Status, answer.Header, text, err)
	}
	if rest, err := io.ReadAll(answers); len(rest) != 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if kept, err := in.Peek(in.Size()); err != nil || len(bytes.Trim(kept, "\x00")) != 0 {
		t.Errorf("the buffer has %q, %v", kept, err)
	}
}
