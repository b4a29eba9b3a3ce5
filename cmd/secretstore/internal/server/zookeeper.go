package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/textfile"
	"secretstore/internal/watchfile"
)

// zkAccess is the access of this server to ZooKeeper.
type zkAccess struct {
	user, password string      // digest authentication; "" for none
	tls            *tls.Config // nil for plain TCP
}

// load reads the files about ZooKeeper and returns the problems with them.
func (z *zkAccess) load(cfg config.Config) []config.Problem {
	var problems []config.Problem
	check := func(option string, err error) {
		if err != nil {
			problems = append(problems, config.Problem{Where: "--" + option, What: err.Error()})
		}
	}
	if cfg.ZKAuthFile != "" {
		check("zk-auth-file", z.loadAuth(cfg.ZKAuthFile))
	}
	if cfg.ZKTLSCA != "" || cfg.ZKTLSCert != "" {
		z.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ZKTLSCA != "" {
		check("zk-tls-ca", z.loadCA(cfg.ZKTLSCA))
	}
	pair, certErr, keyErr := readPair(cfg.ZKTLSCert, cfg.ZKTLSKey)
	check("zk-tls-cert", certErr)
	check("zk-tls-key", keyErr)
	if cfg.ZKTLSCert != "" {
		z.tls.Certificates = []tls.Certificate{pair}
	}
	return problems
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

func (z *zkAccess) loadCA(file string) error {
	content, err := watchfile.Read(file)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return errors.New(file + " contains no PEM certificate")
	}
	z.tls.RootCAs = pool
	return nil
}
