package api_test

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"secretstore/acl"
	"secretstore/api/wire"
)

func TestEachDecisionHasOneAuditLine(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("group/a", "v")
	svc := http.Header{wire.ServiceHeader: {"/group/app"}}
	rows := []struct {
		q                                           req
		status                                      float64
		uid, service, action, resource, out, endpnt string
	}{
		{req{method: "GET", path: base + "//group%2Fa", uid: "alice"}, 200, "alice", "", "read", "dcos:secrets:default:/group/a", "allowed", "secret.read"},
		{req{method: "GET", path: base + "/group/a", uid: "scheduler", header: svc}, 200, "scheduler", "/group/app", "read", "dcos:secrets:default:/group/a", "allowed", "secret.read"},
		{req{method: "GET", path: base + "/group/a", uid: "task", service: "/group"}, 200, "task", "/group", "read", "dcos:secrets:default:/group/a", "allowed", "secret.read"},
		{req{method: "GET", path: base + "/group/a", uid: "nobody"}, 403, "nobody", "", "read", "dcos:secrets:default:/group/a", "denied", "secret.read"},
		{req{method: "GET", path: base + "/group/a"}, 401, "", "", "read", "dcos:secrets:default:/group/a", "denied", "secret.read"},
		{req{method: "GET", path: base + "/group?list=true"}, 401, "", "", "read", "dcos:secrets:list:default:/group", "denied", "secret.list"},
		{req{method: "PUT", path: "/secrets/v1/unseal/default"}, 401, "", "", "full", "dcos:superuser", "denied", "unseal"},
		{req{method: "GET", path: base + "/group/../a"}, 401, "", "", "", "", "denied", "secret.read"},
		{req{method: "GET", path: "/secrets/v1/secret/other/a"}, 401, "", "", "", "", "denied", "secret.read"},
		{req{method: "GET", path: "/nothing"}, 401, "", "", "", "", "denied", "none"},
		{req{method: "GET", path: base + "/group/a?service=a&service=b", uid: "alice"}, 400, "", "", "read", "dcos:secrets:default:/group/a", "refused", "secret.read"},
		{req{method: "GET", path: base + "/group?after=%zz&list=true", uid: "alice"}, 400, "", "", "read", "dcos:secrets:list:default:/group", "refused", "secret.list"},
		{req{method: "GET", path: base + "/group?list=true&limit=0", uid: "alice"}, 400, "", "", "read", "dcos:secrets:list:default:/group", "refused", "secret.list"},
		{req{method: "PUT", path: base + "/group/b", uid: "alice", header: svc, body: `{"value":"v"}`}, 400, "alice", "/group/app", "create", "dcos:secrets:default:/group/b", "refused", "secret.create"},
		{req{method: "PUT", path: base + "/group/a", uid: "alice", body: `{"value":"v"}`}, 409, "alice", "", "create", "dcos:secrets:default:/group/a", "refused", "secret.create"},
		{req{method: "PUT", path: base + "/group/b", uid: "alice", body: `{`}, 400, "alice", "", "create", "dcos:secrets:default:/group/b", "refused", "secret.create"},
		{req{method: "PUT", path: base + "/group/b", uid: "alice", body: `{"value":"v"}`}, 201, "alice", "", "create", "dcos:secrets:default:/group/b", "allowed", "secret.create"},
		{req{method: "PATCH", path: base + "/group/b", uid: "alice", body: `{"value":"v"}`}, 204, "alice", "", "update", "dcos:secrets:default:/group/b", "allowed", "secret.update"},
		{req{method: "DELETE", path: base + "/group/b", uid: "alice"}, 204, "alice", "", "delete", "dcos:secrets:default:/group/b", "allowed", "secret.delete"},
		{req{method: "GET", path: base + "/group?list=true", uid: "alice"}, 200, "alice", "", "read", "dcos:secrets:list:default:/group", "allowed", "secret.list"},
		{req{method: "GET", path: "/secrets/v1/store", uid: "alice"}, 200, "alice", "", "", "", "allowed", "store.list"},
		{req{method: "GET", path: "/nothing", uid: "alice"}, 404, "alice", "", "", "", "refused", "none"},
		{req{method: "PUT", path: "/secrets/v1/seal/default", uid: "alice"}, 403, "alice", "", "full", "dcos:superuser", "denied", "seal"},
		{req{method: "PUT", path: "/secrets/v1/rekey/default", uid: "alice"}, 403, "alice", "", "full", "dcos:superuser", "denied", "rekey"},
		{req{method: "PUT", path: "/secrets/v1/rekey/default", uid: "root"}, 400, "root", "", "full", "dcos:superuser", "refused", "rekey"},
		{req{method: "DELETE", path: "/secrets/v1/rekey/default?nonce=x", uid: "root"}, 404, "root", "", "full", "dcos:superuser", "refused", "rekey.cancel"},
		{req{method: "GET", path: "/secrets/v1/rekey/default", uid: "root"}, 200, "root", "", "full", "dcos:superuser", "allowed", "rekey.show"},
		{req{method: "GET", path: "/secrets/v1/rekey/default/recipients", uid: "root"}, 200, "root", "", "full", "dcos:superuser", "allowed", "rekey.recipients"},
		{req{method: "PUT", path: "/secrets/v1/rekey/default/current", uid: "root"}, 400, "root", "", "full", "dcos:superuser", "refused", "rekey.approve"},
		{req{method: "PUT", path: "/secrets/v1/rekey/default/verify", uid: "root"}, 400, "root", "", "full", "dcos:superuser", "refused", "rekey.verify"},
		{req{method: "PUT", path: "/secrets/v1/rotate/default", uid: "root"}, 200, "root", "", "full", "dcos:superuser", "allowed", "rotate"},
		{req{method: "GET", path: "/secrets/v1/rotate/default", uid: "root"}, 200, "root", "", "full", "dcos:superuser", "allowed", "rotate.show"},
		{req{method: "GET", path: "/secrets/v1/keys/default", uid: "root"}, 200, "root", "", "full", "dcos:superuser", "allowed", "keys.show"},
		{req{method: "PUT", path: "/secrets/v1/seal/default", uid: "root"}, 200, "root", "", "full", "dcos:superuser", "allowed", "seal"},
		{req{method: "GET", path: base + "/group/a", uid: "alice"}, 503, "alice", "", "read", "dcos:secrets:default:/group/a", "refused", "secret.read"},
	}
	for _, row := range rows {
		before := len(e.auditLines())
		got := e.want(row.q, int(row.status))
		lines := e.auditLines()[before:]
		if len(lines) != 1 {
			t.Fatalf("%s %s: %d lines", row.q.method, row.q.path, len(lines))
		}
		for field, want := range map[string]any{
			"status": row.status, "uid": row.uid, "service": row.service, "action": row.action, "resource": row.resource,
			"outcome": row.out, "endpoint": row.endpnt, "remote": "127.0.0.1", "request_id": got.header.Get(wire.RequestIDHeader),
		} {
			if lines[0][field] != want {
				t.Errorf("%s %s: %s is %v, want %v", row.q.method, row.q.path, field, lines[0][field], want)
			}
		}
		if when, err := time.Parse(time.RFC3339Nano, lines[0]["time"].(string)); err != nil || time.Since(when) > time.Hour {
			t.Errorf("time %v", lines[0]["time"])
		}
	}
	before := len(e.auditLines())
	for _, path := range []string{"/live", "/ready", "/metrics", "/secrets/v1/ping", "/"} {
		e.do(req{method: "GET", path: path})
		e.want(req{method: "OPTIONS", path: path}, 405)
	}
	if n := len(e.auditLines()) - before; n != 0 {
		t.Errorf("%d lines for requests without a token", n)
	}
}

