package api

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"secretstore/acl"
	"secretstore/api/audit"
	"secretstore/api/internal/acs"
	"secretstore/api/internal/admin"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/body"
	"secretstore/api/internal/head"
	"secretstore/api/internal/monitor"
	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
	"secretstore/api/internal/watch"
	"secretstore/api/wire"
	"secretstore/internal/connections"
	"secretstore/internal/framing"
	"secretstore/seal"
)

// Config is what a Server is made of.
type Config struct {
	// Store is the store "default", on a server with a security mode. Required.
	Store *seal.Store
	// HTTPS is where the server serves HTTPS; by default, nowhere.
	HTTPS Site
	// Driver is what GET /store calls the storage: bolt, zookeeper, memory.
	Driver string
	// Version is the version of the program, for people.
	Version string
	// Development marks a store that may be thrown away.
	Development bool
	// Auth verifies tokens. Required.
	Auth Authenticator
	// Certificates verifies client certificates, which name the principal of a
	// request without a token; nil: they do not count.
	Certificates CertificateAuthenticator
	// Credentials says whether users whom other credentials name may act, on a server
	// with accounts; nil: there are none.
	Credentials Credentials
	// Policy returns the policy in force; it is called for each request.
	// Required; a nil policy denies everything.
	Policy func() *acl.Policy
	// Identities is the IAM below /acs/api/v1; nil: there is none.
	Identities *Identities
	// Audit takes a line for each decision; nil writes none.
	Audit *audit.Log
	// Log takes errors, slow requests and, at debug level, all requests; nil
	// drops them.
	Log *zap.Logger
	// TrustedProxies are the peers whose X-Forwarded-For is believed, and whose
	// client certificate does not count.
	TrustedProxies []netip.Prefix
	// RequestRate is how many requests a second each principal may make; 0 is
	// any number.
	RequestRate int
	// Registry takes the metrics that GET /metrics serves; nil makes one.
	Registry *prometheus.Registry
	// Warnings returns what operators should know, such as a policy file that
	// could not be read again. Superusers get it with the seal status. Nil:
	// none.
	Warnings func() []string
	// Nodes returns the servers as they announce themselves in the storage, for
	// GET /nodes; nil if they do not. Nothing in it is verified.
	Nodes func(ctx context.Context) (wire.Nodes, error)
	// CertificateExpiry returns when the TLS certificate expires, for superusers;
	// nil or a zero time if there is none.
	CertificateExpiry func() time.Time
	// Pages are those for people, which the server has beside the API; nil: none.
	Pages Pages
	// Host returns what superusers may know about the process and its machine;
	// nil, or a nil result, is nothing.
	Host func() *wire.HostReport
}

// Authenticator verifies tokens and returns their principals. Its errors are
// logged, never sent, and hold no part of the token. One that wraps
// token.ErrUnchecked is answered as the error in it, such as seal.ErrSealed.
type Authenticator interface {
	Verify(raw string) (acl.Principal, error)
}

// Credentials relates credentials that name a user to the accounts of the IAM. Its
// errors wrap token.ErrInvalid, or say why it cannot be known now.
type Credentials interface {
	// CheckForeign returns nil if a user whom a client certificate names may act.
	CheckForeign(uid string) error
	// MinterGeneration returns what a task token says of the account of its minter.
	MinterGeneration(uid string) (string, error)
	// CheckMinter returns nil while that is so.
	CheckMinter(uid, generation string) error
}

// CertificateAuthenticator verifies the certificates that a client has shown in
// TLS, its own first, and returns its principal. It is asked at each request. Its
// errors are those of package clientcert; they are logged, and never sent.
type CertificateAuthenticator interface {
	Verify(chain []*x509.Certificate) (acl.Principal, error)
}

// Pages are the pages of package web.
type Pages interface {
	// Serves reports whether the client of a request may see them. A browser that
	// asks for the root is then sent there.
	Serves(r *http.Request) bool
	// StartSession returns the cookie of a new session for a token, which answers r, and
	// the page that the browser goes to: the one that was wanted, or "" for the first.
	StartSession(r *http.Request, token, wanted string) (cookie, page string, err error)
}

