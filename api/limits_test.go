package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestRequestsThatFailToAuthenticateAreLimitedByAddress: beyond the rate they
// are 429. Requests with a token are served, and other addresses refused as
// before.
func TestRequestsThatFailToAuthenticateAreLimitedByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The peer of a pipe has no address that could be trusted.
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("a", "v")
		refused := func() (n int) {
			for range 300 {
				got := e.do(req{method: "GET", path: base + "/a", header: http.Header{"Authorization": {"token=x"}}})
				switch {
				case got.status == 401:
					n++
				case got.status != 429 || got.header.Get("Retry-After") == "":
					t.Fatalf("%+v", got)
				}
			}
			return n
		}
		if n := refused(); n != 100 {
			t.Errorf("%d of 300 failures at once are 401, want 100", n)
		}
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200)
		time.Sleep(time.Second)
		if n := refused(); n != 100 {
			t.Errorf("%d failures a second later are 401, want 100", n)
		}
		for _, line := range e.auditLines() {
			if line["status"] == 429.0 && line["outcome"] != "denied" {
				t.Errorf("%v", line)
			}
		}
	})
}

func TestFailuresOfOneAddressDoNotCountForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true, uninitialized: true, trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
		from := func(address string) int {
			r, w := httptest.NewRequest(http.MethodGet, base+"/a", nil), httptest.NewRecorder()
			r.RemoteAddr = "127.0.0.1:1"
			r.Header.Set("X-Forwarded-For", address)
			e.server.ServeHTTP(w, r)
			return w.Code
		}
		for range 50 { // from one /64
			if a, b := from("2001:db8::1"), from("2001:db8::2"); a != 401 || b != 401 {
				t.Errorf("%d, %d", a, b)
			}
		}
		if s := from("2001:db8::3"); s != 429 {
			t.Errorf("after 100 failures: %d", s)
		}
		if s := from("2001:db8:0:1::1"); s != 401 {
			t.Errorf("another address: %d", s)
		}
	})
}

// TestTheRateOfAPrincipalIsAnOption, and does not hold up a seal.
func TestTheRateOfAPrincipalIsAnOption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true, requestRate: 5})
		served := func(uid, service string) (n int) {
			for range 20 {
				got := e.do(req{method: "GET", path: base + "/none", uid: uid, service: service})
				switch {
				case got.status == 404:
					n++
				case got.status != 429 || got.header.Get("Retry-After") == "":
					t.Fatalf("%+v", got)
				}
			}
			return n
		}
		for _, who := range [][2]string{{"alice", ""}, {"root", ""}, {"alice", "/none"}, {"alice", "/other"}} {
			if n := served(who[0], who[1]); n != 5 {
				t.Errorf("%v: %d of 20 at once, want 5", who, n)
			}
		}
		e.want(req{method: "PUT", path: "/secrets/v1/seal/default", uid: "root"}, 200)
	})
}
