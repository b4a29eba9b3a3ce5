package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/acl/clientcert"
	"secretstore/internal/fingerprint"
)

// certificate is the server's TLS certificate. It is a source.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

func (c *certificate) name() string { return "TLS certificate" }

func (c *certificate) files() []optionFile {
	return []optionFile{{"tls-cert-file", c.certFile}, {"tls-key-file", c.keyFile}}
}

func (c *certificate) load() (in inUse, errs []error) {
	pair, certErr, keyErr := readPair(c.certFile, c.keyFile)
	if certErr == nil {
		certErr = c.worse(pair.Leaf, time.Now())
	}
	if certErr != nil || keyErr != nil {
		return inUse{}, []error{certErr, keyErr}
	}
	if pair.Leaf != nil { // no file has a name
		c.current.Store(&pair)
	}
	return c.describe(), []error{nil, nil}
}

// worse refuses a certificate that has expired in place of one that has not: somebody
// has put back an old one. At the start, and where both have, it is served, and warned
// about.
func (c *certificate) worse(next *x509.Certificate, now time.Time) error {
	if before := c.leaf(); before != nil && next != nil && now.After(next.NotAfter) && !now.After(before.NotAfter) {
		return fmt.Errorf("certificate %s expired at %s", c.certFile, next.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// describe says which certificate is in use.
func (c *certificate) describe() inUse {
	pair := c.current.Load()
	if pair == nil || pair.Leaf == nil {
		return inUse{}
	}
	id := ""
	for _, der := range pair.Certificate {
		id += string(der)
	}
	return inUse{id, []zap.Field{
		zap.Time("expires", pair.Leaf.NotAfter), zap.String("fingerprint", fingerprint.Of(pair.Leaf.Raw)),
	}}
}

// expiry returns when the current certificate expires.
func (c *certificate) expiry() time.Time {
	if leaf := c.leaf(); leaf != nil {
		return leaf.NotAfter
	}
	return time.Time{}
}

// leaf returns the current certificate, or nil before the first was loaded.
func (c *certificate) leaf() *x509.Certificate {
	if pair := c.current.Load(); pair != nil {
		return pair.Leaf
	}
	return nil
}

// serverTLS returns the configuration of HTTPS. It refuses versions before TLS 1.2.
// With clients, it asks each client for a certificate; one that shows none, or any
// other, is served too, for it may have a token.
func serverTLS(c *certificate, clients *clientcert.Verifier) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
	if clients == nil {
		return cfg
	}
	// Nothing is verified here but that the client holds the key: package api does
	// the rest at each request.
	cfg.ClientAuth = tls.RequestClientCert
	cfg.VerifyPeerCertificate = clientcert.CheckSize
	plain := cfg.Clone()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		present := plain.Clone()
		present.ClientCAs = clients.Authorities() // named to the client, which may choose by them
		return present, nil
	}
	return cfg
}

// clientCAs are the authorities of client certificates. They are a source.
type clientCAs struct {
	file     string
	verifier *clientcert.Verifier
}

func (c *clientCAs) name() string { return "CAs of client certificates" }

func (c *clientCAs) files() []optionFile { return []optionFile{{"tls-client-ca", c.file}} }

func (c *clientCAs) load() (in inUse, errs []error) {
	all, err := readCertificates(c.file)
	if err != nil {
		return inUse{}, []error{err}
	}
	c.verifier.SetAuthorities(all)
	return describe(all), []error{nil}
}

// describe says which certificates are in use.
func describe(all []*x509.Certificate) (in inUse) {
	prints := make([]string, len(all))
	for i, c := range all {
		prints[i] = fingerprint.Of(c.Raw)
		in.id += prints[i]
	}
	in.fields = []zap.Field{zap.Strings("fingerprints", prints)}
	return in
}
