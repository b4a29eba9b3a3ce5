//go:build zookeeper

package zk_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

// walk visits every znode at and below path with the ACL it has.
func walk(t *testing.T, c *zkc.Conn, path string, visit func(path string, acl []zkc.ACL)) {
	t.Helper()
	acl, _, err := c.GetACL(path)
	must(t, err)
	visit(path, acl)
	names, _, err := c.Children(path)
	must(t, err)
	for _, name := range names {
		walk(t, c, path+"/"+name, visit)
	}
}

func TestWithAUserEveryZnodeIsForThatUserOnly(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	stranger := raw(t, server.Addr())
	user := raw(t, server.Addr())
	must(t, user.AddAuth("digest", []byte("store:a password")))
	cfg := config(t, server.Addr())
	// Made before, by hand or by a server without a user.
	for _, path := range []string{"/test", cfg.Root, cfg.Root + "/weak", cfg.Root + "/weak/x"} {
		others(t, stranger, path, []byte("x"))
	}
	cfg.User, cfg.Password = "store", "a password"
	p := newProxy(t, server.Addr())
	cfg.Servers = []string{p.Addr()}
	log, logged := observer.New(zap.DebugLevel)
	cfg.Log = zap.New(log)
	b := open(t, cfg)
	create(t, b, "f/g/k", "x")
	for range 3 { // each connection proves anew who it is
		p.Cut()
		eventually(t, "read", func() bool { return get(b, "f/g/k", store.Latest) == "x" })
	}
	create(t, b, "after/k", "x")
	want := zkc.DigestACL(zkc.PermAll, "store", "a password")[0]
	eventually(t, "repaired", func() bool {
		acl, _, err := user.GetACL(cfg.Root + "/weak/x")
		return err == nil && len(acl) == 1 && acl[0] == want
	})
	seen := 0
	walk(t, user, cfg.Root, func(path string, acl []zkc.ACL) {
		seen++
		if len(acl) != 1 || acl[0] != want {
			t.Errorf("%s: %v", path, acl)
		}
		if _, _, err := stranger.Get(path); !errors.Is(err, zkc.ErrNoAuth) {
			t.Errorf("a stranger reads %s: %v", path, err)
		}
		if _, err := stranger.Create(path+"/planted", nil, 0, zkc.WorldACL(zkc.PermAll)); !errors.Is(err, zkc.ErrNoAuth) {
			t.Errorf("a stranger writes below %s: %v", path, err)
		}
	})
	if seen < 9 {
		t.Errorf("only %d znodes", seen)
	}
	if acl, _, err := user.GetACL("/test"); err != nil || acl[0].Scheme != "world" {
		t.Errorf("the znode above ROOT: %v, %v", acl, err)
	}
	for _, entry := range logged.All() {
		for _, text := range append([]string{entry.Message}, fieldTexts(entry)...) {
			if strings.Contains(text, "a password") || strings.Contains(text, want.ID) {
				t.Errorf("the log holds the password: %s", text)
			}
		}
	}
}

func fieldTexts(entry observer.LoggedEntry) []string {
	var all []string
	for _, f := range entry.Context {
		all = append(all, f.String)
		if err, ok := f.Interface.(error); ok {
			all = append(all, err.Error())
		}
	}
	return all
}

func TestAWrongUserIsToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := prompt(t, server)
	cfg.User, cfg.Password = "store", "right"
	create(t, open(t, cfg), "k", "x")
	cfg.Password = "wrong"
	log, logged := observer.New(zap.WarnLevel)
	cfg.Log = zap.New(log)
	b := open(t, cfg)
	if _, err := b.Get(t.Context(), "k", store.Latest); err == nil {
		t.Error("read with a wrong password")
	}
	if _, err := b.Apply(t.Context(), store.Create("l", []byte("x"))); err == nil {
		t.Error("write with a wrong password")
	}
	eventually(t, "a line in the log", func() bool {
		for _, entry := range logged.All() {
			for _, text := range fieldTexts(entry) {
				if strings.Contains(text, zkc.ErrNoAuth.Error()) && strings.Contains(text, cfg.Root) {
					return true
				}
			}
		}
		return false
	})
}

