package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"secretstore/acl/clientcert"
	"secretstore/acl/token"
	"secretstore/api/audit"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/filetrust"
)

// parts are made from the files that the configuration names.
type parts struct {
	verifier *token.Verifier
	jwks     *token.JWKSSource // nil if none is configured
	policy   *policyHolder
	cert     *certificate         // nil if HTTPS is not served
	clients  *clientcert.Verifier // nil if clients are not asked for certificates
	// superusers are those of --superuser-password-file.
	superusers *superuserFile
	// reloaders follow the files of superusers, cert, clients and zk.
	reloaders []*reloader
	zk        zkAccess
	audit     *audit.Log // nil if none is configured
}

// prepare reads all files once and returns all problems with them, so that the
// operator need not find them one start at a time. It does not listen or touch the
// storage. The parts are complete only if there are no problems.
func prepare(ctx context.Context, cfg config.Config, log *zap.Logger, n *notices) (*parts, []config.Problem) {
	p := &parts{}
	var problems []config.Problem
	check := func(option string, err error) {
		if err != nil {
			problems = append(problems, config.Problems("--"+option, err)...)
		}
	}
	var err error
	p.verifier, err = token.New(token.Config{JWKSServiceClaim: cfg.JWKSServiceClaim, Issuers: cfg.Issuers, Audiences: cfg.Audiences})
	check("jwks-service-claim", err)
	if cfg.AuthSecretFile != "" {
		check("auth-secret-file", helpSecret(p.verifier.LoadHMACFile(cfg.AuthSecretFile)))
	}
	if cfg.AuthJWKS != "" {
		p.jwks, err = prepareKeySet(ctx, cfg.AuthJWKS, p.verifier)
		check("auth-jwks", err)
	}
	p.policy, err = newPolicyHolder(cfg.PolicyFile, cfg.Superusers, log, n)
	check("policy-file", err)
	// Also if they have no effect, or one is missing: those mistakes are reported
	// already, and others should not wait for the next start.
	load := func(s source) {
		r, errs := newReloader(s, log, n)
		p.reloaders = append(p.reloaders, r)
		for i, f := range s.files() {
			check(f.option, errs[i])
		}
	}
	p.superusers = &superuserFile{path: cfg.SuperuserPasswordFile}
	load(p.superusers)
	cert := &certificate{certFile: cfg.TLSCertFile, keyFile: cfg.TLSKeyFile}
	load(cert)
	if cfg.TLSListen != "" {
		p.cert = cert
	}
	if cfg.TLSClientCA != "" {
		p.clients = clientcert.New(cfg.TLSClientUID, nil)
		load(&clientCAs{cfg.TLSClientCA, p.clients})
	}
	if cfg.ZKAuthFile != "" {
		check("zk-auth-file", p.zk.loadAuth(cfg.ZKAuthFile))
	}
	p.zk.tls = newZKTLS(cfg)
	load(p.zk.tls)
	check("storage", checkStorage(cfg.Storage))
	check("bootstrap", checkBootstrapKey(BootstrapKeyFile(cfg.Storage)))
	if cfg.AuditLog != "" {
		var reserveErr error
		p.audit, reserveErr, err = audit.Open(cfg.AuditLog)
		check("audit-log", err)
		if reserveErr != nil {
			log.Warn("cannot reserve disk space for audit lines about requests with a token", zap.Error(reserveErr))
		}
	}
	if cfg.TLSSelfSigned && p.cert != nil && len(problems) == 0 {
		check("tls-self-signed", p.cert.signSelf(selfSignedFile(cfg.Storage), cfg.TLSListen, log))
	}
	return p, problems
}

func helpSecret(err error) error {
	if err == nil || errors.Is(err, filetrust.ErrUntrusted) {
		return err
	}
	return fmt.Errorf("%w; make a key with: openssl rand -hex 32", err)
}

// prepareKeySet loads the keys of a file. A URL is fetched later: its server may start
// after this one.
func prepareKeySet(ctx context.Context, source string, v *token.Verifier) (*token.JWKSSource, error) {
	s, err := token.NewJWKSSource(source, nil)
	if err != nil {
		return nil, err
	}
	if strings.Contains(source, "://") {
		return s, nil
	}
	raw, err := s.Fetch(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.SetJWKS(raw); !errors.Is(err, token.ErrKeyLeftOut) { // which the watcher reports
		return s, err
	}
	return s, nil
}

// checkStorage finds common mistakes in the path of a bbolt file. All others show when
// the storage is opened.
func checkStorage(s config.Storage) error {
	if s.Kind != config.Bolt {
		return nil
	}
	folder := filepath.Dir(s.Path)
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("%w; make the folder with: mkdir -m 700 -p %s", err, folder)
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "open", Path: folder, Err: fs.ErrInvalid}
	}
	switch info, err := os.Stat(s.Path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil // a new one
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file; name a file inside it, such as bolt:%s", s.Path, filepath.Join(s.Path, "secretstore.db"))
	}
	f, err := os.OpenFile(s.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// checkBootstrapKey refuses a file with a bootstrap key that another user can change.
// Whether its content is usable shows when the store is unsealed.
func checkBootstrapKey(path string) error {
	info, err := os.Stat(path)
	if path == "" || err != nil {
		return nil
	}
	return errors.Join(filetrust.CheckLink(path), filetrust.Check(path, info))
}

// close closes what prepare has opened.
func (p *parts) close() error {
	if p.audit == nil {
		return nil
	}
	return p.audit.Close()
}
