package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"secretstore/acl/token"
	"secretstore/api"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/systemd"
	"secretstore/iam/authority"
	"secretstore/iam/oidc"
	"secretstore/iam/tokens"
	"secretstore/internal/connections"
	"secretstore/internal/scrub"
	"secretstore/seal"
	"secretstore/seal/pgp"
	"secretstore/store"
	"secretstore/store/bolt"
	"secretstore/store/memory"
	"secretstore/store/zk"
	"secretstore/web"
)

// Outside is the process around a server.
type Outside struct {
	Stdout io.Writer
	Stderr io.Writer // the log goes there; a Write must not block for long
	// Terminal says that a person reads the log.
	Terminal bool
	// LinesLost returns how many lines of the log could not be written; nil
	// leaves the metric out.
	LinesLost func() uint64
	// FlushLog waits, for a limited time, until Stderr has written the log; may be
	// nil.
	FlushLog func()
	Hangup   <-chan os.Signal // on each value the policy file is reread; may be nil
	// Sockets that listen already, for plain HTTP ("http") and HTTPS ("https").
	Sockets map[string]net.Listener
	// Command is the name that the program was started with; --dev prints it.
	Command string
	// Version of the program, which status shows.
	Version string
	// Unprotected is what Protect returned; it is logged.
	Unprotected error
	// TestOnlyGenerateKey makes the bootstrap key; nil but in tests.
	TestOnlyGenerateKey func() (*pgp.PrivateKey, error)
	// TestOnlyPasswordRounds are those of password hashes; 0 but in tests.
	TestOnlyPasswordRounds int
	// TestOnlyConnections is how many connections there can be; 0 but in tests.
	TestOnlyConnections int
}

// Server is a configured server. It has many methods because each part that it
// starts or replaces while it runs has one, and shares the log and the end of the
// others.
type Server struct {
	cfg     config.Config
	outside Outside
	log     *zap.Logger
	notices *notices
	parts   *parts
	zk      *zk.Backend // the storage, if it is ZooKeeper
	nodes   *nodes      // nil without ZooKeeper
	metrics *metrics
	systemd *systemd.Notifier
	records *authority.Authority // of the identities
	iam     *authority.Authority // records, as the IAM; nil without one
	oidc    *oidc.Service        // nil without an IAM
	tokens  *tokens.Tokens       // nil without an IAM
	policy  *policy
	pages   *web.Server // nil without them
}

// New checks everything that it can without listening or opening the storage. The
// error is a config.Error with all problems: the given ones, and those of the files
// that the configuration names.
func New(ctx context.Context, cfg config.Config, problems []config.Problem, o Outside) (*Server, error) {
	if (cfg.Dev || o.Terminal) && !cfg.Given("log-format") {
		cfg.LogFormat = "console"
	}
	s := &Server{cfg: cfg, outside: o, log: newLog(o.Stderr, cfg), notices: &notices{}}
	s.systemd = systemd.NewNotifier(s.log.Named("systemd"))
	if o.Unprotected != nil {
		s.log.Warn("other processes of this user may read the memory of the server, or a core file of it", zap.Error(o.Unprotected))
	}
	if cfg.Dev && len(problems) == 0 {
		var err error
		if s.cfg, err = devSetup(cfg, "."); err != nil {
			return nil, config.Error(config.Problems("--dev", err))
		}
	}
	var more []config.Problem
	s.parts, more = prepare(ctx, s.cfg, s.log, s.notices)
	problems = slices.Concat(problems, more, checkSockets(o.Sockets, s.cfg))
	if len(problems) > 0 {
		return nil, errors.Join(config.Error(problems), s.parts.close())
	}
	return s, nil
}

