package server

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/certtest"
	"secretstore/internal/fingerprint"
)

// serverPair returns a certificate for 127.0.0.1.
func serverPair(t testing.TB, ca *certtest.Authority, until time.Time) tls.Certificate {
	t.Helper()
	return ca.Sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// pairFiles writes a pair, each file in one step.
func pairFiles(t testing.TB, certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	put(t, keyFile, certtest.KeyPEM(t, pair))
	put(t, certFile, certtest.PEM(pair.Leaf))
}

// put replaces a file in one step.
func put(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// secured is a server with HTTPS that asks clients for certificates.
type secured struct {
	*running
	ca                         *certtest.Authority
	certFile, keyFile, clients string
	pair                       tls.Certificate
}

func startSecured(t *testing.T, args ...string) *secured {
	t.Helper()
	dir := t.TempDir()
	s := &secured{
		ca:       certtest.New(t, "ca", time.Now()),
		certFile: filepath.Join(dir, "cert"), keyFile: filepath.Join(dir, "key"), clients: filepath.Join(dir, "clients"),
	}
	s.pair = serverPair(t, s.ca, time.Now().Add(24*time.Hour))
	pairFiles(t, s.certFile, s.keyFile, s.pair)
	put(t, s.clients, certtest.PEM(s.ca.Cert))
	s.running = start(t, nil, append([]string{
		"--listen=", "--tls-listen", "127.0.0.1:0", "--tls-cert-file", s.certFile, "--tls-key-file", s.keyFile,
		"--tls-client-ca", s.clients, "--tls-client-uid", "dns:.users.example.com", "--superuser", "alice.users.example.com",
	}, args...)...)
	return s
}

// alice returns the certificate of a superuser.
func (s *secured) alice(t testing.TB) tls.Certificate {
	t.Helper()
	return s.ca.Client(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), certtest.DNS("alice.users.example.com"))
}

// client returns a client with these certificates.
func (s *secured) client(t testing.TB, certs ...tls.Certificate) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.ca.Cert)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get asks for what only a superuser may see.
func (s *secured) get(t testing.TB, c *http.Client) (status int, body string, shown *x509.Certificate) {
	t.Helper()
	res, text := s.answer(t, c, "/secrets/v1/init/default")
	if res.ProtoMajor != 2 {
		t.Errorf("answered with %s", res.Proto)
	}
	return res.StatusCode, text, res.TLS.PeerCertificates[0]
}