// Server answers the HTTP API. It is an http.Handler; the caller provides the
// http.Server, which should set DisableGeneralOptionsHandler: otherwise
// net/http itself answers "OPTIONS *" with 200, without a token, the usual
// headers, an audit line or a metric.
type Server struct {
	store    *seal.Store
	log      *zap.Logger
	failures *monitor.FailureLog
	trusted  []netip.Prefix
	https    https

	gate    *gate
	audit   *auditor
	routes  *routes
	budget  *body.Budget
	watches *watch.Limits
	backups *backups
	metrics *monitor.Metrics
	limits  *limits

	idPrefix string        // random: two servers never use the same id
	requests atomic.Uint64 // counts the ids
}

// New returns a server, or everything that is wrong with the configuration.
func New(cfg Config) (*Server, error) {
	var problems []error
	if cfg.Store == nil {
		problems = append(problems, errors.New("api: no store"))
	} else if cfg.Store.SecurityMode() == 0 {
		problems = append(problems, errors.New("api: no security mode"))
	} else if cfg.Store.SecurityMode() == seal.ModeStrict && !cfg.HTTPS.Exists() {
		problems = append(problems, errors.New("api: the security mode is strict, and no HTTPS is served"))
	}
	if cfg.Auth == nil {
		problems = append(problems, errors.New("api: no authenticator"))
	}
	if cfg.Policy == nil {
		problems = append(problems, errors.New("api: no policy"))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	s := &Server{
		store: cfg.Store, log: cfg.Log, failures: monitor.NewFailureLog(cfg.Log), trusted: cfg.TrustedProxies,
		https:    newHTTPS(cfg.HTTPS, cfg.Store.SecurityMode(), cfg.Pages),
		gate:     &gate{auth: cfg.Auth, certificates: cfg.Certificates, credentials: cfg.Credentials, trusted: cfg.TrustedProxies, policy: cfg.Policy, store: cfg.Store},
		budget:   body.NewBudget(largestAnswer(cfg.Store)),
		watches:  watch.NewLimits(),
		idPrefix: randomPrefix(),
	}
	s.backups = &backups{store: cfg.Store, gate: s.gate, release: cfg.Version, driver: cfg.Driver}
	var err error
	if s.limits, err = newLimits(cfg.RequestRate); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	probe := monitor.NewProber(cfg.Store.Ping)
	s.audit = &auditor{log: cfg.Audit}
	if err := s.measure(cfg, probe); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	h := s.handlers(cfg, probe)
	var isACL func(string) bool
	if cfg.Identities != nil {
		isACL = h.acs.IsACL
	}
	s.routes = newRoutes(endpoints(h), isACL)
	for _, ep := range append(s.routes.all(), s.https.redirected) {
		ep.metrics = s.metrics.Endpoint(ep.name, ep.route())
		if ep.effect != "" {
			s.audit.changes = append(s.audit.changes, ep.name)
		}
	}
	return s, nil
}

// measure registers the metrics.
func (s *Server) measure(cfg Config, storage *monitor.Prober) error {
	mc := monitor.Config{
		Registry: cfg.Registry, Store: cfg.Store, Storage: storage, Watches: s.watches.Count, LastBackup: s.backups.lastSent,
		Outcomes: []string{string(audit.Allowed), string(audit.Denied), string(audit.Refused), string(audit.Failed)},
	}
	for a := acl.Create; a <= acl.Full; a++ {
		mc.Actions = append(mc.Actions, a.String())
	}
	if cfg.Audit != nil {
		mc.AuditFault = s.audit.fault
	}
	m, err := monitor.New(mc)
	if err != nil {
		return err
	}
	s.metrics, s.audit.failures, s.audit.duration = m, m.AuditFailures, m.AuditDuration
	return nil
}

func (s *Server) handlers(cfg Config, probe *monitor.Prober) *handlers {
	change := &changer{audit: s.audit}
	faults := &faults{audit: s.audit, store: cfg.Store, storage: probe, others: cfg.Warnings, expiry: cfg.CertificateExpiry, host: cfg.Host, version: cfg.Version}
	health := &health{store: cfg.Store, storage: probe, audit: s.audit, faults: faults, pages: monitor.NewPages(s.metrics.Registry)}
	if cfg.Identities != nil {
		health.accounts = cfg.Identities.Accounts
	}
	return &handlers{
		store:   cfg.Store,
		change:  change,
		secrets: &secrets{store: cfg.Store, gate: s.gate, change: change, budget: s.budget},
		stores: &admin.Stores{Store: cfg.Store, Policy: cfg.Policy, Driver: cfg.Driver, Development: cfg.Development,
			Report: faults.report, Nodes: cfg.Nodes},
		keys:    &admin.Keys{Store: cfg.Store},
		batches: &batches{store: cfg.Store, policy: cfg.Policy, budget: s.budget},
		watches: &watches{store: cfg.Store, gate: s.gate, audit: s.audit, limits: s.watches, budget: s.budget},
		tasks:   &tasks{store: cfg.Store, credentials: cfg.Credentials},
		backups: s.backups,
		audit:   s.audit,
		access:  &access{policy: cfg.Policy},
		health:  health,
		https:   &s.https,
		acs:     identityHandlers(cfg, s.https.only),
	}
}

// identityHandlers returns nil for a server without an IAM.
func identityHandlers(cfg Config, secure bool) *acs.Handlers {
	if cfg.Identities == nil {
		return nil
	}
	h := &acs.Handlers{Accounts: cfg.Identities.Accounts, Tokens: cfg.Identities.Tokens, OIDC: cfg.Identities.OIDC, Policy: cfg.Policy, Secure: secure}
	if cfg.Pages != nil {
		h.StartSession = cfg.Pages.StartSession
	}
	return h
}

func randomPrefix() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:]) + "-"
}

