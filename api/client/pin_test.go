package client_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/internal/certtest"
	"secretstore/internal/fingerprint"
)

// pinned is a server with its own certificate, which has expired and names
// nobody.
func pinned(t *testing.T) (url, print string) {
	t.Helper()
	pair := (&certtest.Authority{}).Sign(t, &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", wire.TypeJSON)
		io.WriteString(w, `{"array":[]}`)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshakes
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, fingerprint.Of(pair.Leaf.Raw)
}

func TestOnlyServersWithTheFingerprintsAreSpokenTo(t *testing.T) {
	first, firstPrint := pinned(t)
	second, secondPrint := pinned(t)
	_, other := pinned(t)
	plain := strings.ToLower(strings.ReplaceAll(firstPrint, ":", ""))
	for name, row := range map[string]struct {
		servers, prints []string
		ok              bool
	}{
		"the server's":                 {[]string{first}, []string{firstPrint}, true},
		"in lower case without colons": {[]string{first}, []string{plain}, true},
		"one of several":               {[]string{first}, []string{other, firstPrint}, true},
		"another":                      {[]string{first}, []string{other}, false},
		"none":                         {[]string{first}, nil, false},
		"that of each server":          {[]string{first, second}, []string{firstPrint, secondPrint}, true},
		"that of the second server":    {[]string{first, second}, []string{secondPrint}, true},
		"that of neither":              {[]string{first, second}, []string{other}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newClient(t, client.Config{Servers: row.servers, Fingerprints: row.prints}).List(t.Context(), "")
			if (err == nil) != row.ok {
				t.Errorf("%v, want accepted %v", err, row.ok)
			}
			var certificate *tls.CertificateVerificationError
			if err != nil && (!errors.As(err, &certificate) || client.Temporary(err)) {
				t.Errorf("%v is not an error about the certificate", err)
			}
		})
	}
}

// TestPinsAreNotSwitchedOffByMistake: a configuration that has any is used with
// them or not at all.
func TestPinsAreNotSwitchedOffByMistake(t *testing.T) {
	_, print := pinned(t)
	for name, cfg := range map[string]client.Config{
		"malformed":        {Server: "https://127.0.0.1:1", Fingerprints: []string{"00"}},
		"empty":            {Server: "https://127.0.0.1:1", Fingerprints: []string{""}},
		"SHA-1":            {Server: "https://127.0.0.1:1", Fingerprints: []string{strings.Repeat("00", 20)}},
		"a plain server":   {Server: "http://127.0.0.1:1", Fingerprints: []string{print}},
		"one plain server": {Servers: []string{"https://127.0.0.1:1", "http://127.0.0.1:1"}, Fingerprints: []string{print}},
	} {
		if _, err := client.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// The caller's configuration stays as it is.
	own := &tls.Config{}
	if _, err := client.New(client.Config{Server: "https://127.0.0.1:1", TLS: own, Fingerprints: []string{print}}); err != nil || own.InsecureSkipVerify {
		t.Errorf("%v, changed %v", err, own.InsecureSkipVerify)
	}
}

// TestPinsHoldInResumedSessions: with another certificate behind a ticket.
func TestPinsHoldInResumedSessions(t *testing.T) {
	url, print := pinned(t)
	cache := tls.NewLRUClientSessionCache(0)
	if err := newClient(t, client.Config{Server: url, TLS: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: cache}, SingleUse: true}).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, other := pinned(t)
	c := newClient(t, client.Config{Server: url, TLS: &tls.Config{ClientSessionCache: cache}, SingleUse: true, Fingerprints: []string{other}})
	if err := c.Ping(t.Context()); err == nil {
		t.Error("the session was resumed without the check")
	}
	if err := newClient(t, client.Config{Server: url, TLS: &tls.Config{ClientSessionCache: cache}, SingleUse: true, Fingerprints: []string{print}}).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
