package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/acl"
	"secretstore/acl/clientcert"
	"secretstore/api/wire"
	"secretstore/internal/certtest"
)

// secureEdge is an edge behind TLS, whose clients may have certificates.
type secureEdge struct {
	*edge
	ca       *certtest.Authority
	verifier *clientcert.Verifier
	now      atomic.Pointer[time.Time] // of the verifier
	web      *httptest.Server
	plain    string // the address without TLS
}

const (
	aliceName = "alice.users.example.com" // a superuser
	bobName   = "bob.users.example.com"   // has no permission
)

func newSecureEdge(t *testing.T, trusted ...netip.Prefix) *secureEdge {
	t.Helper()
	rule, err := clientcert.ParseRule("dns:.users.example.com")
	must(t, err)
	s := &secureEdge{ca: certtest.New(t, "ca", time.Now())}
	s.setTime(time.Now())
	s.verifier = clientcert.New(rule, func() time.Time { return *s.now.Load() })
	s.verifier.SetAuthorities([]*x509.Certificate{s.ca.Cert})
	s.edge = newEdge(t, edgeOptions{certificates: s.verifier, trusted: trusted})
	policy, err := acl.ParsePolicy([]byte(policyText))
	must(t, err)
	s.policy.Store(policy.WithSuperusers("root", aliceName))
	s.put("a", "v")
	s.web = httptest.NewUnstartedServer(s.server)
	s.web.EnableHTTP2 = true
	s.web.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, VerifyPeerCertificate: clientcert.CheckSize}
	s.web.StartTLS()
	t.Cleanup(s.web.Close)
	s.plain, s.url, s.addr = s.addr, s.web.URL, s.web.Listener.Addr().String()
	s.as(nil)
	return s
}

func (s *secureEdge) setTime(now time.Time) { s.now.Store(&now) }

// certificate returns a certificate of the CA for an hour.
func (s *secureEdge) certificate(names ...string) *tls.Certificate {
	s.t.Helper()
	return certificateOf(s.t, s.ca, names...)
}

func certificateOf(t testing.TB, ca *certtest.Authority, names ...string) *tls.Certificate {
	t.Helper()
	var all []certtest.Name
	for _, n := range names {
		all = append(all, certtest.DNS(n))
	}
	pair := ca.Client(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), all...)
	return &pair
}