// DemandsHTTPS reports whether the security mode has the server send the client of r
// to HTTPS, whatever it asks for. ServeHTTP does so.
func (s *Server) DemandsHTTPS(r *http.Request) bool { return s.https.only && r.TLS == nil }

// ReadBody reads the body of a request that is not one of the API, of at most limit
// bytes, in the memory and the time that the server has for bodies: as that of a
// request of who. The caller calls release when it no longer needs the body. An error
// has the status of the answer and its text.
func (s *Server) ReadBody(w http.ResponseWriter, r *http.Request, who acl.Principal, limit int64) (content []byte, release func(), status int, err error) {
	from := body.Of(w, r)
	content, release, err = s.budget.Read(from, pool.Of(who), body.Limit{Bytes: limit, TooLarge: textFormTooLarge})
	if err != nil {
		from.Drain()
		p := problem.Of(err)
		return nil, nil, p.Status, errors.New(p.Text)
	}
	return content, release, 0, nil
}

const textFormTooLarge = "this is too large"

// HoldAnswer claims memory for an answer that is not one of the API, of so many bytes,
// in the share of who. It does not wait: the caller has the bytes already, and calls
// release when they are sent. An error has the status of the answer and its text.
func (s *Server) HoldAnswer(who acl.Principal, size int64) (release func(), status int, err error) {
	if size <= body.Small {
		return func() {}, 0, nil
	}
	part, err := s.budget.TryReserve(pool.Of(who), size)
	if err != nil {
		p := problem.Of(err)
		return nil, p.Status, errors.New(p.Text)
	}
	return part.Release, 0, nil
}

// MaxBody returns the size of the largest body that the server reads, in bytes.
func (s *Server) MaxBody() int64 { return max(largestBody(s.store), keysBody) }

// EndWatches answers all requests that wait for a change, and later ones at
// once. Register it with http.Server.RegisterOnShutdown: Shutdown waits for
// requests, and these could last for minutes.
func (s *Server) EndWatches() { s.watches.End() }

