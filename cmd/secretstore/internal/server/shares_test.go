package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/fixture"
)

// watchedConn says when it is closed.
type watchedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *watchedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// TestSharesOnAPageEndTheirConnection, over HTTP/1.1 and HTTP/2, whether or not the
// form is refused. The browser sees the answer.
func TestSharesOnAPageEndTheirConnection(t *testing.T) {
	r := startFor(t, 0)
	raw, err := token.Sign("root", time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{1, 2} {
		conns := make(chan *watchedConn, 10)
		c := http2(t, 0)
		c.ForceAttemptHTTP2 = version == 2
		c.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			w := &watchedConn{Conn: conn, closed: make(chan struct{})}
			conns <- w
			return w, nil
		}
		ask := func(method, path, cookie string, form url.Values) (*http.Response, string) {
			t.Helper()
			res, err := c.RoundTrip(r.ask(t, method, path, strings.NewReader(form.Encode()), "Cookie", cookie, "Content-Type", "application/x-www-form-urlencoded"))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil || res.ProtoMajor != version {
				t.Fatalf("%s: %v", res.Proto, err)
			}
			return res, string(text)
		}
		res, _ := ask("POST", "/ui/sign-in", "", url.Values{"token": {raw}})
		cookie, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
		_, page := ask("GET", "/ui/unseal", cookie, nil)
		found := regexp.MustCompile(`name="form-token" value="([^"]+)"`).FindStringSubmatch(page)
		if found == nil {
			t.Fatalf("no form in %s", page)
		}
		for _, row := range []struct {
			name, cookie, form, share string
			status                    int
			text                      string
		}{
			{"no share", cookie, found[1], "", 400, "Paste what gpg has printed"},
			{"a share of an unsealed store", cookie, found[1], strings.Repeat("0b", 32), 303, ""},
			{"an old form", cookie, "old", strings.Repeat("0b", 32), 403, "earlier session"},
			{"no session", "", found[1], strings.Repeat("0b", 32), 303, ""},
			{"no session, much", "", found[1], strings.Repeat("0b", 50<<10), 303, ""},
			{"too much", cookie, found[1], strings.Repeat("0b", 1<<20), 413, "</html>"},
		} {
			res, text := ask("POST", "/ui/unseal", row.cookie, url.Values{"do": {"share"}, "share": {row.share}, "form-token": {row.form}})
			name := fmt.Sprintf("HTTP/%d, %s", version, row.name)
			if res.StatusCode != row.status || !strings.Contains(text, row.text) || res.Header.Get("Content-Security-Policy") == "" || version == 1 && !res.Close {
				t.Errorf("%s: %s, %v, %s", name, res.Status, res.Header, text)
			}
			select {
			case <-(<-conns).closed:
			case <-time.After(patience):
				t.Fatalf("%s: the connection stays", name)
			}
			if len(conns) != 0 {
				t.Errorf("%s: the connection was not used", name)
			}
		}
	}
}
