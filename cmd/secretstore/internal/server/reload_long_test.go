//go:build long && zookeeper

package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/certtest"
	"secretstore/internal/fingerprint"
	"secretstore/internal/zktest"
	"secretstore/seal/sealtest"
)

// TestNoRequestIsLostWhileFilesAreReplaced makes 10,000 requests, with tokens and
// with certificates, over HTTP/1.1 and HTTP/2, on connections that are kept, new or
// resumed, while every file that the server rereads is replaced again and again, by
// good ones and by broken ones: those of TLS, the policy, and the key of tokens.
func TestNoRequestIsLostWhileFilesAreReplaced(t *testing.T) {
	const requests, rounds = 10_000, 3
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	ca, other := certtest.New(t, "ca", time.Now()), certtest.New(t, "other", time.Now())
	day := time.Now().Add(24 * time.Hour)
	user := func() tls.Certificate {
		return ca.Client(t, time.Now().Add(-time.Hour), day, certtest.DNS("alice.users.example.com"))
	}
	member := serverPair(t, ca, day)
	put(t, in("zk.pem"), append(certtest.KeyPEM(t, member), certtest.PEM(member.Leaf)...))
	put(t, in("ca.pem"), certtest.PEM(ca.Cert))
	zookeeper := zktest.Start(t, zktest.TLS(in("zk.pem"), in("ca.pem")))
	put(t, in("clients"), certtest.PEM(ca.Cert))
	put(t, in("zkca"), certtest.PEM(ca.Cert))
	pairFiles(t, in("cert"), in("key"), serverPair(t, ca, day))
	pairFiles(t, in("zkcert"), in("zkkey"), user())
	policy := func(comment string) []byte {
		return []byte("users:\n  root:\n    dcos:superuser: [full] # " + comment + "\n")
	}
	put(t, in("policy"), policy("first"))
	put(t, in("hmac"), []byte(fixture.Key+"\n"))
	r := startWith(t, Outside{Stdout: io.Discard, TestOnlyGenerateKey: sealtest.GenerateKey},
		"--listen=", "--tls-listen", "127.0.0.1:0", "--tls-cert-file", in("cert"), "--tls-key-file", in("key"),
		"--tls-client-ca", in("clients"), "--tls-client-uid", "dns:.users.example.com", "--superuser", "alice.users.example.com",
		"--policy-file", in("policy"), "--auth-secret-file", in("hmac"),
		"--storage", "zk://"+zookeeper.TLSAddr(), "--zk-tls-ca", in("zkca"), "--zk-tls-cert", in("zkcert"), "--zk-tls-key", in("zkkey"))
	raw, err := token.Sign("root", time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	clientOf := func(i int) *http.Client {
		transport := &http.Transport{
			ForceAttemptHTTP2: i%2 == 0, DisableKeepAlives: i%4 >= 2,
			TLSClientConfig: &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		}
		if i%3 > 0 {
			transport.TLSClientConfig.Certificates = []tls.Certificate{user()}
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	for first, ready := clientOf(0), false; !ready; time.Sleep(50 * time.Millisecond) {
		res, err := first.Get(r.url + "/ready")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		ready = res.StatusCode == http.StatusOK
	}
	var answered atomic.Int64
	var failed sync.Map
	ask := func(c *http.Client, i, n int) error {
		method, path, want, body := "PUT", fmt.Sprintf("/secrets/v1/secret/default/w%d/n%d", i, n/2), 201, io.Reader(strings.NewReader(`{"value":"v"}`))
		if n%2 == 1 {
			method, want, body = "GET", 200, nil
		}
		req, err := http.NewRequest(method, r.url+path, body)
		if err != nil {
			return err
		}
		if i%3 == 0 {
			req.Header.Set("Authorization", "token="+raw)
		}
		res, err := c.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != want {
			return fmt.Errorf("%s: %d %s, %w", method, res.StatusCode, text, err)
		}
		return nil
	}
	done := make(chan struct{})
	var workers sync.WaitGroup
	for i := range 12 {
		c := clientOf(i)
		workers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if err := ask(c, i, n); err != nil {
					failed.Store(fmt.Sprintf("worker %d, request %d: %v", i, n, err), true)
				}
				answered.Add(1)
			}
		})
	}
	for round := 0; round < rounds || answered.Load() < requests; round++ {
		pair := serverPair(t, ca, day)
		pairFiles(t, in("cert"), in("key"), pair)
		r.log.until(t, `"TLS certificate in use"`, fingerprint.Of(pair.Leaf.Raw))

		more := certtest.PEM(certtest.New(t, "more", time.Now()).Cert, ca.Cert)
		put(t, in("clients"), more)
		r.log.until(t, `"CAs of client certificates in use"`)

		mine := user()
		put(t, in("zkca"), bytes.Clone(more))
		pairFiles(t, in("zkcert"), in("zkkey"), mine)
		r.log.until(t, `"TLS files for ZooKeeper in use"`, fingerprint.Of(mine.Leaf.Raw))

		put(t, in("policy"), policy(fmt.Sprint(round)))
		r.log.until(t, `"policy in effect"`)
		put(t, in("hmac"), fmt.Appendf(nil, "%s\nround %d\n", fixture.Key, round)) // the first line counts
		r.log.until(t, `"token keys loaded"`)

		put(t, in("policy"), []byte("users: ["))
		r.log.until(t, "policy file is not usable")
		put(t, in("hmac"), []byte("short\n"))
		r.log.until(t, "token keys could not be loaded")
		for _, broken := range []string{"cert", "clients", "zkca"} {
			put(t, in(broken), certtest.PEM(other.Cert)[:200])
			r.log.until(t, "are not usable")
		}
	}
	close(done)
	workers.Wait()
	n := 0
	failed.Range(func(text, _ any) bool {
		t.Error(text)
		n++
		return n < 10
	})
	t.Logf("%d requests", answered.Load())
}