// Run serves until ctx ends, lets requests in flight finish, and closes everything. An
// error is a failure at run time.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.parts.close()) }()
	endpoints, err := s.bind(ctx)
	if err != nil {
		return err
	}
	profiles, err := listenProfiles(ctx, s.cfg.PprofListen, s.log)
	if err != nil {
		return errors.Join(fmt.Errorf("--pprof-listen: %w", err), closeAll(endpoints))
	}
	if profiles != nil {
		defer profiles.listener.Close() // again, if it has served
	}
	if err := s.checkFirstFile(); err != nil {
		return errors.Join(err, closeAll(endpoints))
	}
	s.metrics = newMetrics()
	backend, driver, err := s.openBackend(ctx)
	if err != nil {
		return errors.Join(err, closeAll(endpoints))
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	if err := s.checkZnode(ctx); err != nil {
		return errors.Join(err, closeAll(endpoints))
	}
	if err := s.checkFirstSuperuser(ctx, backend); err != nil {
		return errors.Join(err, closeAll(endpoints))
	}
	s.warnOfNeighbor(ctx, backend)
	defer tuneCollector()()
	s.log.Info("opening the store",
		zap.String("storage", driver), zap.Bool("bootstrap", s.cfg.Bootstrap))
	st, err := seal.Open(ctx, s.sealOptions(backend))
	if err != nil {
		return errors.Join(fmt.Errorf("open the store: %w", err), closeAll(endpoints))
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := unfit(st); err != nil {
		return errors.Join(err, closeAll(endpoints))
	}
	if err := s.openRecords(st); err != nil {
		return errors.Join(fmt.Errorf("open the IAM: %w", err), closeAll(endpoints))
	}
	defer s.records.Close()
	if s.iam != nil {
		s.oidc = s.openOIDC()
		defer s.oidc.Forget()
		s.tokens = s.newTokens(st)
	}
	s.policy = &policy{file: s.parts.policy, iam: s.iam}
	limiter := limit(endpoints, cmp.Or(s.outside.TestOnlyConnections, connections.Max()), s.cfg.TrustedProxies, s.metrics.dropped.Inc, s.log)
	if err := s.metrics.add(s, limiter); err != nil {
		return errors.Join(err, closeAll(endpoints))
	}
	handler, err := s.newAPI(st, driver, httpsSite(s.cfg, endpoints))
	if err != nil {
		return errors.Join(err, closeAll(endpoints))
	}
	for _, e := range endpoints {
		e.prepare(s.withPages(handler), handler.MaxBody(), s.log)
		e.server.RegisterOnShutdown(handler.EndWatches)
	}
	s.warn()
	s.announce(endpoints)
	if err := s.runAll(ctx, st, endpoints, profiles); err != nil {
		return err
	}
	s.log.Info("stopped")
	return nil
}

// openBackend opens the storage and names its driver.
func (s *Server) openBackend(ctx context.Context) (store.Backend, string, error) {
	b, driver, err := openStorage(ctx, s.cfg, s.parts.zk, s.metrics.storage, s.log)
	switch b := b.(type) {
	case *zk.Backend:
		s.zk = b
		s.nodes = s.newNodes()
	case *bolt.Backend:
		return measuredFile{b, s.metrics.storage}, driver, err
	}
	return b, driver, err
}

// OpenStorage opens the storage of a configuration for work without a server. A bbolt
// file must exist. Problems with the files about ZooKeeper are a config.Error.
func OpenStorage(ctx context.Context, cfg config.Config, log *zap.Logger) (store.Backend, error) {
	if cfg.Storage.Kind == config.Bolt {
		if _, err := os.Stat(cfg.Storage.Path); err != nil {
			return nil, fmt.Errorf("open the storage: %w", err)
		}
	}
	return MakeStorage(ctx, cfg, log)
}

// MakeStorage is OpenStorage, but makes a bbolt file that does not exist.
func MakeStorage(ctx context.Context, cfg config.Config, log *zap.Logger) (store.Backend, error) {
	access, problems := loadZKAccess(cfg)
	if len(problems) > 0 {
		return nil, config.Error(problems)
	}
	b, _, err := openStorage(ctx, cfg, access, nil, log)
	return b, err
}

// BootstrapKeyFile returns the file with the bootstrap private key beside a bbolt file,
// or "" for storages that keep the key themselves.
func BootstrapKeyFile(s config.Storage) string {
	if s.Kind == config.Bolt {
		return s.Path + ".bootstrap.key"
	}
	return ""
}

// openStorage opens the storage and names its driver. A new backend is one more
// case here, and a kind in package config. meter measures the calls of ZooKeeper; it
// may be nil.
func openStorage(ctx context.Context, cfg config.Config, access zkAccess, meter store.Meter, log *zap.Logger) (store.Backend, string, error) {
	switch st := cfg.Storage; st.Kind {
	case config.Bolt:
		warnOfLostFile(st, log)
		b, err := bolt.Open(ctx, st.Path)
		if err != nil {
			return nil, "", fmt.Errorf("open the storage: %w", err)
		}
		for _, w := range b.Warnings() {
			log.Warn("storage", zap.String("warning", w))
		}
		return b, "bolt", nil
	case config.Memory:
		log.Warn("everything is kept in memory and will be lost when the server ends")
		return memory.New(), "memory", nil
	case config.ZooKeeper:
		zkConfig := access.config(cfg, log)
		zkConfig.Meter = meter
		if err := checkRoot(ctx, st, zkConfig, log); err != nil {
			return nil, "", err
		}
		b, err := zk.Open(ctx, zkConfig)
		if err != nil {
			return nil, "", fmt.Errorf("open the storage: %w", err)
		}
		return b, "zookeeper", nil
	default:
		return nil, "", fmt.Errorf("internal error: no storage %q", st.Kind)
	}
}

func (s *Server) sealOptions(b store.Backend) seal.Options {
	o := seal.Options{
		Backend: b, Bootstrap: s.cfg.Bootstrap, BootstrapKeyFile: BootstrapKeyFile(s.cfg.Storage),
		MaxSecretSize: s.cfg.MaxSecretSize, KeepVersions: s.cfg.KeepVersions,
		Mode: s.cfg.SecurityMode, ModeChosen: s.cfg.Given("security-mode"),
		GenerateKey: s.outside.TestOnlyGenerateKey, Scrub: scrub.Memory, Log: s.log.Named("seal"),
	}
	if s.nodes != nil {
		o.Self, o.Nodes = s.nodes.server(), s.nodes.servers
	}
	return o
}

func (s *Server) newAPI(st *seal.Store, driver string, site api.Site) (*api.Server, error) {
	cfg := api.Config{
		Registry: s.metrics.registry, Store: st, HTTPS: site, Driver: driver, Version: s.outside.Version, Development: s.cfg.Dev, Auth: s.parts.verifier, Policy: s.policy.Policy, Audit: s.parts.audit,
		Log: s.log.Named("api"), TrustedProxies: s.cfg.TrustedProxies, RequestRate: s.cfg.RequestRate, Warnings: s.warnings,
		Host: s.host,
	}
	if s.iam != nil {
		cfg.Identities = &api.Identities{Accounts: s.iam, Tokens: s.tokens, OIDC: s.oidc}
		cfg.Auth, cfg.Credentials = s.tokens, s.tokens
	}
	if s.cfg.Web != config.WebOff {
		s.pages = s.newPages(st, cfg.Auth)
		cfg.Pages = s.pages
	}
	if s.nodes != nil {
		cfg.Nodes = s.nodes.list
	}
	if s.parts.clients != nil {
		cfg.Certificates = s.parts.clients
	}
	if s.parts.cert != nil {
		cfg.CertificateExpiry = s.parts.cert.expiry
	}
	return api.New(cfg)
}

func (s *Server) bind(ctx context.Context) ([]*endpoint, error) {
	var all []*endpoint
	if s.cfg.Listen != "" {
		e, err := s.bindOne(ctx, s.cfg.Listen, "http", nil)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if s.cfg.TLSListen != "" {
		e, err := s.bindOne(ctx, s.cfg.TLSListen, "https", serverTLS(s.parts.cert, s.parts.clients))
		if err != nil {
			return nil, errors.Join(err, closeAll(all))
		}
		all = append(all, e)
	}
	return all, nil
}

// bindOne takes the socket that systemd has opened for a scheme, or opens one.
func (s *Server) bindOne(ctx context.Context, addr, scheme string, tlsConfig *tls.Config) (*endpoint, error) {
	if l := s.outside.Sockets[scheme]; l != nil {
		return newEndpoint(l, scheme, tlsConfig), nil
	}
	return bind(ctx, addr, scheme, tlsConfig)
}

func closeAll(endpoints []*endpoint) error {
	var errs []error
	for _, e := range endpoints {
		errs = append(errs, e.listener.Close())
	}
	return errors.Join(errs...)
}

// runAll runs the endpoints and the watchers of files until ctx ends, and waits for
// them.
func (s *Server) runAll(ctx context.Context, st *seal.Store, endpoints []*endpoint, profiles *profiles) error {
	g, ctx := errgroup.WithContext(ctx)
	p := s.parts
	watchers := []func(){func() { p.policy.watch(ctx, s.outside.Hangup, s.systemd) }, func() { s.tellSystemd(ctx, endpoints) }}
	if s.cfg.AuthSecretFile != "" {
		keys := s.watchKeys("auth-secret-file")
		if s.cfg.Dev {
			keys.Report = thenOnce(keys.Report, func() { s.greet(ctx, st, endpoints) })
		}
		watchers = append(watchers, func() { p.verifier.WatchHMACFile(ctx, s.cfg.AuthSecretFile, keys) })
	}
	if p.jwks != nil {
		watchers = append(watchers, func() { p.verifier.WatchJWKS(ctx, p.jwks, s.watchKeys("auth-jwks")) })
	}
	for _, r := range p.reloaders {
		watchers = append(watchers, func() { r.watch(ctx) })
	}
	if s.zk != nil && s.cfg.AuthSecretZnode != "" {
		g.Go(func() error { return s.newZnodeKey().watch(ctx) })
	}
	for _, w := range watchers {
		g.Go(func() error { w(); return nil })
	}
	if s.iam != nil {
		g.Go(func() error { return s.checkFirstStart(ctx) })
		g.Go(func() error { s.tokens.Run(ctx); return nil })
		g.Go(func() error { s.forgetIdentities(ctx); return nil })
	}
	if s.nodes != nil {
		g.Go(func() error { return s.nodes.announce(ctx, st.Status) })
	}
	if profiles != nil {
		g.Go(func() error { return profiles.serve(ctx) })
	}
	g.Go(func() error { s.reportPosture(ctx, endpoints); return nil })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-st.Unfit():
			return unfit(st)
		}
	})
	g.Go(func() error { return serve(ctx, endpoints, shutdownGrace) })
	return g.Wait()
}