// TestNothingLeavesWithoutItsAuditLine makes the log unwritable by putting a
// directory in its place.
func TestNothingLeavesWithoutItsAuditLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("a", "CANARY-VALUE")
		must(t, os.Rename(e.audit, e.audit+".1"))
		must(t, os.Mkdir(e.audit, 0o700))
		// The path is compared once a second: until then lines go to the old
		// file.
		eventually(t, func() bool {
			got := e.do(req{method: "GET", path: base + "/a", uid: "alice"})
			if got.status == 503 && strings.Contains(got.body, "CANARY") {
				t.Error("the value left")
			}
			return got.status == 503
		})
		for _, q := range []req{
			{method: "PUT", path: base + "/b", uid: "alice", body: `{"value":"v"}`},
			{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"changed"}`},
			{method: "DELETE", path: base + "/a", uid: "alice"},
			{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":"x"}`},
			{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"reset":true}`},
			{method: "PUT", path: "/secrets/v1/rekey/default", uid: "root", body: `{"shares":1,"threshold":1,"pgp_keys":["x"]}`},
			{method: "PUT", path: "/secrets/v1/rekey/default/current", uid: "root", body: `{"nonce":"x","key":"x"}`},
			{method: "PUT", path: "/secrets/v1/rekey/default/verify", uid: "root", body: `{"nonce":"x","key":"x"}`},
			{method: "DELETE", path: "/secrets/v1/rekey/default?nonce=x", uid: "root"},
			{method: "PUT", path: "/secrets/v1/rotate/default", uid: "root"},
		} {
			e.want(q, 503, "the audit log cannot be written", "nothing was changed")
		}
		e.want(req{method: "GET", path: base + "/a"}, 503, "the audit log cannot be written")
		e.want(req{method: "GET", path: "/live"}, 200)
		e.want(req{method: "OPTIONS", path: "/live"}, 405)
		e.want(req{method: "POST", path: "/secrets/v1/ping"}, 405)
		must(t, os.Remove(e.audit))
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200, "CANARY-VALUE")
		e.want(req{method: "GET", path: base + "/b", uid: "alice"}, 404)
		e.want(req{method: "GET", path: "/metrics"}, 200, "secretstore_audit_failures_total")
		// Sealing is never held up, and says what it did.
		must(t, os.Rename(e.audit, e.audit+".2"))
		must(t, os.Mkdir(e.audit, 0o700))
		eventually(t, func() bool { return e.do(req{method: "GET", path: base + "/a", uid: "alice"}).status == 503 })
		e.want(req{method: "PUT", path: "/secrets/v1/seal/default", uid: "root"}, 503, "the audit log cannot be written", "the store was sealed")
		must(t, os.Remove(e.audit))
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 503, "the secret store is sealed")
	})
}

// TestAWriteWhoseAuditLineFailsReportsItsEffect breaks the log while the write
// is under way.
func TestAWriteWhoseAuditLineFailsReportsItsEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		time.Sleep(time.Second) // so that the path is checked again
		e.backend.before.Store(func(context.Context) {
			if os.Rename(e.audit, e.audit+".1") == nil {
				must(t, os.Mkdir(e.audit, 0o700))
			}
		})
		e.want(req{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"v"}`}, 503, "the secret was created")
		e.backend.before.Store(func(context.Context) {})
		must(t, os.Remove(e.audit))
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200)
	})
}