// ServeHTTP serves one request: it finds the answer, writes the audit line of
// the decision, and sends the answer.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, body: body.Of(w, r), req: request{
		Request: r, start: time.Now(), twoLengths: framing.Begin(w, r),
		id:     s.idPrefix + strconv.FormatUint(s.requests.Add(1), 36),
		trace:  head.Traceparent(r.Header),
		remote: head.RemoteAddress(r, s.trusted),
	}}
	defer x.out.end()
	if x.req.trace != "" {
		w.Header().Set(wire.TraceparentHeader, x.req.trace)
	}
	rep, panicked := s.answerSafely(x)
	if err := s.audit.write(x, &rep); err != nil {
		rep.Clear()
		rep = answer.Of(s.audit.failed(x, err))
	}
	if rep.Problem != nil {
		x.body.Drain()
	}
	if x.req.ep != nil && x.req.ep.shares {
		answer.SendLast(w, r, x.req.id, &rep)
	} else {
		answer.Send(w, r, x.req.id, x.out.noDeadline, &rep)
	}
	rep.Clear()
	s.record(x, &rep, panicked)
	if rep.Broken {
		panic(http.ErrAbortHandler) // how net/http is told to end the connection
	}
}

// answerSafely turns a panic into a 500, and returns its stack for the log.
func (s *Server) answerSafely(x *exchange) (rep answer.Reply, stack []byte) {
	defer func() {
		if v := recover(); v != nil {
			stack = debug.Stack()
			if x.out.effect == "" && !x.req.readOnly() {
				x.out.effect = "the request ended in an error whose effect is unknown"
			}
			rep = answer.Of(problem.Internal(problem.Panic(v)))
		}
	}()
	rep, err := s.answer(x)
	if err == nil {
		return rep, nil
	}
	return answer.Of(x.req.problemOf(err)), nil
}

// answer makes the checks of a request in their order, and has its endpoint
// answer it.
func (s *Server) answer(x *exchange) (answer.Reply, error) {
	t := s.routes.find(x.req.Request)
	if s.https.demanded(x.req.Request, t) {
		return answer.Reply{}, s.https.redirectAll(x)
	}
	if t.res != nil && t.res.open {
		x.req.open = true
		return s.answerOpen(x, t)
	}
	if err := s.admit(x, t); err != nil {
		return answer.Reply{}, err
	}
	ep := x.req.ep
	if ep.unsealed {
		if err := problem.Unsealed(s.store.Status()); err != nil {
			return answer.Reply{}, err
		}
	}
	if err := s.readBody(x); err != nil {
		return answer.Reply{}, err
	}
	defer x.releaseBody()
	if err := s.admitAgain(x); err != nil {
		return answer.Reply{}, err
	}
	rep, err := ep.run(x)
	if err == nil && x.who.task != nil {
		err = s.gate.spend(x, &rep)
	}
	return rep, err
}

// admit decides whether the caller may do what the head of the request says. If
// only the body says what the request is about, admitAgain decides.
func (s *Server) admit(x *exchange, t target) error {
	err := x.req.readHead()
	if err == nil {
		err = s.limits.stranger(x, s.gate.authenticate(x))
	}
	if x.who.principal.UID != "" {
		connections.Keep(x.req.Context())
	}
	// The route is found for a refused request too: the audit line says what
	// was asked. The answer does not.
	known := x.req.resolve(t)
	if err == nil {
		err = known
	}
	if err == nil && x.req.hasService && !x.req.ep.behalf {
		err = problem.BadRequest(textServiceElsewhere)
	}
	x.who.asked = x.question()
	if known == nil {
		x.who.decision = acl.Undecided(x.who.asked)
	}
	if err == nil {
		err = s.limits.request(x)
	}
	if err != nil || x.req.ep.subject != nil {
		return err
	}
	return s.gate.authorize(x)
}

