package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api"
	"secretstore/api/audit"
	"secretstore/api/client"
	"secretstore/api/internal/pipes"
	"secretstore/api/internal/redirect"
	"secretstore/api/wire"
	"secretstore/iam"
	"secretstore/iam/oidc"
	"secretstore/internal/framing"
	"secretstore/internal/openapitest"
	"secretstore/seal"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hmacKey signs the tokens of the tests.
const hmacKey = "0123456789abcdef0123456789abcdef-CANARY-HMAC-KEY"

const policyText = `
users:
  alice: {"dcos:secrets:default:/*": [create, read, update, delete], "dcos:secrets:list:default:/": [read]}
  reader: {"dcos:secrets:default:/group/*": [read]}
  lister: {"dcos:secrets:list:default:/group": [read]}
  scheduler: {"dcos:secrets:resolve:default:/*": [read]}
`

// edge is a whole server, with everything that a test may read or break.
type edge struct {
	t       testing.TB
	url     string
	addr    string
	server  *api.Server
	store   *seal.Store
	backend *faulty
	unseal  string // the unseal key
	audit   string // path of the audit log
	trail   *audit.Log
	log     *syncBuffer
	client  *http.Client
	dial    func() (net.Conn, error)
	policy  *atomic.Pointer[acl.Policy]
}

type edgeOptions struct {
	uninitialized bool
	bootstrap     bool // the store unseals itself
	maxSize       int64
	trusted       []netip.Prefix
	warnings      func() []string
	requestRate   int
	auth          api.Authenticator
	certificates  api.CertificateAuthenticator
	accounts      *accounts // filled in; nil: there are none
	mode          seal.Mode // disabled by default
	https         redirect.Site
	level         zapcore.Level
	timeouts      time.Duration // of the http.Server
	readTimeout   time.Duration // likewise, for reading alone
	storage       store.Backend // instead of a faulty one in memory
	identities    *fakeIAM      // nil: none
	providers     bool          // of OpenID Connect
	pages         api.Pages
	// pipes: connections are pipes in memory, so that the server can run in a
	// bubble of synctest.
	pipes bool
}

