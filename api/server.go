package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api/audit"
	"secretstore/api/wire"
	"secretstore/seal"
)

// Config is what a Server is made of.
type Config struct {
	// Store is the store "default". Required.
	Store *seal.Store
	// Driver is what GET /store calls the storage: bolt, zookeeper, memory.
	Driver string
	// Development marks a store that may be thrown away.
	Development bool
	// Auth verifies tokens. Required.
	Auth Authenticator
	// Policy returns the policy in force; it is called for each request.
	// Required; a nil policy denies everybody everything.
	Policy func() *acl.Policy
	// Audit takes a line for each decision; nil writes none.
	Audit *audit.Log
	// Log takes errors, slow requests, and at debug level all requests; nil
	// drops them.
	Log *zap.Logger
	// TrustedProxies are the peers whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Registry takes the metrics that GET /metrics serves; nil makes one.
	Registry *prometheus.Registry
	// Warnings returns what operators should know, such as a policy file that
	// could not be read again. Superusers get it with the seal status. Nil: none.
	Warnings func() []string
	// Nodes returns the servers as they announce themselves in the storage, for
	// GET /nodes; nil where they do not. It holds nothing to be believed.
	Nodes func(ctx context.Context) (wire.Nodes, error)
	// CertificateExpiry returns when the TLS certificate expires, for the
	// metrics; nil or a zero time where there is none.
	CertificateExpiry func() time.Time
}

// Server answers the HTTP API. It is an http.Handler; the http.Server around
// it is the caller's. That one should set DisableGeneralOptionsHandler: else
// net/http itself answers "OPTIONS *" with 200, without a token, the headers of
// every other answer, an audit line or a count in the metrics.
type Server struct {
	store    *seal.Store
	driver   string
	dev      bool
	auth     Authenticator
	policy   func() *acl.Policy
	audit    *audit.Log
	log      *zap.Logger
	failures *failureLog
	trusted  []netip.Prefix
	warnings func() []string
	nodes    func(context.Context) (wire.Nodes, error)

	routes  *routes
	bodies  *bodies
	waits   *waits
	metrics *metrics
	probe   prober

	idPrefix string        // random: ids of two servers never meet
	requests atomic.Uint64 // counts the ids
}

// New returns a server, or all that is wrong with the configuration.
func New(cfg Config) (*Server, error) {
	var problems []error
	if cfg.Store == nil {
		problems = append(problems, errors.New("api: no store"))
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
	s := &Server{
		store: cfg.Store, driver: cfg.Driver, dev: cfg.Development, auth: cfg.Auth, policy: cfg.Policy, audit: cfg.Audit,
		log: cfg.Log, trusted: cfg.TrustedProxies, warnings: cfg.Warnings, nodes: cfg.Nodes,
		bodies:   newBodies(jsonFactor*cfg.Store.MaxSecretSize() + jsonSlack),
		waits:    newWaits(),
		probe:    prober{ping: cfg.Store.Ping},
		idPrefix: randomPrefix(),
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.failures = newFailureLog(s.log)
	table := endpoints()
	s.routes = newRoutes(table)
	m, err := newMetrics(cfg, &s.probe, s.waits, table)
	if err != nil {
		return nil, fmt.Errorf("api: register metrics: %w", err)
	}
	s.metrics = m
	return s, nil
}

func randomPrefix() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:]) + "-"
}

// call is one request on its way. It belongs to the goroutine that serves it.
type call struct {
	w      http.ResponseWriter // for deadlines of the body, and for send
	r      *http.Request
	start  time.Time
	id     string
	remote string

	open  bool      // no token is needed, and no audit line written
	ep    *endpoint // nil until the route is known
	query query
	// service is on whose behalf the caller reads, if hasService.
	service    acl.Service
	hasService bool
	principal  acl.Principal
	path       acl.Path // of the secret, or of the listed folder
	decision   acl.Decision
	// task is the task token that asks, or nil.
	task *token.Task
	// minting is what the body of a request for a task token asks for.
	minting *taskRequest
	// others are decisions besides that of the request, which have audit lines of
	// their own.
	others []*errandRead
	// sent, if not nil, is called when the answer has been sent, or given up.
	sent func()
	// reserved is how many bytes of the budget of answers it has.
	reserved int64
	// cut: the body could not be read to its end.
	cut bool
	// waits: the request may last; waited is for how long it did.
	waits  bool
	waited time.Duration
	// free: the answer has come of waiting, and is no use of a task token.
	free bool
	// effect says what has been done to the store, for a caller who cannot be
	// told in the usual way.
	effect string
}

