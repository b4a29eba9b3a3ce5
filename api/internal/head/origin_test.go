package head

import (
	"crypto/tls"
	"net/http/httptest"
	"testing"
)

func TestSameOrigin(t *testing.T) {
	rows := []struct {
		origin string
		tls    bool
		same   bool
	}{
		{"https://store.example", true, true},
		{"http://store.example", true, false},
		{"http://store.example", false, true},
		{"https://store.example", false, true}, // a proxy ends TLS
		{"https://other.example", true, false},
		{"ftp://store.example", false, false},
		{"null", false, false},
	}
	for _, row := range rows {
		r := httptest.NewRequest("PUT", "/", nil)
		r.Host = "store.example"
		r.Header.Set("Origin", row.origin)
		if r.TLS = nil; row.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if got := sameOrigin(r); got != row.same {
			t.Errorf("origin %s, TLS %v: %v, want %v", row.origin, row.tls, got, row.same)
		}
	}
}