func newEdge(t testing.TB, o edgeOptions) *edge {
	t.Helper()
	e := &edge{t: t, policy: new(atomic.Pointer[acl.Policy]), backend: &faulty{Backend: memory.New()}, log: &syncBuffer{}, audit: filepath.Join(t.TempDir(), "audit.log")}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), e.log, zapcore.DebugLevel+o.level))
	var storage store.Backend = e.backend
	if o.storage != nil {
		storage = o.storage
	}
	st, err := seal.Open(t.Context(), seal.Options{
		Backend: storage, MaxSecretSize: o.maxSize, KeepVersions: seal.DefaultKeepVersions, Log: log,
		Bootstrap: o.bootstrap, GenerateKey: sealtest.GenerateKey, Mode: max(o.mode, seal.ModeDisabled),
	})
	must(t, err)
	e.store = st
	e.trail, _, err = audit.Open(e.audit)
	must(t, err)
	verifier, err := token.New(token.Config{HMACKey: []byte(hmacKey)})
	must(t, err)
	policy, err := acl.ParsePolicy([]byte(policyText))
	must(t, err)
	e.policy.Store(policy.WithSuperusers("root"))
	cfg := api.Config{
		Store: st, Driver: "memory", Auth: verifier, Policy: e.policy.Load, Audit: e.trail,
		Log: log, TrustedProxies: o.trusted, Warnings: o.warnings, RequestRate: o.requestRate, HTTPS: o.https,
		Certificates: o.certificates, Pages: o.pages,
	}
	if o.identities != nil {
		cfg.Identities = &api.Identities{Accounts: o.identities, Tokens: o.identities}
		if o.providers {
			accounts := &withRecords{o.identities, make(map[string][]byte)}
			rules := oidc.Rules{CreateUsers: true, Reserved: func(iam.UID) bool { return false }}
			cfg.Identities.OIDC = oidc.New(oidc.Config{Accounts: accounts, Rules: rules, Log: zap.NewNop()})
		}
	}
	if o.auth != nil {
		cfg.Auth = o.auth
	}
	if o.accounts != nil {
		o.accounts.open(t, st, verifier)
		cfg.Auth, cfg.Credentials = o.accounts.tokens, o.accounts.tokens
	}
	e.server, err = api.New(cfg)
	must(t, err)
	web := httptest.NewUnstartedServer(e.server)
	web.Config.DisableGeneralOptionsHandler = true
	web.Config.ReadTimeout, web.Config.WriteTimeout = max(o.timeouts, o.readTimeout), o.timeouts
	if o.pipes {
		web.Listener.Close()
		l := pipes.Listen()
		web.Listener, e.dial = l, l.Dial
	}
	seen := openapitest.Listen(web.Listener)
	web.Listener, web.Config.ConnContext = framing.Listen(seen), framing.Context
	web.Start()
	e.url, e.addr = web.URL, strings.TrimPrefix(web.URL, "http://")
	if e.dial == nil {
		e.dial = func() (net.Conn, error) { return net.Dial("tcp", e.addr) }
	}
	e.client = &http.Client{
		Transport:     &http.Transport{DisableCompression: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return e.dial() }},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		e.server.EndWatches()
		e.client.CloseIdleConnections()
		web.Close()
		// On plain HTTP, a strict server does not serve the API.
		if st.SecurityMode() != seal.ModeStrict {
			for _, problem := range seen.Check(described()) {
				t.Error(problem)
			}
		}
		must(t, st.Close())
		must(t, e.trail.Close())
		must(t, e.backend.Close())
	})
	switch {
	case o.bootstrap:
		eventually(t, func() bool { return st.Status().State == seal.StateUnsealed })
	case !o.uninitialized:
		e.initialize()
		if o.accounts != nil {
			o.accounts.loaded()
		}
	}
	return e
}

// described is what all exchanges with an edge are checked against.
var described = sync.OnceValue(func() *openapitest.Description {
	d, err := openapitest.Load("openapi.yaml")
	if err != nil {
		panic(err)
	}
	return d
})

func (e *edge) initialize() {
	e.t.Helper()
	holder := testHolder()
	info, err := e.store.Init(e.t.Context(), seal.InitParams{Shares: 1, Threshold: 1, PGPKeys: []string{holder.public}})
	must(e.t, err)
	e.unseal = holder.open(e.t, info.Keys[0])
	_, err = e.store.Unseal(e.t.Context(), []byte(e.unseal))
	must(e.t, err)
}

func (e *edge) sealStore() {
	e.t.Helper()
	_, err := e.store.Seal(e.t.Context(), "root")
	must(e.t, err)
}

func mustPath(t testing.TB, s string) acl.Path {
	t.Helper()
	p, err := acl.ParsePath(s)
	must(t, err)
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// holder is somebody with a PGP key, made once: a small one, for speed.
type holder struct {
	entity *openpgp.Entity
	public string
}

// people hold keys. testHolder is the first.
var people = func() (all [32]func() holder) {
	for i := range all {
		all[i] = sync.OnceValue(func() holder {
			return newHolder("holder", &packet.Config{
				Time: func() time.Time { return time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) }, // before the time of any bubble
			})
		})
	}
	return all
}()

func testHolder() holder { return people[0]() }

func newHolder(name string, cfg *packet.Config) holder {
	cfg.Algorithm, cfg.Curve = packet.PubKeyAlgoEdDSA, packet.Curve25519
	entity, err := openpgp.NewEntity(name, "", name+"@example.com", cfg)
	if err != nil {
		panic(err)
	}
	var raw bytes.Buffer
	if err := entity.Serialize(&raw); err != nil {
		panic(err)
	}
	return holder{entity, base64.StdEncoding.EncodeToString(raw.Bytes())}
}