// ServeHTTP serves one request: it finds the answer, has the audit line of the
// decision written, and sends.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, start: time.Now()}
	c.id = s.idPrefix + strconv.FormatUint(s.requests.Add(1), 36)
	c.remote = remoteAddress(r, s.trusted)

	defer func() {
		if c.sent != nil {
			c.sent()
		}
	}()
	rep, panicked := s.answerSafely(c)
	if rep.stream != nil {
		defer rep.stream.close()
	}
	if err := s.writeAudit(c, &rep); err != nil {
		s.metrics.auditFailures.Inc()
		rep = replyTo(unaudited(c, err))
	}
	if rep.problem != nil {
		c.drain()
	}
	s.send(c, &rep)
	s.record(c, &rep, panicked)
	if rep.broken {
		panic(http.ErrAbortHandler) // what net/http takes for "end the connection"
	}
}

// answerSafely turns a panic into a 500 and keeps its stack for the log.
func (s *Server) answerSafely(c *call) (rep reply, stack []byte) {
	defer func() {
		if v := recover(); v != nil {
			stack = debug.Stack()
			if c.effect == "" && !c.readOnly() {
				c.effect = "the request ended in an error whose effect is unknown"
			}
			rep = replyTo(&problem{status: http.StatusInternalServerError, text: textInternal, failed: true, cause: panicError(v)})
		}
	}()
	rep, err := s.answer(c)
	if err == nil {
		return rep, nil
	}
	return replyTo(c.problemOf(err)), nil
}

// problemOf is the function of that name, for a request whose client may be gone.
func (c *call) problemOf(err error) *problem {
	p := problemOf(err)
	if c.readOnly() && c.r.Context().Err() != nil {
		gone := *p
		gone.failed = false // the client has left, which made the storage give up
		p = &gone
	}
	return p
}

// readOnly reports whether the request can have had no effect.
func (c *call) readOnly() bool {
	return c.r.Method == http.MethodGet || c.r.Method == http.MethodHead || c.ep != nil && c.ep.reads
}

// panicError describes a panic without its value, unless that comes from the
// runtime: the value could hold what a client sent.
func panicError(v any) error {
	if err, ok := v.(runtime.Error); ok {
		return fmt.Errorf("panic: %w", err)
	}
	return fmt.Errorf("panic with a %T", v)
}

// answer makes the checks of a request in their order, and has the endpoint
// answer it.
func (s *Server) answer(c *call) (reply, error) {
	t := s.routes.find(c.r)
	if t.res != nil && t.res.open {
		c.open = true
		return s.answerOpen(c, t)
	}
	if err := s.admit(c, t); err != nil {
		return reply{}, err
	}
	if c.ep.unsealed {
		if err := unsealedError(s.store.Status()); err != nil {
			return reply{}, err
		}
	}
	rep, err := c.ep.run(s, c)
	if err == nil && c.task != nil {
		err = s.spendTask(c, &rep)
	}
	return rep, err
}

// readSubject has the body of a request read before it is decided about. What
// can be refused without it is.
func (s *Server) readSubject(c *call) error {
	if err := unsealedError(s.store.Status()); err != nil {
		return err
	}
	return c.ep.subject(s, c)
}

// admit decides whether the caller may do what the request asks for.
func (s *Server) admit(c *call, t target) error {
	err := c.readHead()
	if err == nil {
		err = s.authenticate(c)
	}
	// The route is found for a refused request too: the audit line says what was
	// asked for. Its answer does not.
	known := c.resolve(t)
	if err == nil {
		err = known
	}
	if err == nil && c.hasService && !c.ep.behalf {
		err = badRequest(textServiceElsewhere)
	}
	if err == nil && c.ep.subject != nil {
		err = s.readSubject(c)
	}
	if err != nil {
		if known == nil {
			c.decision = acl.Undecided(c.request())
		}
		return err
	}
	return s.authorize(c)
}

// answerOpen serves what takes no token.
func (s *Server) answerOpen(c *call, t target) (reply, error) {
	ep := t.res.methods[c.r.Method]
	if ep == nil {
		return reply{}, methodNotAllowed(t.res)
	}
	c.ep = ep
	if t.hasStore && t.store != defaultStore && t.store != allStores {
		return reply{}, notFound(textStoreNotFound)
	}
	if err := c.readHead(); err != nil {
		return reply{}, err
	}
	if c.hasService {
		return reply{}, badRequest(textServiceElsewhere)
	}
	return ep.run(s, c)
}

