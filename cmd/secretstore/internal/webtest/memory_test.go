package webtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"secretstore/api/client"
)

// TestPagesThatNobodyReadsHoldAShareOnly asks for a large value again and again, and
// reads no answer. Others are served, and the user is once an answer has been read.
func TestPagesThatNobodyReadsHoldAShareOnly(t *testing.T) {
	const size, share = 8 << 20, 8
	site := Start(t, "--max-secret-size", "8MiB")
	if _, err := site.As(t, "root").Create(t.Context(), "large", client.Value{Data: make([]byte, size), Binary: true}); err != nil {
		t.Fatal(err)
	}
	b := browse{t, site.URL}
	cookie, form := b.signIn(site.Token(t, "root"))
	ask := url.Values{"path": {"large"}, "form-token": {form}}
	var first *bufio.Reader
	for n := 1; ; n++ {
		conn, err := net.Dial("tcp", strings.TrimPrefix(site.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /ui/secret-value HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: %s\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", cookie, len(ask.Encode()), ask.Encode())
		in := bufio.NewReaderSize(conn, 16)
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, " 503 ") { // its share is used up
			if page, err := io.ReadAll(in); err != nil || !strings.Contains(string(page), "of this user") {
				t.Errorf("%s, %v", page, err)
			}
			break
		}
		if !strings.Contains(line, " 200 ") || n > share {
			t.Fatalf("answer %d: %s", n, line)
		}
		if first == nil {
			first = in
		}
	}
	if first == nil {
		t.Fatal("not even one page fits into the share")
	}
	if res, _ := b.do("GET", "/ui/secret?path=large", cookie, nil); res.StatusCode != http.StatusOK {
		t.Errorf("a small page: %s", res.Status)
	}
	res, _ := b.do("POST", "/ui/sign-in", "", url.Values{"uid": {Admin}, "password": {Password}})
	other := cookieOf(res)
	_, page := b.do("GET", "/ui/", other, nil)
	theirs := url.Values{"path": {"large"}, "form-token": {formToken.FindStringSubmatch(page)[1]}}
	if res, value := b.do("POST", "/ui/secret-value", other, theirs); res.StatusCode != http.StatusOK || len(value) != size {
		t.Errorf("another user: %s, %d bytes", res.Status, len(value))
	}
	if _, err := io.Copy(io.Discard, first); err != nil { // to the end of the connection, which is that of the visit
		t.Log(err) // on a busy machine it was given up before
	}
	if res, value := b.do("POST", "/ui/secret-value", cookie, ask); res.StatusCode != http.StatusOK || len(value) != size {
		t.Errorf("once an answer has been read: %s, %d bytes", res.Status, len(value))
	}
}

// TestTextsOfManyLinesAreNotCompared: the page offers both instead.
func TestTextsOfManyLinesAreNotCompared(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	const most = 5000
	write := func(path string, texts ...string) {
		t.Helper()
		for i, text := range texts {
			write := root.Update
			if i == 0 {
				write = root.Create
			}
			if _, err := write(t.Context(), path, client.Value{Data: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("some", "canary", strings.Repeat("canary\n", most))
	write("many", "canary", strings.Repeat("canary\n", most+1))
	write("empty", "canary", strings.Repeat("\n", 64<<10))
	write("equal", strings.Repeat("\n", most+1), strings.Repeat("\n", most+1))
	b := browse{t, site.URL}
	cookie, form := b.signIn(site.Token(t, "root"))
	for path, text := range map[string]string{"some": "&#43;********", "many": "at most 5,000 lines", "empty": "at most 5,000 lines", "equal": "are the same"} {
		ask := url.Values{"path": {path}, "from": {"1"}, "to": {"2"}}
		res, page := b.do("GET", "/ui/secret-compare?"+ask.Encode(), cookie, nil)
		if res.StatusCode != http.StatusOK || !strings.Contains(page, text) || strings.Contains(page, "canary") {
			t.Errorf("%s: %s, %.3000s", path, res.Status, page)
		}
		ask.Set("form-token", form)
		_, shown := b.do("POST", "/ui/secret-compare", cookie, ask)
		if strings.Contains(shown, "\n+canary\n") != (path == "some") {
			t.Errorf("%s: %.3000s", path, shown)
		}
		for _, page := range []string{page, shown} {
			if offers := strings.Count(page, ">Download version "); (offers == 2) != strings.Contains(text, "at most") {
				t.Errorf("%s offers %d downloads", path, offers)
			}
		}
	}
}