// answer returns the answer to a GET request and its body.
func (s *secured) answer(t testing.TB, c *http.Client, path string) (*http.Response, string) {
	t.Helper()
	res, err := c.Get(s.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

func (s *secured) wants(t testing.TB, c *http.Client, want int) {
	t.Helper()
	if status, text, _ := s.get(t, c); status != want {
		t.Errorf("%d %s, want %d", status, text, want)
	}
}

// warnings returns what superusers see.
func (s *secured) warnings(t testing.TB) string {
	t.Helper()
	_, text := s.answer(t, s.client(t, s.alice(t)), "/secrets/v1/seal-status/default")
	return text
}

// TestBrokenTLSFilesChangeNothing: what was loaded stays in use, the log and status
// say so, and the next good files count.
func TestBrokenTLSFilesChangeNothing(t *testing.T) {
	s := startSecured(t)
	kept := s.client(t, s.alice(t))
	s.wants(t, kept, 200)
	other := certtest.New(t, "other", time.Now())
	unchanged := func() {
		t.Helper()
		fresh := s.client(t, s.alice(t))
		s.wants(t, fresh, 200)
		s.wants(t, kept, 200)
		if _, _, shown := s.get(t, fresh); !shown.Equal(s.pair.Leaf) {
			t.Error("another certificate is shown")
		}
	}
	good := certtest.PEM(s.ca.Cert)
	for name, content := range map[string][]byte{
		"empty":        {},
		"text":         []byte("text"),
		"half":         good[:len(good)/2],
		"one and half": append(bytes.Clone(good), certtest.PEM(other.Cert)[:200]...),
		"malformed":    []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		"a key":        certtest.KeyPEM(t, s.pair),
	} {
		put(t, s.clients, content)
		s.log.until(t, "CAs of client certificates are not usable")
		if text := s.warnings(t); !strings.Contains(text, "tls-client-ca: ") {
			t.Errorf("%s: status does not show it: %s", name, text)
		}
		unchanged()
	}
	if err := os.Remove(s.clients); err != nil {
		t.Fatal(err)
	}
	s.log.until(t, "CAs of client certificates are not usable")
	unchanged()
	put(t, s.clients, append(certtest.PEM(other.Cert), good...))
	s.log.until(t, "CAs of client certificates in use")
	unchanged()

	pairFiles(t, s.certFile, s.keyFile, serverPair(t, s.ca, time.Now().Add(-time.Hour)))
	s.log.until(t, "TLS certificate are not usable", " expired at ")
	unchanged()
	put(t, s.certFile, certtest.PEM(serverPair(t, s.ca, time.Now().Add(time.Hour)).Leaf)) // without its key
	s.log.until(t, "TLS certificate are not usable", "does not match")
	if text := s.warnings(t); !strings.Contains(text, "tls-cert-file: ") {
		t.Errorf("status does not show it: %s", text)
	}
	unchanged()
	next := serverPair(t, s.ca, time.Now().Add(36*time.Hour))
	pairFiles(t, s.certFile, s.keyFile, next)
	s.log.until(t, `"TLS certificate in use"`, fingerprint.Of(next.Leaf.Raw))
	if _, _, shown := s.get(t, s.client(t, s.alice(t))); !shown.Equal(next.Leaf) {
		t.Error("the old certificate is shown")
	}
	s.wants(t, kept, 200)
	if text := s.warnings(t); strings.Contains(text, "tls-") {
		t.Errorf("status still warns: %s", text)
	}
}

// TestCertificatesOfStrangersDoNotFillTheLog: crypto/x509 repeats a URI that it cannot
// parse.
func TestCertificatesOfStrangersDoNotFillTheLog(t *testing.T) {
	s := startSecured(t)
	// Not with certtest, which reads what it makes.
	bad := s.alice(t)
	uri := "x://" + strings.Repeat("a", 100<<10) + "%zz"
	template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: []pkix.Extension{{
		Id: []int{2, 5, 29, 17}, Value: certtest.Alternatives(t, certtest.URI(uri)),
	}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, bad.Leaf.PublicKey, bad.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c := s.client(t)
	c.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: bad.PrivateKey}, nil
	}
	if res, err := c.Get(s.url + "/live"); err == nil {
		res.Body.Close()
		t.Error("it was served")
	}
	if line := s.log.until(t, "TLS handshake error"); len(line) > 2*maxLine {
		t.Errorf("a line of %d bytes", len(line))
	}
}

// TestRemovedAuthorityEndsItsClientsOnOpenConnections: those with a token stay.
func TestRemovedAuthorityEndsItsClientsOnOpenConnections(t *testing.T) {
	s := startSecured(t)
	c := s.client(t, s.alice(t))
	s.wants(t, c, 200)
	put(t, s.clients, certtest.PEM(certtest.New(t, "other", time.Now()).Cert))
	s.log.until(t, "CAs of client certificates in use")
	s.wants(t, c, 401)
	s.wants(t, s.client(t, s.alice(t)), 401)
	if status, text, err := s.tokenRequest(t, c); err != nil || status != 200 {
		t.Errorf("with a token: %d %s, %v", status, text, err)
	}
}

// tokenRequest makes a request with the token of root.
func (s *secured) tokenRequest(t testing.TB, c *http.Client) (int, string, error) {
	t.Helper()
	req, err := http.NewRequest("GET", s.url+"/secrets/v1/init/default", nil)
	if err != nil {
		return 0, "", err
	}
	raw, err := token.Sign("root", time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "token="+raw)
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// TestZooKeeperTLSFilesAreLoadedTogether: a broken one keeps all of them.
func TestZooKeeperTLSFilesAreLoadedTogether(t *testing.T) {
	dir := t.TempDir()
	ca, other := certtest.New(t, "ca", time.Now()), certtest.New(t, "other", time.Now())
	pair := ca.Client(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	caFile, certFile, keyFile := write(t, dir, "ca", string(certtest.PEM(ca.Cert))), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	pairFiles(t, certFile, keyFile, pair)
	z := newZKTLS(config.Config{ZKTLSCA: caFile, ZKTLSCert: certFile, ZKTLSKey: keyFile})
	n := &notices{}
	r, errs := newReloader(z, newLog(io.Discard, config.Config{}), n)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	inUse := func(ca *certtest.Authority, pair tls.Certificate, notice string) {
		t.Helper()
		r.changed()
		got := z.config()()
		pool := x509.NewCertPool()
		pool.AddCert(ca.Cert)
		if !got.RootCAs.Equal(pool) || !bytes.Equal(got.Certificates[0].Certificate[0], pair.Certificate[0]) || got.MinVersion != tls.VersionTLS12 {
			t.Error("other files are in use")
		}
		if all := strings.Join(n.list(), "\n"); !strings.HasPrefix(all, notice) || (all == "") != (notice == "") {
			t.Errorf("notices %q, want %q", all, notice)
		}
	}
	inUse(ca, pair, "")
	next := other.Client(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	put(t, caFile, certtest.PEM(other.Cert)[:100])
	pairFiles(t, certFile, keyFile, next)
	inUse(ca, pair, "zk-tls-ca: ")
	put(t, caFile, certtest.PEM(other.Cert))
	inUse(other, next, "")
	put(t, keyFile, certtest.KeyPEM(t, pair))
	put(t, caFile, certtest.PEM(ca.Cert))
	inUse(other, next, "zk-tls-cert: ")
	if newZKTLS(config.Config{}).config() != nil {
		t.Error("TLS without a file")
	}
}

// TestSelfSignedCertificateStays: the fingerprint that clients know is that of later
// starts, too; in memory it is not.
func TestSelfSignedCertificateStays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "s.db.self-signed.pem")
	print := func(storage string) string {
		t.Helper()
		s, err := build(t, Outside{}, "--tls-listen", "127.0.0.1:0", "--tls-self-signed", "--storage", storage)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.parts.cert.leaf().VerifyHostname("127.0.0.1"); err != nil {
			t.Error(err)
		}
		return fingerprint.Of(s.parts.cert.leaf().Raw)
	}
	bolt := "bolt:" + filepath.Join(dir, "s.db")
	first := print(bolt)
	if again := print(bolt); again != first {
		t.Errorf("%s, then %s", first, again)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	once, twice := print("memory:"), print("memory:")
	if once == twice {
		t.Error("a certificate in memory stayed")
	}
	// One that ends soon is made anew, one that is broken is not replaced.
	old := serverPair(t, certtest.New(t, "ca", time.Now()), time.Now().Add(selfSignedLeft-time.Hour))
	put(t, file, append(certtest.PEM(old.Leaf), certtest.KeyPEM(t, old)...))
	if next := print(bolt); next == fingerprint.Of(old.Leaf.Raw) || next == first {
		t.Error("the certificate was not made anew")
	}
	put(t, file, []byte("text"))
	if _, err := build(t, Outside{}, "--tls-listen", "127.0.0.1:0", "--tls-self-signed", "--storage", bolt); err == nil || !strings.Contains(err.Error(), "--tls-self-signed: ") {
		t.Errorf("%v", err)
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "text" {
		t.Errorf("%q, %v", content, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	// With another problem nothing is made.
	if _, err := build(t, Outside{}, "--tls-listen", "127.0.0.1:0", "--tls-self-signed", "--storage", bolt, "--policy-file", "nosuch"); err == nil {
		t.Error("no problem")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was made")
	}
}
