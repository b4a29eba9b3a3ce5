package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"

	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/textfile"
	"secretstore/internal/watchfile"
	"secretstore/store/zk"
)

// zkAccess is the access of this server to ZooKeeper.
type zkAccess struct {
	user, password string // digest authentication; "" for none
	tls            *zkTLS
}

// loadZKAccess reads the files about ZooKeeper, and returns the problems with them.
func loadZKAccess(cfg config.Config) (access zkAccess, problems []config.Problem) {
	check := func(option string, err error) {
		if err != nil {
			problems = append(problems, config.Problem{Where: "--" + option, What: err.Error()})
		}
	}
	if cfg.ZKAuthFile != "" {
		check("zk-auth-file", access.loadAuth(cfg.ZKAuthFile))
	}
	access.tls = newZKTLS(cfg)
	_, errs := access.tls.load()
	for i, f := range access.tls.files() {
		check(f.option, errs[i])
	}
	return access, problems
}

// config is what package zk needs to know.
func (z *zkAccess) config(cfg config.Config, log *zap.Logger) zk.Config {
	return zk.Config{
		Servers: cfg.Storage.Servers, Root: cfg.Storage.Root, User: z.user, Password: z.password, TLS: z.tls.config(),
		SessionTimeout: cfg.ZKSessionTimeout, MaxStale: cfg.MaxStale, Log: log.Named("zk"),
	}
}

// loadAuth reads user:password from the first line. Its errors contain neither.
func (z *zkAccess) loadAuth(file string) error {
	content, err := watchfile.Read(file)
	if err != nil {
		return err
	}
	user, password, ok := bytes.Cut(bytes.TrimSpace(textfile.FirstLine(content)), []byte{':'})
	if !ok || len(user) == 0 || len(password) == 0 {
		return fmt.Errorf("the first line of %s must be user:password", file)
	}
	z.user, z.password = string(user), string(password)
	return nil
}

// zkTLS are the settings of TLS to ZooKeeper. They are a source. Connections that are
// open keep the settings that they were made with.
type zkTLS struct {
	caFile, certFile, keyFile string // "" for none
	current                   atomic.Pointer[tls.Config]
}

func newZKTLS(cfg config.Config) *zkTLS {
	return &zkTLS{caFile: cfg.ZKTLSCA, certFile: cfg.ZKTLSCert, keyFile: cfg.ZKTLSKey}
}

// config returns what a new connection to ZooKeeper uses; nil for plain TCP.
func (z *zkTLS) config() func() *tls.Config {
	if z.caFile == "" && z.certFile == "" {
		return nil
	}
	return z.current.Load
}

// certificate returns the certificate of this server for ZooKeeper, or nil.
func (z *zkTLS) certificate() *tls.Certificate {
	if cfg := z.current.Load(); cfg != nil && len(cfg.Certificates) > 0 {
		return &cfg.Certificates[0]
	}
	return nil
}

func (z *zkTLS) name() string { return "TLS files for ZooKeeper" }

func (z *zkTLS) files() []optionFile {
	return []optionFile{{"zk-tls-ca", z.caFile}, {"zk-tls-cert", z.certFile}, {"zk-tls-key", z.keyFile}}
}

func (z *zkTLS) load() (in inUse, errs []error) {
	next := &tls.Config{MinVersion: tls.VersionTLS12}
	var used []*x509.Certificate
	var caErr error
	if z.caFile != "" {
		if used, caErr = readCertificates(z.caFile); caErr == nil {
			next.RootCAs = x509.NewCertPool()
			for _, c := range used {
				next.RootCAs.AddCert(c)
			}
		}
	}
	pair, certErr, keyErr := readPair(z.certFile, z.keyFile)
	if caErr != nil || certErr != nil || keyErr != nil {
		return inUse{}, []error{caErr, certErr, keyErr}
	}
	if pair.Leaf != nil {
		next.Certificates = []tls.Certificate{pair}
		used = append(used, pair.Leaf)
	}
	z.current.Store(next)
	return describe(used), []error{nil, nil, nil}
}