// readHead checks what of the syntax of the head is not net/http's business.
func (c *call) readHead() (err error) {
	if c.query, err = parseQuery(c.r.URL.RawQuery); err != nil {
		return err
	}
	if c.query.forms&formList != 0 && c.readOnly() && c.query.paging != nil {
		return c.query.paging
	}
	c.service, c.hasService, err = namedService(c.r.Header, c.query)
	return err
}

func (s *Server) authenticate(c *call) error {
	raw, err := credential(c.r)
	if err != nil {
		return err
	}
	if token.IsTask(raw) {
		return s.authenticateTask(c, raw)
	}
	who, err := s.auth.Verify(raw)
	if err != nil {
		return &problem{status: http.StatusUnauthorized, text: textUnauthorized, cause: err}
	}
	if who.UID == "" {
		return unauthorized(textUnauthorized)
	}
	c.principal = who
	return nil
}

const (
	defaultStore = "default"
	allStores    = "all" // of a ping
)

// resolve finds the endpoint and reads the path.
func (c *call) resolve(t target) (err error) {
	if t.res == nil {
		return notFound("no such endpoint: the API is below /secrets/v1, see its documentation")
	}
	ep := t.res.methods[c.r.Method]
	if ep == nil {
		return methodNotAllowed(t.res)
	}
	c.ep = ep
	for _, v := range ep.variants {
		switch {
		case c.query.forms&v.form == 0:
		case c.ep != ep:
			return badRequest("contradictory query: ask for one of list, version, versions, purge and watch at a time")
		default:
			c.ep = v
		}
	}
	ep = c.ep
	if t.hasStore && t.store != defaultStore {
		return notFound(textStoreNotFound)
	}
	switch ep.op {
	case acl.ListSecrets:
		c.path, err = acl.ParseFolder(t.rest)
	case acl.ReadSecret, acl.CreateSecret, acl.UpdateSecret, acl.DeleteSecret, acl.ReadVersions:
		c.path, err = acl.ParsePath(t.rest)
	case acl.WatchNames:
		c.path, err = streamFolder(&c.query)
	}
	return err
}

// request is the question to the policy.
func (c *call) request() acl.Request {
	return acl.Request{Op: c.ep.op, Path: c.path, Service: c.service, HasService: c.hasService}
}

func methodNotAllowed(res *resource) *problem {
	return &problem{status: http.StatusMethodNotAllowed, allow: res.allow,
		text: "method not allowed: use one of " + res.allow + " (secrets are created with PUT and changed with PATCH)"}
}

func (s *Server) authorize(c *call) error {
	c.decision = s.policy().Decide(c.principal, c.request())
	if c.decision.Allowed {
		return nil
	}
	return forbidden(c.decision)
}

// forbidden says which permission is missing.
func forbidden(d acl.Decision) *problem {
	text := d.Reason
	if d.Reason == acl.ReasonNoPermission && d.Resource != "" {
		text += ": ask an administrator for " + d.Action + " on " + d.Resource
	}
	return &problem{status: http.StatusForbidden, text: text}
}

// unsealedError says why secrets are out of reach, or nil.
func unsealedError(st seal.Status) error {
	switch st.State {
	case seal.StateUnsealed:
		return nil
	case seal.StateSealed:
		return seal.ErrSealed
	}
	return stateError(st)
}

// record logs and counts a request that has been answered.
func (s *Server) record(c *call, rep *reply, stack []byte) {
	took := time.Since(c.start) - c.waited
	s.metrics.observe(c.ep, rep.status, took)
	p := rep.problem
	switch {
	case p != nil && p.failed:
		s.failures.write(rep.status, stack, func() []zap.Field { return append(c.logFields(rep, took), zap.NamedError("cause", p.cause)) })
	case took > slow:
		s.log.Warn("slow request", c.logFields(rep, took)...)
	default:
		if ce := s.log.Check(zapcore.DebugLevel, "request"); ce != nil {
			fields := c.logFields(rep, took)
			if p != nil {
				fields = append(fields, zap.NamedError("cause", p.cause))
			}
			ce.Write(fields...)
		}
	}
}

// slow is how long a request may take before it is logged as slow.
const slow = time.Second

// logFields is all that the log learns of a request: no path, no query, no
// header.
func (c *call) logFields(rep *reply, took time.Duration) []zap.Field {
	return append(make([]zap.Field, 0, 8),
		zap.String("request_id", c.id),
		zap.String("endpoint", c.endpointName()),
		zap.String("uid", c.principal.UID),
		zap.String("remote", c.remote),
		zap.Int("status", rep.status),
		zap.Duration("took", took),
	)
}

func (c *call) endpointName() string {
	if c.ep == nil {
		return "none"
	}
	return c.ep.name
}
