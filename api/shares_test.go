package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSharesEndTheirConnection: net/http reads a request into a buffer that it
// keeps while the connection is open, and gives to another connection later.
func TestSharesEndTheirConnection(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, path := range []string{"/unseal/default", "/rekey/default", "/rekey/default/verify"} {
		for _, as := range []string{"root", "nobody"} {
			conn, err := e.dial()
			must(t, err)
			must(t, conn.SetDeadline(time.Now().Add(patience)))
			body := `{"nonce":"n","key":"` + strings.Repeat("0b", 32) + `"}`
			fmt.Fprintf(conn, "PUT /secrets/v1%s HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s",
				path, e.as(as).Get("Authorization"), len(body), body)
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
