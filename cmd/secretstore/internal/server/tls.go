package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/internal/watchfile"
)

// certificate is the server's TLS certificate, replaced when its files change.
type certificate struct {
	certFile, keyFile string
	log               *zap.Logger
	notices           *notices

	mu      sync.Mutex // one reload at a time
	current atomic.Pointer[tls.Certificate]
}

// loadCertificate loads the pair for the first time. It returns the errors of both
// files.
func loadCertificate(certFile, keyFile string, log *zap.Logger, n *notices) (c *certificate, certErr, keyErr error) {
	c = &certificate{certFile: certFile, keyFile: keyFile, log: log, notices: n}
	certErr, keyErr = c.load()
	return c, certErr, keyErr
}

func (c *certificate) load() (certErr, keyErr error) {
	pair, certErr, keyErr := readPair(c.certFile, c.keyFile)
	if certErr == nil && keyErr == nil {
		c.current.Store(&pair)
	}
	return certErr, keyErr
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

// config returns the configuration of a server. It refuses versions before TLS 1.2.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

// watch reloads the pair when either file changes, until ctx is done.
func (c *certificate) watch(ctx context.Context) {
	var wg sync.WaitGroup
	for _, file := range []string{c.certFile, c.keyFile} {
		wg.Go(func() { watchfile.Poll(ctx, file, pollEvery, func([]byte, error) { c.changed() }) })
	}
	wg.Wait()
}

// changed loads the pair again. While somebody replaces the files, they do not match
// for a moment; the old pair is served until they do.
func (c *certificate) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.leaf()
	certErr, keyErr := c.load()
	c.notices.report("tls-cert-file", certErr)
	c.notices.report("tls-key-file", keyErr)
	if err := errors.Join(certErr, keyErr); err != nil {
		c.log.Warn("new TLS certificate is not usable; the one loaded before stays in use", zap.Error(err))
		return
	}
	if after := c.leaf(); before == nil || !after.Equal(before) {
		c.log.Info("TLS certificate in use", zap.String("file", c.certFile), zap.Time("expires", after.NotAfter))
	}
}