func (h holder) open(t testing.TB, key string) string {
	t.Helper()
	message, err := hex.DecodeString(key)
	must(t, err)
	md, err := openpgp.ReadMessage(bytes.NewReader(message), openpgp.EntityList{h.entity}, nil, nil)
	must(t, err)
	plain, err := io.ReadAll(md.UnverifiedBody)
	must(t, err)
	return string(plain)
}

// tokenOf signs a token; service binds it.
func tokenOf(t testing.TB, uid, service string) string {
	t.Helper()
	raw, err := token.Sign(uid, time.Time{}, service, []byte(hmacKey))
	must(t, err)
	return raw
}

// api returns a client with a token of uid.
func (e *edge) api(uid string) *client.Client {
	e.t.Helper()
	raw := tokenOf(e.t, uid, "")
	c, err := client.New(client.Config{Server: e.url, Token: func(context.Context) (string, error) { return raw, nil }})
	must(e.t, err)
	e.t.Cleanup(c.Close)
	return c
}

// req is one request; uid "" sends no token.
type req struct {
	method, path string // path as it is sent
	uid, service string // of the token
	header       http.Header
	body         string
	chunked      bool
	long         bool // the answer is sent while it is made
}

// res is an answer.
type res struct {
	status int
	header http.Header
	body   string
}

func (e *edge) do(q req) res {
	e.t.Helper()
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
		if q.chunked {
			body = io.MultiReader(body)
		}
	}
	r, err := http.NewRequestWithContext(e.t.Context(), q.method, e.url, body)
	must(e.t, err)
	path, query, _ := strings.Cut(q.path, "?")
	r.URL.Opaque = "//" + e.addr + path // goes out as it is
	r.URL.RawQuery = query
	for name, values := range q.header {
		r.Header[name] = values
	}
	if q.uid != "" {
		r.Header.Set("Authorization", "token="+tokenOf(e.t, q.uid, q.service))
	}
	answer, err := e.client.Do(r)
	must(e.t, err)
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	must(e.t, err)
	got := res{answer.StatusCode, answer.Header, string(raw)}
	e.checkAnswer(q, got)
	return got
}

// checkAnswer demands what holds for every answer of the server.
func (e *edge) checkAnswer(q req, got res) {
	e.t.Helper()
	if !strings.Contains(got.header.Get("Cache-Control"), "no-store") || got.header.Get("X-Content-Type-Options") != "nosniff" {
		e.t.Errorf("%s %s: security headers are missing: %v", q.method, q.path, got.header)
	}
	if got.status/100 == 3 && got.status != http.StatusNotModified && q.path != "/" && !strings.Contains(q.path, "/auth/") && e.store.SecurityMode() != seal.ModeStrict {
		e.t.Errorf("%s %s: redirected with %d", q.method, q.path, got.status)
	}
	if got.header.Get("Content-Length") == "" && got.status != http.StatusNoContent && got.status != http.StatusNotModified && !q.long {
		e.t.Errorf("%s %s: no Content-Length", q.method, q.path)
	}
	if got.status < 400 || q.method == http.MethodHead {
		return
	}
	var doc wire.Error
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil || doc.Description == "" {
		e.t.Errorf("%s %s: error body %q", q.method, q.path, got.body)
	}
	if want := strings.TrimPrefix(doc.Title, "4"); want == doc.Title && !strings.HasPrefix(doc.Title, "5") {
		e.t.Errorf("%s %s: title %q", q.method, q.path, doc.Title)
	}
	if got.status == http.StatusUnauthorized && got.header.Get("WWW-Authenticate") != "acsjwt" {
		e.t.Errorf("%s %s: 401 without WWW-Authenticate", q.method, q.path)
	}
}

// want makes the request and demands a status and words in the body.
func (e *edge) want(q req, status int, words ...string) res {
	e.t.Helper()
	got := e.do(q)
	if got.status != status {
		e.t.Errorf("%s %s: status %d (%s), want %d", q.method, q.path, got.status, got.body, status)
	}
	for _, w := range words {
		if !strings.Contains(got.body, w) {
			e.t.Errorf("%s %s: body %q lacks %q", q.method, q.path, got.body, w)
		}
	}
	return got
}