// browse makes a client with a certificate, or with none, that keeps its
// connections and its TLS sessions.
func (s *secureEdge) browse(cert *tls.Certificate, protocol string) *http.Client {
	s.t.Helper()
	transport := s.web.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = protocol == "HTTP/2.0"
	transport.TLSClientConfig.NextProtos = map[string][]string{"HTTP/2.0": {"h2"}, "HTTP/1.1": {"http/1.1"}}[protocol]
	transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	if cert != nil {
		// Whatever authorities the server names.
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (s *secureEdge) as(cert *tls.Certificate) { s.client = s.browse(cert, "HTTP/1.1") }

func TestClientCertificateNamesThePrincipal(t *testing.T) {
	s := newSecureEdge(t)
	stranger := certtest.New(t, "ca", time.Now())
	alice, bob := s.certificate(aliceName), s.certificate(bobName)
	token := http.Header{"Authorization": {"token=" + tokenOf(t, "nobody", "")}}
	badToken := http.Header{"Authorization": {"token=x.y.z"}}
	cookie := http.Header{"Cookie": {wire.TokenCookie + "=" + tokenOf(t, "nobody", "")}}
	for _, row := range []struct {
		what   string
		cert   *tls.Certificate
		header http.Header
		status int
		words  string
	}{
		{"a superuser's", alice, nil, 200, ""},
		{"a user's without permission", bob, nil, 403, "permission denied"},
		{"none", nil, nil, 401, "no valid authentication token"},
		{"a stranger's", certificateOf(t, stranger, aliceName), nil, 401, "--tls-client-ca"},
		{"without a name", s.certificate(), nil, 401, "--tls-client-uid"},
		{"with another name", s.certificate("alice.example.com"), nil, 401, "--tls-client-uid"},
		{"with two", s.certificate(aliceName, bobName), nil, 401, "--tls-client-uid"},
		{"with a NUL", s.certificate("alice.users.example.com\x00.users.example.com"), nil, 401, "--tls-client-uid"},
		{"with a huge name", s.certificate(strings.Repeat("a", 20000) + ".users.example.com"), nil, 401, "--tls-client-uid"},
		{"beside a token", alice, token, 403, "permission denied"},
		{"beside a bad token", alice, badToken, 401, "no valid authentication token"},
		{"beside an empty header", alice, http.Header{"Authorization": {""}}, 401, ""},
		{"beside a cookie", alice, cookie, 403, "permission denied"},
		{"beside an empty cookie", alice, http.Header{"Cookie": {wire.TokenCookie + "="}}, 401, ""},
		{"beside another cookie", alice, http.Header{"Cookie": {"a=b"}}, 200, ""},
		{"a stranger's beside a token", certificateOf(t, stranger, aliceName), token, 403, "permission denied"},
		{"through a proxy that says so", alice, http.Header{"X-Forwarded-For": {"192.0.2.1"}}, 401, "through a proxy"},
		{"through another", alice, http.Header{"Via": {"1.1 x"}}, 401, "through a proxy"},
		{"through a third", alice, http.Header{"Forwarded": {"for=192.0.2.1"}}, 401, "through a proxy"},
		{"in a header", nil, http.Header{"X-Forwarded-Client-Cert": {"DNS=" + aliceName}, "X-Ssl-Client-S-Dn": {"CN=" + aliceName}, "Ssl-Client-Cert": {"x"}}, 401, ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			s.as(row.cert)
			got := s.want(req{method: "GET", path: base + "/a", header: row.header}, row.status, row.words)
			if row.status == 401 && got.header.Get("WWW-Authenticate") != "acsjwt" {
				t.Errorf("WWW-Authenticate %q", got.header.Get("WWW-Authenticate"))
			}
		})
	}
	s.as(alice)
	s.want(req{method: "GET", path: "/live"}, 200)
	s.want(req{method: "GET", path: "/secrets/v1/init/default"}, 200)
}

// TestCertificateOnPlainConnectionsCountsForNothing: a request whose connection is
// not TLS has none, whatever it says.
func TestCertificateOnPlainConnectionsCountsForNothing(t *testing.T) {
	s := newSecureEdge(t)
	s.url, s.addr = "http://"+s.plain, s.plain
	s.want(req{method: "GET", path: base + "/a"}, 401, "no valid authentication token")
}

func TestCertificateOfATrustedProxyNamesNobody(t *testing.T) {
	s := newSecureEdge(t, netip.MustParsePrefix("127.0.0.0/8"))
	s.as(s.certificate(aliceName))
	s.want(req{method: "GET", path: base + "/a"}, 401, "through a proxy")
	s.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200)
}

// TestCertificateOfABrowserChangesNothingForOtherPages: a browser shows it to
// whichever page asks for this server.
func TestCertificateOfABrowserChangesNothingForOtherPages(t *testing.T) {
	s := newSecureEdge(t)
	s.as(s.certificate(aliceName))
	for i, row := range []struct {
		header http.Header
		status int
	}{
		{nil, 201}, // not a browser
		{http.Header{"Sec-Fetch-Site": {"same-origin"}}, 201},
		{http.Header{"Origin": {s.url}}, 201},
		{http.Header{"Sec-Fetch-Site": {"cross-site"}}, 401},
		{http.Header{"Sec-Fetch-Site": {"same-site"}}, 401},
		{http.Header{"Sec-Fetch-Site": {"none"}}, 401},
		{http.Header{"Sec-Fetch-Mode": {"cors"}}, 401},
		{http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {s.url}}, 401},
		{http.Header{"Origin": {"https://evil.example"}}, 401},
		{http.Header{"Origin": {"null"}}, 401},
		{http.Header{"Origin": {""}}, 401},
		{http.Header{"Origin": {strings.Replace(s.url, "https", "http", 1)}}, 401},
	} {
		s.want(req{method: "PUT", path: fmt.Sprintf("%s/b%d", base, i), header: row.header, body: `{"value":"v"}`}, row.status)
		s.want(req{method: "GET", path: base + "/a", header: row.header}, 200)
	}
}

