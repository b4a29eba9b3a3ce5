package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"secretstore/acl"
)

// barrier gives keys, unless it is sealed.
type barrier struct{ sealed bool }

func (b *barrier) SessionKey(term uint32) (key [32]byte, of uint32, err error) {
	if b.sealed || term > 1 {
		return key, 0, errors.New("sealed")
	}
	key[0] = 1
	return key, 1, nil
}

// list is an Ended in memory.
type list map[string]bool

func (l list) End(_ context.Context, uid, id string, _ time.Time) error {
	l[uid+"/"+id] = true
	return nil
}
func (l list) Has(uid, id string) (bool, error) { return l[uid+"/"+id], nil }

func carrying(value string) *http.Request {
	r := httptest.NewRequest("GET", "/ui/", nil)
	r.AddCookie(&http.Cookie{Name: Cookie, Value: value})
	return r
}

func TestSessionsEnd(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b, ended := &barrier{}, make(list)
	revoked := false
	verify := func(token string) (acl.Principal, error) {
		if revoked {
			return acl.Principal{}, errors.New("revoked")
		}
		return acl.Principal{UID: token}, nil
	}
	clock := func() time.Time { return now }
	s, other := newSessions(b, ended, verify, clock), newSessions(b, ended, verify, clock)
	start := func() (*session, string) {
		x, err := s.start("alice")
		if err != nil {
			t.Fatal(err)
		}
		value, err := s.seal(x)
		if err != nil {
			t.Fatal(err)
		}
		return x, value
	}
	want := func(what string, of *sessions, value string, good bool) {
		t.Helper()
		if x, err := of.of(carrying(value)); good != (err == nil) || good && x.who.UID != "alice" {
			t.Errorf("%s: %v, %v", what, x, err)
		}
	}
	_, value := start()
	want("another server of the store", other, value, true)
	now = now.Add(maxIdle)
	want("after the longest pause", s, value, true)
	now = now.Add(time.Second)
	want("a second later", s, value, false)

	x, value := start()
	if err := s.end(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	want("after the sign-out", s, value, false)
	want("after the sign-out, on another server", other, value, false)

	_, value = start()
	revoked = true
	want("after the token was revoked", s, value, false)
	revoked = false

	_, before := start()
	b.sealed = true
	want("a session of the store, which is sealed", s, before, false)
	x, value = start()
	want("a session that began while it is sealed", s, value, true)
	want("the same, on another server", other, value, false)
	b.sealed = false
	want("the same, once it is unsealed", s, value, true)
	want("the one from before, once it is unsealed", s, before, true)
	b.sealed = true
	if err := s.end(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	want("after the sign-out while it is sealed", s, value, false)
	b.sealed = false
	want("after that, once it is unsealed", s, value, false)
}

// TestEndedSessionsAreForgottenWhenNoCookieIsLeft, even if their tokens never expire.
func TestEndedSessionsAreForgottenWhenNoCookieIsLeft(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	verify := func(token string) (acl.Principal, error) {
		return acl.Principal{UID: token, Expires: now.AddDate(1000, 0, 0)}, nil
	}
	s := newSessions(&barrier{sealed: true}, make(list), verify, func() time.Time { return now })
	end := func() (value string) {
		t.Helper()
		x, err := s.start("alice")
		if err != nil {
			t.Fatal(err)
		}
		if value, err = s.seal(x); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a second time changes nothing
			if err := s.end(t.Context(), x); err != nil {
				t.Fatal(err)
			}
		}
		return value
	}
	first := end()
	end()
	for range 4 {
		if _, err := s.of(carrying(first)); !errors.Is(err, errNoSession) {
			t.Errorf("at %v, the cookie is good: %v", now, err)
		}
		now = now.Add(maxIdle/2 + time.Second)
	}
	last := end()
	if len(s.local) != 1 || len(s.order) != 1 {
		t.Errorf("%d and %d are remembered, want the last one", len(s.local), len(s.order))
	}
	for _, cookie := range []string{first, last} {
		if _, err := s.of(carrying(cookie)); !errors.Is(err, errNoSession) {
			t.Errorf("an ended session is good again: %v", err)
		}
	}
}

// TestASessionOfAKeyThatIsNotHereMayBeGoodElsewhere: a cookie of the store while that is
// sealed, of a term that this server does not know, and of another process. One that was
// changed is none.
func TestASessionOfAKeyThatIsNotHereMayBeGoodElsewhere(t *testing.T) {
	b := &barrier{}
	verify := func(token string) (acl.Principal, error) { return acl.Principal{UID: token}, nil }
	s, other := newSessions(b, make(list), verify, time.Now), newSessions(b, make(list), verify, time.Now)
	cookie := func(of *sessions) string {
		x, err := of.start("alice")
		if err != nil {
			t.Fatal(err)
		}
		value, err := of.seal(x)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	want := func(what, value string, elsewhere bool) {
		t.Helper()
		if _, err := s.of(carrying(value)); !errors.Is(err, errNoSession) || errors.Is(err, errNoKey) != elsewhere {
			t.Errorf("%s: %v", what, err)
		}
	}
	ofStore := cookie(s)
	want("a cookie that was changed", ofStore[:len(ofStore)-4], false)
	want("an unknown term", encoding.EncodeToString([]byte{0, 0, 0, 2, 1}), true)
	b.sealed = true
	want("the store is sealed", ofStore, true)
	want("another process", cookie(other), true)
}

func TestPagesAreServedWhereTheyAreSafe(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	auto, on := New(Config{TrustedProxies: proxies}), New(Config{Everywhere: true})
	from := func(local, peer, url string) *http.Request {
		r := httptest.NewRequest("GET", url, nil)
		r.RemoteAddr = peer
		addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
		return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
	}
	for _, row := range []struct {
		local, peer, url string
		want             bool
	}{
		{"198.51.100.1:80", "203.0.113.5:1", "http://x/ui/", false},
		{"198.51.100.1:80", "203.0.113.5:1", "https://x/ui/", true},
		{"198.51.100.1:80", "192.0.2.7:1", "http://x/ui/", true},
		{"127.0.0.1:80", "127.0.0.1:1", "http://x/ui/", true},
		{"[::1]:80", "[::1]:1", "http://x/ui/", true},
		{"198.51.100.1:80", "127.0.0.1:1", "http://localhost/ui/", false},
	} {
		r := from(row.local, row.peer, row.url)
		if got := auto.Serves(r); got != row.want {
			t.Errorf("%+v: %t", row, got)
		}
		if !on.Serves(r) {
			t.Errorf("%+v: not served with --web on", row)
		}
	}
}

// TestABrowserWithoutScriptLeavesAValueAfter30Seconds: the page itself says so.
func TestABrowserWithoutScriptLeavesAValueAfter30Seconds(t *testing.T) {
	w := httptest.NewRecorder()
	(&visit{w: w}).hideAgain("secret?path=a")
	if got := w.Header().Get("Refresh"); got != "30; url=secret?path=a" {
		t.Errorf("Refresh: %q", got)
	}
}