// pki is a CA with certificates for 127.0.0.1 and for a client.
type pki struct {
	pool       *x509.CertPool
	ca, server string // PEM files
	client     tls.Certificate
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	must(t, err)
	ca, err = x509.ParseCertificate(der)
	must(t, err)
	p := &pki{pool: x509.NewCertPool(), ca: filepath.Join(dir, "ca.pem"), server: filepath.Join(dir, "server.pem")}
	p.pool.AddCert(ca)
	must(t, os.WriteFile(p.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	_, serverPEM := issue(t, ca, key, "server")
	must(t, os.WriteFile(p.server, serverPEM, 0o600))
	p.client, _ = issue(t, ca, key, "client")
	return p
}

func issue(t *testing.T, ca *x509.Certificate, caKey *ecdsa.PrivateKey, name string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, &key.PublicKey, caKey)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, both
}

func TestTLS(t *testing.T) {
	t.Parallel()
	keys, strangers := newPKI(t), newPKI(t)
	server := zktest.Start(t, zktest.TLS(keys.server, keys.ca))
	cfg := prompt(t, server.TLSAddr())
	cfg.TLS = always(&tls.Config{RootCAs: keys.pool, Certificates: []tls.Certificate{keys.client}})
	b := open(t, cfg)
	create(t, b, "k", "x")
	eventually(t, "read", func() bool { return get(b, "k", store.Latest) == "x" })
	for name, c := range map[string]*tls.Config{
		"a CA that is not the server's": {RootCAs: strangers.pool, Certificates: []tls.Certificate{keys.client}},
		"no client certificate":         {RootCAs: keys.pool},
		"a stranger's certificate":      {RootCAs: keys.pool, Certificates: []tls.Certificate{strangers.client}},
		"another name":                  {RootCAs: keys.pool, Certificates: []tls.Certificate{keys.client}, ServerName: "other"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			cfg.TLS, cfg.Log = always(c), nil
			b := open(t, cfg)
			if err := b.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Ping: %v, want ErrUnavailable", err)
			}
		})
	}
	cfg.TLS, cfg.Log = nil, nil
	if err := open(t, cfg).Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("plain TCP on the TLS port: %v", err)
	}
}

// TestNewConnectionsUseTheTLSFilesOfTheirTime: and open ones stay.
func TestNewConnectionsUseTheTLSFilesOfTheirTime(t *testing.T) {
	t.Parallel()
	keys, strangers := newPKI(t), newPKI(t)
	server := zktest.Start(t, zktest.TLS(keys.server, keys.ca))
	good := &tls.Config{RootCAs: keys.pool, Certificates: []tls.Certificate{keys.client}}
	var now atomic.Pointer[tls.Config]
	now.Store(good)
	cfg := prompt(t, server.TLSAddr())
	cfg.TLS, cfg.Log = now.Load, nil
	b := open(t, cfg)
	create(t, b, "k", "x")
	now.Store(&tls.Config{RootCAs: strangers.pool})
	if got := get(b, "k", store.Latest); got != "x" {
		t.Errorf("on the open connection: %s", got)
	}
	server.Stop()
	server.Restart()
	if err := b.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("on a new connection, with other authorities: %v", err)
	}
	now.Store(good)
	eventually(t, "connected", func() bool { return get(b, "k", store.Latest) == "x" })
}

// TestOwnACLsAreKnownAgain: a server writes down whatever a session has proved,
// a certificate too, and the user hashed as it is configured to.
func TestOwnACLsAreKnownAgain(t *testing.T) {
	t.Parallel()
	keys := newPKI(t)
	for name, options := range map[string][]zktest.Option{
		"certificate": {zktest.TLS(keys.server, keys.ca)},
		"SHA-256":     {zktest.Java("-Dzookeeper.DigestAuthenticationProvider.digestAlg=SHA-256")},
	} {
		t.Run(name, func(t *testing.T) {
			server := zktest.Start(t, options...)
			cfg := config(t, server.Addr())
			if name == "certificate" {
				cfg.Servers = []string{server.TLSAddr()}
				cfg.TLS = always(&tls.Config{RootCAs: keys.pool, Certificates: []tls.Certificate{keys.client}})
			}
			cfg.User, cfg.Password = "store", "a password"
			first := open(t, cfg)
			create(t, first, "f/k", "x")
			must(t, first.Close()) // its own walk, if late, would count as well
			user := raw(t, server.Addr())
			must(t, user.AddAuth("digest", []byte("store:a password")))
			_, err := user.Create(cfg.Root+"/weak", []byte("x"), 0, append(zkc.AuthACL(zkc.PermAll), zkc.WorldACL(zkc.PermRead)...))
			must(t, err)
			log, logged := observer.New(zap.WarnLevel)
			cfg.Log = zap.New(log)
			b := open(t, cfg)
			eventually(t, "repaired", func() bool {
				open, err := b.WorldReadable(t.Context(), "weak")
				return err == nil && !open
			})
			must(t, b.RepairACLs(t.Context()))
			repaired := int64(0) // in both walks
			for _, entry := range logged.FilterFieldKey("repaired").All() {
				repaired += entry.ContextMap()["repaired"].(int64)
			}
			if repaired != 1 {
				t.Errorf("%d were repaired, want 1: %v", repaired, logged.All())
			}
		})
	}
}

// always is a configuration that does not change.
func always(c *tls.Config) func() *tls.Config { return func() *tls.Config { return c } }