func TestNoValueTokenOrKeyIsInLogsOrAnswers(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	const canary = "CANARY"
	var answers strings.Builder
	note := func(r res) { answers.WriteString(r.body); answers.WriteString("\n") }
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	for _, q := range []req{
		{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"CANARY-1"}`},
		{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"CANARY-2"}`},
		{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"CANARY-3"}`},
		{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"CANARY-4`},
		{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":["CANARY-5"]}`},
		{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"x","CANARY-6":1,"CANARY-6":2}`},
		{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"CANARY\ud800"}`},
		{method: "PUT", path: base + "/b", uid: "alice", header: octets, body: "CANARY\xff"},
		{method: "PUT", path: base + "/c", uid: "alice", header: http.Header{"Content-Type": {"CANARY/x"}}, body: "CANARY"},
		{method: "PUT", path: base + "/c", uid: "nobody", body: `{"value":"CANARY-7"}`},
		{method: "GET", path: base + "/a", header: http.Header{"Authorization": {"token=CANARY-TOKEN"}}},
		{method: "GET", path: base + "/a", header: http.Header{"Authorization": {"CANARY-TOKEN"}}},
		{method: "GET", path: base + "/a", header: http.Header{"Cookie": {wire.TokenCookie + "=CANARY.TOKEN.x"}}},
		{method: "GET", path: base + "/a?token=CANARY&service=CANARY%20", uid: "alice"},
		{method: "GET", path: base + "/a", uid: "alice", header: http.Header{"Accept": {"CANARY/x;q=0, */*;q=0"}}},
		{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":"CANARY"}`},
		{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":["CANARY"]}`},
		{method: "PUT", path: "/secrets/v1/init/default", uid: "root", body: `{"shares":"CANARY"}`},
		{method: "PUT", path: "/secrets/v1/init/default", uid: "root", body: `{"shares":1,"threshold":1,"pgp_keys":["CANARY"]}`},
		{method: "DELETE", path: base + "/CANARY%20", uid: "alice"},
		{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":"CANARY","reset":true}`},
		{method: "PUT", path: "/secrets/v1/rekey/default", uid: "root", body: `{"shares":1,"threshold":1,"pgp_keys":["CANARY"],"current":["CANARY"]}`},
		{method: "PUT", path: "/secrets/v1/rekey/default", uid: "root", body: `{"shares":1,"current":"CANARY"}`},
		{method: "PUT", path: "/secrets/v1/rekey/default/verify", uid: "root", body: `{"nonce":"CANARY","key":"CANARY"}`},
		{method: "PUT", path: "/secrets/v1/rekey/default/verify", uid: "root", body: `{"nonce":["CANARY"]}`},
		{method: "PUT", path: "/secrets/v1/rekey/default/current", uid: "root", body: `{"nonce":"CANARY","key":"CANARY"}`},
		{method: "PUT", path: "/secrets/v1/rekey/default/current", uid: "root", body: `{"nonce":["CANARY"]}`},
		{method: "DELETE", path: "/secrets/v1/rekey/default?nonce=CANARY", uid: "root"},
		{method: "DELETE", path: "/secrets/v1/rekey/default", uid: "root", body: `{"nonce":"CANARY"}`},
	} {
		note(e.do(q))
	}
	e.backend.lost.Store(true)
	note(e.do(req{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"CANARY-8"}`}))
	e.backend.lost.Store(false)
	e.backend.down.Store(true)
	note(e.do(req{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"CANARY-9"}`}))
	e.backend.down.Store(false)
	e.sealStore()
	wrong := strings.Repeat("c0ffee11", 8)
	note(e.do(req{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":"` + wrong + `"}`}))
	note(e.do(req{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":"` + e.unseal + `"}`}))
	note(e.do(req{method: "GET", path: "/metrics"}))
	if got := e.want(req{method: "GET", path: base + "/b", uid: "alice"}, 200); got.body != "CANARY\xff" {
		t.Fatalf("the secret is not there: %q", got.body) // else this test would prove nothing
	}
	trail, err := os.ReadFile(e.audit)
	must(t, err)
	if len(e.log.String()) == 0 || len(trail) == 0 {
		t.Fatal("no log to search")
	}
	for name, text := range map[string]string{"log": e.log.String(), "audit log": string(trail), "answers": answers.String()} {
		for _, word := range []string{canary, e.unseal, wrong, hmacKey, "eyJ"} {
			if at := strings.Index(text, word); at >= 0 {
				t.Errorf("the %s holds %q: …%s…", name, word, text[max(0, at-100):min(len(text), at+60)])
			}
		}
	}
}

func TestForwardedForIsBelievedFromTrustedProxiesOnly(t *testing.T) {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	proxies := []netip.Prefix{loopback, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, row := range []struct {
		trusted []netip.Prefix
		headers []string
		want    string
	}{
		{nil, []string{"1.2.3.4"}, "127.0.0.1"},
		{[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"1.2.3.4"}, "127.0.0.1"},
		{proxies, nil, "127.0.0.1"},
		{proxies, []string{"1.2.3.4"}, "1.2.3.4"},
		{proxies, []string{"6.6.6.6, 1.2.3.4"}, "1.2.3.4"},
		{proxies, []string{"6.6.6.6, 1.2.3.4, 10.1.1.1"}, "1.2.3.4"},
		{proxies, []string{"6.6.6.6", "1.2.3.4", "10.1.1.1"}, "1.2.3.4"},
		{proxies, []string{"1.2.3.4:5678"}, "1.2.3.4"},
		{proxies, []string{"2001:db8::1, fd00::2"}, "2001:db8::1"},
		{proxies, []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{proxies, []string{"::ffff:10.0.0.1, ::ffff:10.0.0.2"}, "10.0.0.1"},
		{proxies, []string{"10.0.0.1"}, "10.0.0.1"},
		{proxies, []string{"1.2.3.4, garbage, 10.0.0.1"}, "10.0.0.1"},
		{proxies, []string{"garbage"}, "127.0.0.1"},
		{proxies, []string{""}, "127.0.0.1"},
	} {
		e := newEdge(t, edgeOptions{trusted: row.trusted, uninitialized: true})
		e.do(req{method: "GET", path: "/secrets/v1/store", uid: "alice", header: http.Header{"X-Forwarded-For": row.headers}})
		if got := e.auditLines()[0]["remote"]; got != row.want {
			t.Errorf("%v from %v: %v, want %v", row.headers, row.trusted, got, row.want)
		}
	}
}

// panicAuth panics with what it was given.
type panicAuth struct{}

func (panicAuth) Verify(raw string) (acl.Principal, error) { panic("CANARY " + raw) }

func TestAPanicIsA500WithoutItsValue(t *testing.T) {
	e := newEdge(t, edgeOptions{auth: panicAuth{}})
	e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 500, "internal error")
	eventually(t, func() bool { return strings.Contains(e.log.String(), "panicAuth") }) // a stack, after the answer
	log := e.log.String()
	if strings.Contains(log, "CANARY") || strings.Contains(log, "eyJ") {
		t.Errorf("the log holds the value of the panic: %s", log)
	}
	if line := e.auditLines()[0]; line["status"] != 500.0 || line["outcome"] != "failed" {
		t.Errorf("audit line %v", line)
	}
	e.want(req{method: "GET", path: "/live"}, 200)
}

func TestOnlyFailuresAndSlowRequestsAreLoggedAboveDebug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true, level: zapcore.InfoLevel - zapcore.DebugLevel})
		e.put("a", "v")
		mark := len(e.log.String())
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200)
		e.want(req{method: "GET", path: base + "/none", uid: "alice"}, 404)
		e.want(req{method: "GET", path: base + "/a"}, 401)
		if tail := e.log.String()[mark:]; tail != "" {
			t.Errorf("logged: %s", tail)
		}
		e.backend.down.Store(true)
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 503)
		if tail := e.log.String()[mark:]; !strings.Contains(tail, "storage unavailable") || !strings.Contains(tail, `"level":"error"`) {
			t.Errorf("logged: %s", tail)
		}
		e.backend.down.Store(false)
		e.backend.slow.Store(true)
		defer e.backend.slow.Store(false)
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200)
		if tail := e.log.String()[mark:]; !strings.Contains(tail, "slow request") {
			t.Errorf("logged: %s", tail)
		}
	})
}