// put creates a text secret as alice.
func (e *edge) put(path, value string) {
	e.t.Helper()
	body, err := json.Marshal(wire.SecretWrite{Value: value})
	must(e.t, err)
	e.want(req{method: "PUT", path: base + "/" + path, uid: "alice", body: string(body)}, 201)
}

// patch replaces the value of a text secret.
func (e *edge) patch(uid, path, value string) {
	e.t.Helper()
	e.want(req{method: "PATCH", path: base + "/" + path, uid: uid, body: fmt.Sprintf(`{"value":%q}`, value)}, 204)
}

// auditLines returns the audit log.
func (e *edge) auditLines() []map[string]any {
	e.t.Helper()
	raw, err := os.ReadFile(e.audit)
	must(e.t, err)
	var all []map[string]any
	for line := range bytes.Lines(raw) {
		var m map[string]any
		must(e.t, json.Unmarshal(line, &m))
		all = append(all, m)
	}
	return all
}

// syncBuffer takes the log.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) Sync() error { return nil }

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// faulty is a backend that can be made to fail.
type faulty struct {
	*memory.Backend
	// down fails everything; hang makes everything wait for its deadline;
	// lost does what Apply was asked, and says that it does not know.
	down, hang, lost atomic.Bool
	slow             atomic.Bool // reads take two seconds
	// age is that of what is read, in nanoseconds; latest counts the reads for
	// requests, not those of background jobs, that asked for the latest state.
	age, latest atomic.Int64
	panics      atomic.Bool // reads panic with what could be a value
	// onGet, if set, is a func() func() that runs before each Get of a request; what it
	// returns runs after it.
	onGet atomic.Value
	// fault, if set, is the error of all writes.
	fault atomic.Pointer[error]
	// before, if set, is a func(context.Context) that runs before each Apply.
	before atomic.Value
}

// ofRequest reports whether a context is that of a request.
func ofRequest(ctx context.Context) bool { return ctx.Value(http.ServerContextKey) != nil }

func (f *faulty) trouble(ctx context.Context) error {
	if f.hang.Load() {
		<-ctx.Done()
		return store.ErrUnavailable
	}
	if f.down.Load() {
		return store.ErrUnavailable
	}
	return nil
}

func (f *faulty) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	if f.slow.Load() {
		time.Sleep(2 * time.Second)
	}
	if err := f.trouble(ctx); err != nil {
		return store.Node{}, err
	}
	if f.panics.Load() {
		panic("CANARY-PANIC")
	}
	if enter, ok := f.onGet.Load().(func() func()); ok && ofRequest(ctx) {
		defer enter()()
	}
	if c == store.Latest && ofRequest(ctx) {
		f.latest.Add(1)
	}
	n, err := f.Backend.Get(ctx, key, c)
	n.Age = time.Duration(f.age.Load())
	return n, err
}

func (f *faulty) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	if err := f.trouble(ctx); err != nil {
		return store.Listing{}, err
	}
	return f.Backend.Children(ctx, key, c)
}

func (f *faulty) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	if err := f.trouble(ctx); err != nil {
		return nil, err
	}
	if before, ok := f.before.Load().(func(context.Context)); ok {
		before(ctx)
	}
	if f.lost.Load() {
		return nil, store.ErrOutcomeUnknown
	}
	if err := f.WriteFault(); err != nil {
		return nil, err
	}
	return f.Backend.Apply(ctx, ops...)
}

// WriteFault implements store.WriteReporter.
func (f *faulty) WriteFault() error {
	if err := f.fault.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *faulty) Ping(ctx context.Context) error {
	if err := f.trouble(ctx); err != nil {
		return err
	}
	return f.Backend.Ping(ctx)
}