// TestCertificateIsCheckedAtEachRequest: also on a connection that is kept, and in
// a TLS session that is resumed.
func TestCertificateIsCheckedAtEachRequest(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			s := newSecureEdge(t)
			cert := s.certificate(aliceName)
			c := s.browse(cert, protocol)
			get := func(want int, kept, resumed bool) {
				t.Helper()
				reused := false
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
				r, err := http.NewRequestWithContext(ctx, "GET", s.url+base+"/a", nil)
				must(t, err)
				res, err := c.Do(r)
				must(t, err)
				defer res.Body.Close()
				_, err = io.Copy(io.Discard, res.Body)
				must(t, err)
				if res.StatusCode != want || reused != kept || res.TLS.DidResume != resumed || res.Proto != protocol {
					t.Errorf("%s: %d, kept %v, resumed %v, want %d, %v, %v", res.Proto, res.StatusCode, reused, res.TLS.DidResume, want, kept, resumed)
				}
			}
			get(200, false, false)
			get(200, true, false)
			s.setTime(cert.Leaf.NotAfter.Add(time.Second))
			get(401, true, false)
			s.setTime(time.Now())
			get(200, true, false)
			s.verifier.SetAuthorities([]*x509.Certificate{certtest.New(t, "other", time.Now()).Cert})
			get(401, true, false)

			c.CloseIdleConnections()
			get(401, false, true)
			s.verifier.SetAuthorities([]*x509.Certificate{s.ca.Cert})
			get(200, true, true)
			c.CloseIdleConnections()
			get(200, false, true)
			s.setTime(cert.Leaf.NotAfter.Add(time.Second))
			get(401, true, true)
			c.CloseIdleConnections()
			get(401, false, true)
		})
	}
}

// TestCertificateIsCheckedAgainWhileARequestWaits: as a token is.
func TestCertificateIsCheckedAgainWhileARequestWaits(t *testing.T) {
	s := newSecureEdge(t)
	etag := s.want(req{method: "GET", path: base + "/a", uid: "root"}, 200).header.Get("ETag")
	c := s.browse(s.certificate(aliceName), "HTTP/2.0")
	type answer struct {
		status int
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), "GET", s.url+base+"/a?timeout=5m&watch="+strings.Trim(etag, `"`), nil)
		if err != nil {
			answered <- answer{0, err}
			return
		}
		res, err := c.Do(r)
		if err != nil {
			answered <- answer{0, err}
			return
		}
		res.Body.Close()
		answered <- answer{res.StatusCode, nil}
	}()
	eventually(t, func() bool { return s.server.Waiting() == 1 })
	s.verifier.SetAuthorities(nil)
	s.patch("root", "a", "w")
	if got := <-answered; got.status != 401 {
		t.Errorf("%+v", got)
	}
}

func TestLargeChainEndsItsHandshakeOnly(t *testing.T) {
	s := newSecureEdge(t)
	large := s.certificate(aliceName)
	filler := certtest.New(t, strings.Repeat("x", 8<<10), time.Now()).Cert.Raw
	large.Certificate = append(large.Certificate, filler, filler, filler)
	c := s.browse(large, "HTTP/1.1")
	if res, err := c.Get(s.url + "/live"); err == nil {
		res.Body.Close()
		t.Error("it was served")
	}
	s.as(s.certificate(aliceName))
	s.want(req{method: "GET", path: base + "/a"}, 200)
}

func TestAuditNamesTheUserOfTheCertificate(t *testing.T) {
	s := newSecureEdge(t)
	s.as(s.certificate(aliceName))
	s.want(req{method: "GET", path: base + "/a"}, 200)
	s.as(certificateOf(t, certtest.New(t, "ca", time.Now()), bobName))
	s.want(req{method: "GET", path: base + "/a"}, 401)
	raw, err := os.ReadFile(s.audit)
	must(t, err)
	text := string(raw)
	if !strings.Contains(text, `"uid":"`+aliceName+`"`) || strings.Contains(text, bobName) {
		t.Errorf("%s", text)
	}
}