// watchKeys reports loading the token keys of an option.
func (s *Server) watchKeys(option string) token.Watch {
	return token.Watch{Every: pollEvery, Report: func(err error) {
		s.notices.report(option, err)
		switch {
		case errors.Is(err, token.ErrRevoked):
			s.log.Error("all token keys were removed; every token is now refused", zap.String("option", option), zap.Error(err))
		case errors.Is(err, token.ErrKeyLeftOut):
			s.log.Warn("token keys loaded, but some of the set were left out", zap.String("option", option), zap.Error(err))
		case err != nil:
			s.log.Error("token keys could not be loaded; the current ones stay in effect", zap.String("option", option), zap.Error(err))
		default:
			s.log.Info("token keys loaded", zap.String("option", option), zap.Strings("fingerprints", s.parts.verifier.Fingerprints()))
		}
	}}
}

// warn logs settings that an operator may not have intended.
func (s *Server) warn() {
	if s.cfg.AuthSecretFile == "" && s.cfg.AuthSecretZnode == "" && s.cfg.AuthJWKS == "" && s.iam == nil {
		s.log.Warn("no token key is configured, so every token is refused; use --auth-secret-file, --auth-secret-znode or --auth-jwks")
	}
	if len(s.cfg.Superusers) == 0 && s.cfg.PolicyFile == "" && s.iam == nil {
		s.log.Warn("no user has any permission; use --superuser or --policy-file")
	}
}

// announce logs where the server listens. Programs that start it on port 0 find the
// address in this line.
func (s *Server) announce(endpoints []*endpoint) {
	for _, e := range endpoints {
		s.log.Info("listening", zap.String("url", e.url()))
	}
}
