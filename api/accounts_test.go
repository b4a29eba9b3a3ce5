package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/tokens"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/memory"
)

// accounts is the IAM of an edge.
type accounts struct {
	t         testing.TB
	authority *authority.Authority
	tokens    *tokens.Tokens
}

const adminHash = "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."

func (a *accounts) open(t testing.TB, st *seal.Store, foreign *token.Verifier) {
	t.Helper()
	superusers, err := authority.ParseSuperusers([]byte("root:" + adminHash + "\n"))
	must(t, err)
	a.t = t
	a.authority, err = authority.New(authority.Config{Storage: st.Identities(), Superusers: superusers, Log: zap.NewNop(), Rounds: 2000})
	must(t, err)
	a.tokens = tokens.New(tokens.Config{
		Authority: a.authority, Foreign: foreign, Incarnation: st.Incarnation, Sealed: func() (bool, uint64) { now := st.Status(); return now.Sealed(), now.Unseals },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.tokens.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; a.authority.Close() })
}

// loaded waits for the users and grants, which are loaded after an unseal.
func (a *accounts) loaded() {
	a.t.Helper()
	eventually(a.t, func() bool { _, err := a.authority.Directory(); return err == nil })
}

func (a *accounts) change(f func(*iam.Directory) (iam.Change, error)) {
	a.t.Helper()
	a.loaded()
	must(a.t, a.authority.Change(a.t.Context(), f))
}

// user makes an account, and returns a token for it.
func (a *accounts) user(uid iam.UID) string {
	a.t.Helper()
	a.change(func(d *iam.Directory) (iam.Change, error) {
		return d.CreateUser(iam.User{UID: uid, Provider: iam.Provider{Type: iam.Internal}}, iam.Origin{})
	})
	return a.signIn(uid)
}

func (a *accounts) signIn(uid iam.UID) string {
	a.t.Helper()
	d, err := a.authority.Directory()
	if err != nil {
		d = a.authority.Known()
	}
	who, ok := d.Identity(uid)
	if !ok {
		a.t.Fatal("no account of ", uid)
	}
	raw, _, err := a.tokens.Issue(a.t.Context(), who, time.Time{})
	must(a.t, err)
	return raw
}

func (a *accounts) revoke(uid iam.UID) {
	a.t.Helper()
	a.change(func(d *iam.Directory) (iam.Change, error) { return d.RevokeTokens(uid) })
}

func TestRevocationEndsTokensAndWatches(t *testing.T) {
	a := &accounts{}
	e := newEdge(t, edgeOptions{accounts: a})
	e.put("top", "v") // with a token of another issuer
	raw := a.user("alice")
	e.want(req{method: "GET", path: base + "/top", uid: "alice"}, 401)
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 200)
	watch := e.beginAs(req{method: "GET", path: base + "/none?watch=&timeout=10m"}, "token="+raw)
	e.awaitWaiting(1)
	began := time.Now()
	a.revoke("alice")
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 401)
	e.answered(watch, 401)
	t.Logf("the watch ended after %v", time.Since(began))
	e.want(req{method: "GET", path: base + "/top", header: with(a.signIn("alice"))}, 200)
}

func TestTokenOfASealedStoreIsNotRefused(t *testing.T) {
	a := &accounts{}
	e := newEdge(t, edgeOptions{accounts: a})
	raw := a.user("alice")
	e.want(req{method: "GET", path: "/secrets/v1/store", header: with(raw)}, 200)
	e.sealStore()
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 503, "the secret store is sealed")
	e.want(req{method: "GET", path: base + "/top", header: with(raw + "x")}, 503, "the secret store is sealed")
	e.want(req{method: "GET", path: base + "/top", header: with("a.b.c")}, 401)
}

