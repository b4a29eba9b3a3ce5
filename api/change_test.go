package api_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"secretstore/api"
	"secretstore/api/wire"
)

// change is a request that changes the store, once prepare has set it up.
type change struct {
	options edgeOptions
	prepare func(*edge)
	query   func(*edge) string
	body    func(*edge) string
	uid     string // "": root
}

// changes has a request for each endpoint that changes the store.
var changes = map[string]change{
	"secret.create": {uid: "alice", body: text(`{"value":"v"}`)},
	"secret.update": {uid: "alice", prepare: putA, body: text(`{"value":"w"}`)},
	"secret.delete": {uid: "alice", prepare: putA},
	"secret.version.delete": {uid: "alice", prepare: func(e *edge) {
		putA(e)
		must(e.t, e.api("alice").UpdateText(e.t.Context(), "a", wire.SecretWrite{Value: "w"}))
	}, query: text("?version=1")},
	"secret.purge": {uid: "alice", prepare: putA, query: text("?purge=true")},
	"secret.undelete": {uid: "alice", prepare: func(e *edge) {
		putA(e)
		must(e.t, e.api("alice").Delete(e.t.Context(), "a"))
	}},
	"secret.history.create": {body: text(`{"versions":[{"version":1,"kind":"text","value_base64":"dg=="}],"created":"2026-01-02T03:04:05Z"}`)},
	"init":                  {options: edgeOptions{uninitialized: true}, body: holders},
	"unseal":                {prepare: (*edge).sealStore, body: func(e *edge) string { return fmt.Sprintf(`{"key":%q}`, e.unseal) }},
	"auto-unseal":           {options: edgeOptions{bootstrap: true}, prepare: (*edge).sealStore},
	"seal":                  {},
	"rekey":                 {body: holders},
	"rekey.cancel":          {prepare: startRekey, query: func(e *edge) string { return "?nonce=" + e.rekey().Nonce }},
	"rekey.approve": {options: edgeOptions{uninitialized: true}, prepare: proposeRekey, body: func(e *edge) string {
		made, err := e.api("root").InitInfo(e.t.Context())
		must(e.t, err)
		return fmt.Sprintf(`{"nonce":%q,"key":%q}`, e.rekey().Nonce, testHolder().open(e.t, made.Keys[0]))
	}},
	"rekey.verify": {prepare: startRekey, body: func(e *edge) string {
		rekey := e.rekey()
		return fmt.Sprintf(`{"nonce":%q,"key":%q}`, rekey.Nonce, testHolder().open(e.t, rekey.Keys[0]))
	}},
	"rotate": {},
}

func text(s string) func(*edge) string { return func(*edge) string { return s } }

func putA(e *edge) { e.put("a", "v") }

func holders(*edge) string {
	return fmt.Sprintf(`{"shares":1,"threshold":1,"pgp_keys":[%q]}`, testHolder().public)
}

func startRekey(e *edge) {
	_, err := e.api("root").StartRekey(e.t.Context(), wire.RekeyRequest{Shares: 1, Threshold: 1, PGPKeys: []string{testHolder().public}})
	must(e.t, err)
}

// proposeRekey makes a store of two holders, and starts a rekey that one of them
// has to approve.
func proposeRekey(e *edge) {
	made, err := e.api("root").Init(e.t.Context(), several(2, 1))
	must(e.t, err)
	unsealWith(e.t, e.api("root"), openAll(e.t, made.Keys)[0])
	startRekey(e)
}

func (e *edge) rekey() wire.Rekey {
	e.t.Helper()
	info, err := e.api("root").RekeyStatus(e.t.Context())
	must(e.t, err)
	return info
}

// request sets a server up, and returns the request.
func (c change) request(t *testing.T, ep api.Change) (*edge, req) {
	t.Helper()
	e := newEdge(t, c.options)
	if c.prepare != nil {
		c.prepare(e)
	}
	path := strings.Replace(ep.Path, "{store}", "default", 1)
	if strings.HasSuffix(path, "/") {
		path += "default/a"
	}
	q := req{method: ep.Method, path: path, uid: c.uid}
	if q.uid == "" {
		q.uid = "root"
	}
	if c.query != nil {
		q.path += c.query(e)
	}
	if c.body != nil {
		q.body = c.body(e)
	}
	return e, q
}

// eachChange runs a test for each endpoint that changes the store. It fails for
// a new one without a request, or without an effect to report.
func eachChange(t *testing.T, test func(*testing.T, change, api.Change)) {
	unchanging := []string{"task-token", "revoke", "renew"}
	for _, ep := range api.Changes() {
		if slices.Contains(unchanging, ep.Name) {
			continue
		}
		t.Run(ep.Name, func(t *testing.T) {
			c, ok := changes[ep.Name]
			if !ok || ep.Effect == "" {
				t.Fatalf("no request in changes (%v), or no effect (%q)", ok, ep.Effect)
			}
			test(t, c, ep)
		})
	}
}

// written counts the writes of requests, and calls during before each.
func (e *edge) written(during func()) *atomic.Int64 {
	n := new(atomic.Int64)
	e.backend.before.Store(func(ctx context.Context) {
		if ofRequest(ctx) {
			during()
			n.Add(1)
		}
	})
	return n
}

// TestAChangeIsRefusedWhileTheAuditLogCannotBeWritten, except for sealing,
// which says what it did.
func TestAChangeIsRefusedWhileTheAuditLogCannotBeWritten(t *testing.T) {
	eachChange(t, func(t *testing.T, c change, ep api.Change) {
		e, q := c.request(t, ep)
		n := e.written(func() {})
		state := e.store.Status()
		must(t, e.trail.Close())
		if ep.Brake {
			e.want(q, 503, "the audit log cannot be written", "before that, "+ep.Effect)
			return
		}
		e.want(q, 503, "the audit log cannot be written", "nothing was changed")
		if n.Load() != 0 || e.store.Status() != state {
			t.Errorf("%d writes, %+v, was %+v", n.Load(), e.store.Status(), state)
		}
	})
}

// TestAChangeWithoutItsAuditLineReportsItsEffect breaks the audit log while the
// change is under way.
func TestAChangeWithoutItsAuditLineReportsItsEffect(t *testing.T) {
	eachChange(t, func(t *testing.T, c change, ep api.Change) {
		e, q := c.request(t, ep)
		n := e.written(func() { e.trail.Close() })
		e.want(q, 503, "the audit log cannot be written", "before that, "+ep.Effect)
		if n.Load() == 0 {
			t.Error("the request wrote nothing")
		}
	})
}

// TestAChangeThatIsAuditedSucceeds shows that the requests of the tests above
// are good ones.
func TestAChangeThatIsAuditedSucceeds(t *testing.T) {
	eachChange(t, func(t *testing.T, c change, ep api.Change) {
		e, q := c.request(t, ep)
		if got := e.do(q); got.status/100 != 2 {
			t.Errorf("%d %s", got.status, got.body)
		}
		lines := e.auditLines()
		if last := lines[len(lines)-1]; last["endpoint"] != ep.Name || last["outcome"] != "allowed" {
			t.Errorf("audit line %v", last)
		}
	})
}
