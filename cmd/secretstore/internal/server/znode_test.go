package server

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"secretstore/cmd/secretstore/internal/fixture"
)

// TestZooKeeperCertificateIsChecked dials a TLS server by address and by a name
// that its certificate does not have.
func TestZooKeeperCertificateIsChecked(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	if err := fixture.Certificate(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go c.(*tls.Conn).Handshake() // fails where the client refuses
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	pem, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, tt := range []struct {
		name, host string
		roots      *x509.CertPool
		ok         bool
	}{
		{"its own address", "127.0.0.1", roots, true},
		{"another name", "localhost", roots, false},
		{"an unknown authority", "127.0.0.1", x509.NewCertPool(), false},
	} {
		z := &znodeKey{access: zkAccess{tls: &tls.Config{RootCAs: tt.roots}}}
		c, err := z.dial("tcp", net.JoinHostPort(tt.host, port), 10*time.Second)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v, want accepted %v", tt.name, err, tt.ok)
		}
		if err == nil {
			c.Close()
		}
	}
}
