package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"secretstore/api"
)

// TestSharesEndTheirConnection: net/http reads a request into a buffer that it
// keeps while the connection is open, and gives to another connection later.
func TestSharesEndTheirConnection(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, ep := range api.Changes() {
		if !ep.Shares {
			continue
		}
		path := strings.ReplaceAll(ep.Path, "{store}", "default")
		for _, as := range []string{"root", "nobody"} {
			conn, err := e.dial()
			must(t, err)
			must(t, conn.SetDeadline(time.Now().Add(patience)))
			body := `{"nonce":"n","key":"` + strings.Repeat("0b", 32) + `"}`
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s",
				ep.Method, path, e.as(as).Get("Authorization"), len(body), body)
			in := bufio.NewReader(conn)
			answer, err := http.ReadResponse(in, nil)
			must(t, err)
			text, err := io.ReadAll(answer.Body)
			if err != nil || len(text) == 0 || answer.ContentLength != int64(len(text)) || !answer.Close ||
				answer.Header.Get("Date") == "" || answer.Header.Get("X-Request-Id") == "" {
				t.Errorf("%s of %s: %d, %v, %q, %v", path, as, answer.StatusCode, answer.Header, text, err)
			}
			if rest, err := io.ReadAll(in); err != nil || len(rest) != 0 {
				t.Errorf("%s of %s: after the answer come %q, %v", path, as, rest, err)
			}
			conn.Close()
		}
	}
}

// keptBody is a ResponseWriter that keeps the slices it was given, as nothing
// may: they belong to the server.
type keptBody struct {
	*recorder
	kept [][]byte
}

func (w *keptBody) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p)
	return len(p), nil
}

func TestValuesAreClearedOnceTheyWereSent(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("group/a", "the value")
	for _, ask := range []struct{ method, path, accept, body string }{
		{"GET", "/secret/default/group/a", "application/json", ""},
		{"GET", "/secret/default/group/a?version=1", "application/json", ""},
		{"GET", "/secret/default/group/a", "application/octet-stream", ""},
		{"POST", "/resolve/default", "application/json", `{"id":"/group/app","env":{"X":{"secret":"s"}},"secrets":{"s":{"source":"group/a"}}}`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), ask.method, "http://h/secrets/v1"+ask.path, strings.NewReader(ask.body))
		must(t, err)
		r.Header = e.as("root")
		r.Header.Set("Accept", ask.accept)
		r.Header.Set("Content-Type", "application/json")
		w := &keptBody{recorder: newRecorder()}
		e.server.ServeHTTP(w, r)
		if w.status != http.StatusOK || len(w.kept) == 0 {
			t.Errorf("%s %s: %d, %q", ask.method, ask.path, w.status, w.kept)
		}
		for _, sent := range w.kept {
			if strings.Trim(string(sent), "\x00") != "" {
				t.Errorf("%s %s: %q is kept", ask.method, ask.path, sent)
			}
		}
	}
}