// readBody reads the body of a request, if its endpoint takes one.
func (s *Server) readBody(x *exchange) error {
	if x.req.ep.body == nil {
		return nil
	}
	limit, err := x.req.ep.body(&x.req)
	if err != nil {
		return err
	}
	x.content, x.release, err = s.budget.Read(x.body, pool.Of(x.who.principal), limit)
	return err
}

// admitAgain repeats the checks of admit once the body is there: while a client
// takes its time with it, its token may expire, or its permission be withdrawn.
// It makes them for the first time if the body says what the request is about.
func (s *Server) admitAgain(x *exchange) error {
	ep := x.req.ep
	if ep.body != nil && x.req.ContentLength != 0 {
		if err := s.gate.authenticate(x); err != nil {
			return err
		}
	} else if ep.subject == nil {
		return nil
	}
	if ep.subject != nil {
		if err := ep.subject(x); err != nil {
			return err
		}
	}
	return s.gate.authorize(x)
}

// answerOpen answers a request that needs no token.
func (s *Server) answerOpen(x *exchange, t target) (answer.Reply, error) {
	if x.req.twoLengths {
		return answer.Reply{}, problem.BadRequest(textTwoLengths)
	}
	ep := t.res.methods[x.req.Method]
	if ep == nil {
		return answer.Reply{}, methodNotAllowed(t.res)
	}
	x.req.ep, x.req.names = ep, t.names
	if t.HasStore && t.Store != admin.DefaultStore && t.Store != allStores {
		return answer.Reply{}, problem.NotFound(problem.StoreNotFound)
	}
	if err := x.req.readHead(); err != nil {
		return answer.Reply{}, err
	}
	if x.req.hasService {
		return answer.Reply{}, problem.BadRequest(textServiceElsewhere)
	}
	if err := s.readBody(x); err != nil {
		return answer.Reply{}, err
	}
	defer x.releaseBody()
	return ep.run(x)
}

// slow is how long a request may take before it is logged as slow.
const slow = time.Second

// record logs and counts a request that has been answered.
func (s *Server) record(x *exchange, rep *answer.Reply, stack []byte) {
	took := time.Since(x.req.start) - x.out.waited
	s.count(x, rep, took)
	p := rep.Problem
	switch {
	case p != nil && (p.Failed || rep.Broken && x.req.Context().Err() == nil):
		s.failures.Write(rep.Status, stack, func() []zap.Field { return append(x.logFields(rep, took), zap.NamedError("cause", p.Cause)) })
	case rep.Slow:
		s.log.Warn("the client read the answer too slowly", x.logFields(rep, took)...)
	case took > slow:
		s.log.Warn("slow request", x.logFields(rep, took)...)
	default:
		if ce := s.log.Check(zapcore.DebugLevel, "request"); ce != nil {
			fields := x.logFields(rep, took)
			if p != nil {
				fields = append(fields, zap.NamedError("cause", p.Cause))
			}
			ce.Write(fields...)
		}
	}
}

// count counts a request and its decisions.
func (s *Server) count(x *exchange, rep *answer.Reply, took time.Duration) {
	of := s.metrics.None
	if x.req.ep != nil {
		of = x.req.ep.metrics
	}
	of.Observe(rep.Status, took)
	if x.req.open {
		return
	}
	outcome := outcomeOf(x, rep)
	s.metrics.Decided(x.who.decision.Action, string(outcome))
	for _, r := range x.out.reads {
		s.metrics.Decided(r.Decision.Action, string(outcomeOfRead(r, outcome, rep)))
	}
}

// logFields are all that the log says about a request: no path, no query, no
// header.
func (x *exchange) logFields(rep *answer.Reply, took time.Duration) []zap.Field {
	fields := append(make([]zap.Field, 0, 9),
		zap.String("request_id", x.req.id),
		zap.String("endpoint", x.req.endpointName()),
		zap.String("uid", x.who.principal.UID),
		zap.String("remote", x.req.remote),
		zap.Int("status", rep.Status),
		zap.Duration("took", took),
	)
	if x.req.trace != "" {
		fields = append(fields, zap.String("traceparent", x.req.trace))
	}
	return fields
}
