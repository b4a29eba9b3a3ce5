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