func TestEmergencyTokenIsOnlyGoodToUnseal(t *testing.T) {
	a := &accounts{}
	e := newEdge(t, edgeOptions{accounts: a})
	eventually(t, func() bool { _, err := a.authority.Directory(); return err == nil })
	unsealed := with(a.signIn("root"))
	_, err := e.store.Seal(t.Context(), "test")
	must(t, err)
	e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", header: unsealed}, 503, "sealed")
	h := with(a.signIn("root"))
	for _, path := range []string{"/store/default", "/seal-status/default", "/init/default", "/keys/default"} {
		if got := e.do(req{method: "GET", path: "/secrets/v1" + path, header: h}); got.status == 401 || got.status == 403 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	e.want(req{method: "PUT", path: "/secrets/v1/seal/default", header: h}, 200)
	for _, path := range []string{"/store", "/rekey/default", "/rotate/default", "/secret/default/top", "/secret/default/?list=true"} {
		e.want(req{method: "GET", path: "/secrets/v1" + path, header: h}, 403, "can only unseal it")
	}
	e.want(req{method: "PUT", path: "/secrets/v1/unseal/default", header: h, body: `{"key":"` + e.unseal + `"}`}, 200)
	e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", header: h}, 401)
}

// unreadableIAM is a storage whose records of the IAM can become unreadable.
type unreadableIAM struct {
	*memory.Backend
	on atomic.Bool
}

func (b *unreadableIAM) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	if b.on.Load() && strings.HasPrefix(key, "stores/default/iam") {
		return store.Node{}, store.ErrUnavailable
	}
	return b.Backend.Get(ctx, key, c)
}

// TestEmergencyTokenEndsWithTheUnseal, even if the store is sealed again before the
// identities were loaded.
func TestEmergencyTokenEndsWithTheUnseal(t *testing.T) {
	a, storage := &accounts{}, &unreadableIAM{Backend: memory.New()}
	e := newEdge(t, edgeOptions{accounts: a, storage: storage})
	storage.on.Store(true)
	e.sealStore()
	h := with(a.signIn("root"))
	e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", header: h}, 200, `"sealed":true`)
	_, err := e.store.Unseal(t.Context(), []byte(e.unseal))
	must(t, err)
	e.sealStore()
	e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", header: h}, 401)
	e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", header: with(a.signIn("root"))}, 200)
}

func TestTaskTokenIsVoidWithoutTheAccountOfItsMinter(t *testing.T) {
	a := &accounts{}
	e := newEdge(t, edgeOptions{accounts: a})
	eventually(t, func() bool { _, err := a.authority.Directory(); return err == nil })
	e.put("top", "v")
	foreign := e.taskToken("/x", 0)
	e.want(req{method: "GET", path: base + "/top", header: with(foreign)}, 200)
	mint := func(raw string) string {
		t.Helper()
		got := e.want(req{method: "POST", path: "/secrets/v1/task-token/default", header: with(raw), body: `{"service":"/x","uses":0}`}, 200)
		_, rest, _ := strings.Cut(got.body, `"token":"`)
		task, _, _ := strings.Cut(rest, `"`)
		return task
	}
	task := mint(a.user("scheduler"))
	e.want(req{method: "GET", path: base + "/top", header: with(foreign)}, 401, "void")
	e.want(req{method: "GET", path: base + "/top", header: with(task)}, 200)
	a.change(func(d *iam.Directory) (iam.Change, error) { return d.DeleteUser("scheduler") })
	e.want(req{method: "GET", path: base + "/top", header: with(task)}, 401, "void")
	again := mint(a.user("scheduler"))
	e.want(req{method: "GET", path: base + "/top", header: with(task)}, 401, "void")
	e.want(req{method: "GET", path: base + "/top", header: with(again)}, 200)
}

// certified takes every certificate for one of alice.
type certified struct{}

func (certified) Verify([]*x509.Certificate) (acl.Principal, error) {
	return acl.Principal{UID: "alice"}, nil
}

func TestClientCertificateDoesNotStandForAnAccount(t *testing.T) {
	a := &accounts{}
	e := newEdge(t, edgeOptions{accounts: a, certificates: certified{}})
	get := func() int {
		q, err := http.NewRequestWithContext(t.Context(), "GET", "/secrets/v1/store", nil)
		must(t, err)
		q.RemoteAddr = "192.0.2.1:1"
		q.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{{}}}
		w := httptest.NewRecorder()
		e.server.ServeHTTP(w, q)
		return w.Code
	}
	a.user("bob")
	before := get()
	a.user("alice")
	if after := get(); before != 200 || after != 401 {
		t.Errorf("%d before, %d with an account", before, after)
	}
}
