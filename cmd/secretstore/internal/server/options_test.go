package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestAsteriskFormIsAnsweredByTheAPI: net/http would answer OPTIONS * by itself,
// with 200 and without the headers that every answer carries.
func TestAsteriskFormIsAnsweredByTheAPI(t *testing.T) {
	r := start(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode/100 != 4 || res.Header.Get("Cache-Control") != "no-store" || !strings.Contains(string(body), `"title"`) {
		t.Errorf("%s, %v: %s", res.Status, res.Header, body)
	}
}

// TestMalformedRequestsAreNotRepeated: requests that are not HTTP never reach
// the API, so their answers are net/http's own: plain text, and with no part of
// what was sent, which may be a token.
func TestMalformedRequestsAreNotRepeated(t *testing.T) {
	r := start(t, nil)
	for name, text := range map[string]struct {
		request string
		status  int
	}{
		"a malformed escape": {"GET /secrets/v1/%zzcanary HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"no host":            {"GET /secrets/v1/store HTTP/1.1\r\nAuthorization: token=canary\r\n\r\n", 400},
		"a malformed header": {"GET /secrets/v1/store HTTP/1.1\r\nHost: x\r\nAuthorization token=canary\r\n\r\n", 400},
		"no version":         {"GET /canary\r\n\r\n", 400},
		"a head too large":   {"GET /secrets/v1/store HTTP/1.1\r\nHost: x\r\nAuthorization: token=" + strings.Repeat("canary", 12000) + "\r\n\r\n", 431},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, text.request) // an error, if it ends early, shows below
		answer, err := io.ReadAll(conn)
		conn.Close()
		if !strings.HasPrefix(string(answer), fmt.Sprintf("HTTP/1.1 %d ", text.status)) || strings.Contains(string(answer), "canary") {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
	}
}
