package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"secretstore/api/client"
	"secretstore/api/wire"
)

func TestSealAndUnsealOverTheWire(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "v")
	e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "nobody"}, 200, `{"sealed":false,"threshold":1,"shares":1,"progress":0,"uuid":"`+e.store.Status().UUID+`"}`)
	e.want(req{method: "PUT", path: "/secrets/v1/seal/default", uid: "root"}, 200, `{"sealed":true,"threshold":1,"shares":1,"progress":0,"uuid":"`)
	e.want(req{method: "PUT", path: "/secrets/v1/seal/default", uid: "root"}, 200, `"sealed":true`)
	e.want(req{method: "GET", path: "/secrets/v1/store", uid: "nobody"}, 200, `{"array":[{"name":"default",`, `"driver":"memory","initialized":true,"sealed":true,"uuid":"`+e.store.Status().UUID+`"}]}`)
	e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 503, "the secret store is sealed")
	e.want(req{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":"` + strings.Repeat("ab", 32) + `"}`}, 400, "wrong unseal key")
	for _, body := range []string{"", "{}", `{"key":""}`, `{"key":"zz"}`, `{"key":1}`, `{"Key":"x"}`, `{"key":"a","key":"b"}`, `[]`, "null",
		`{"reset":false}`, `{"reset":"true"}`, `{"key":"","reset":true}`, `{"key":"a","reset":true}`, `{"key":null}`} {
		e.want(req{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: body}, 400)
	}
	e.want(req{method: "PUT", path: "/secrets/v1/auto-unseal/default", uid: "root"}, 400, "no bootstrap key")
	e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "root"}, 200, `"sealed":true`)
	// curl -d sends this type by default. keys[0] of GET /init, decrypted,
	// unseals.
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	info, err := e.api("root").InitInfo(t.Context())
	must(t, err)
	key := testHolder().open(t, info.Keys[0])
	e.want(req{method: "PUT", path: "/secrets/v1/unseal/default/", uid: "root", header: form, body: `{"key":"` + key + `"}`}, 200, `"sealed":false`)
	e.want(req{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":"` + key + `"}`}, 200, `"sealed":false`)
	e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200)
}

// TestInitReportsAnInitializedStoreBeforeBadKeys: fixing the key would not
// help.
func TestInitReportsAnInitializedStoreBeforeBadKeys(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, body := range []string{`{"shares":1,"threshold":1,"pgp_keys":["####"]}`, `{"shares":2,"threshold":1,"pgp_keys":[]}`, `{}`} {
		e.want(req{method: "PUT", path: "/secrets/v1/init/default", uid: "root", body: body}, 400, "already initialized")
	}
}

func TestInitOverTheWire(t *testing.T) {
	e := newEdge(t, edgeOptions{uninitialized: true})
	ctx, root := t.Context(), e.api("root")
	e.want(req{method: "GET", path: "/secrets/v1/init/default", uid: "root"}, 200, `{"initialized":false,"keys":[],"pgp_fingerprints":[],"root_token":""}`)
	e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 503, "not initialized")
	e.want(req{method: "GET", path: "/ready"}, 503, "not initialized")
	public := testHolder().public
	for _, bad := range []wire.InitRequest{
		{}, {Shares: 1, Threshold: 1}, {Shares: 2, Threshold: 1, PGPKeys: []string{public}}, {Shares: 1, Threshold: 2, PGPKeys: []string{public}},
		{Shares: 2, Threshold: 3, PGPKeys: []string{public, public}}, {Shares: 1, Threshold: 1, PGPKeys: []string{public, public}},
		{Shares: 2, Threshold: 0, PGPKeys: []string{public, public}}, {Shares: 33, Threshold: 2, PGPKeys: slices.Repeat([]string{public}, 33)},
		{Shares: 1, Threshold: 1, PGPKeys: []string{"####"}}, {Shares: -1, Threshold: -1}, {Shares: 1, Threshold: 1, PGPKeys: []string{""}},
	} {
		_, err := root.Init(ctx, bad)
		wantIs(t, "bad init", err, client.ErrBadRequest)
	}
	for _, body := range []string{"", "x", `{"shares":"1"}`, `{"shares":1.5}`, `{"shares":1e400}`, `{"pgp_keys":"x"}`, `{"shares":1,"shares":1}`} {
		e.want(req{method: "PUT", path: "/secrets/v1/init/default", uid: "root", body: body}, 400)
	}
	_, err := e.api("alice").Init(ctx, wire.InitRequest{Shares: 1, Threshold: 1, PGPKeys: []string{public}})
	wantIs(t, "init by alice", err, client.ErrDenied)
	spaced := public[:10] + " \n" + public[10:] + " "
	result, err := root.Init(ctx, wire.InitRequest{Shares: 1, Threshold: 1, PGPKeys: []string{spaced}})
	must(t, err)
	if len(result.Keys) != 1 || len(result.Fingerprints) != 1 || result.RootToken != "" {
		t.Errorf("%+v", result)
	}
	st, err := root.SealStatus(ctx)
	must(t, err)
	if st.Server == nil || st.Server.State != "sealed" || st.Server.Storage != wire.StorageUp || st.Server.Since.IsZero() {
		t.Errorf("%+v", st.Server)
	}
	st.Server = nil
	if want := (wire.SealStatus{Sealed: true, Threshold: 1, Shares: 1, UUID: e.store.Status().UUID}); st.UUID == "" || !cmp.Equal(st, want) {
		t.Errorf("%+v", st)
	}
	_, err = root.Init(ctx, wire.InitRequest{Shares: 1, Threshold: 1, PGPKeys: []string{public}})
	wantIs(t, "second init", err, client.ErrBadRequest)
	// Until it is unsealed, its first key replaces it.
	again := wire.InitRequest{Shares: 1, Threshold: 1, PGPKeys: []string{public}, Replace: "00"}
	_, err = root.Init(ctx, again)
	wantIs(t, "replacing another init", err, client.ErrBadRequest)
	again.Replace = result.Keys[0]
	_, err = e.api("alice").Init(ctx, again)
	wantIs(t, "replacing by alice", err, client.ErrDenied)
	replaced, err := root.Init(ctx, again)
	must(t, err)
	_, err = root.Init(ctx, again)
	wantIs(t, "replacing what was replaced", err, client.ErrBadRequest)
	if replaced.Keys[0] == result.Keys[0] {
		t.Error("nothing was replaced")
	}
	result = replaced
	info, err := root.InitInfo(ctx)
	must(t, err)
	if !info.Initialized || !cmp.Equal(info.Keys, result.Keys) || !cmp.Equal(info.Fingerprints, result.Fingerprints) {
		t.Errorf("%+v, want %+v", info, result)
	}
	st, err = root.Unseal(ctx, testHolder().open(t, info.Keys[0]))
	must(t, err)
	if st.Sealed {
		t.Error("still sealed")
	}
	must(t, root.CreateText(ctx, "a", wire.SecretWrite{Value: "v"}))
	backend, err := root.Status(ctx)
	must(t, err)
	stores, err := root.Stores(ctx)
	must(t, err)
	if len(stores) != 1 || stores[0] != backend || backend.Sealed || !backend.Initialized {
		t.Errorf("%+v, %+v", backend, stores)
	}
	if st, err := root.Seal(ctx); err != nil || !st.Sealed {
		t.Errorf("%+v, %v", st, err)
	}
	_, err = root.AutoUnseal(ctx, result.Keys[0])
	wantIs(t, "auto-unseal", err, client.ErrBadRequest)
}

func TestWarningsAreForSuperusers(t *testing.T) {
	e := newEdge(t, edgeOptions{warnings: func() []string { return []string{"policy file /etc/x is broken"} }})
	e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "root"}, 200, "policy file /etc/x is broken")
	if got := e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "alice"}, 200); strings.Contains(got.body, "policy") {
		t.Errorf("alice sees %s", got.body)
	}
}

func TestStorageOutOfReachIs503WithRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("a", "v")
		e.backend.down.Store(true)
		// The last answer of a probe may be remembered for a moment.
		eventually(t, func() bool { return e.do(req{method: "GET", path: "/secrets/v1/ping"}).status == 503 })
		for _, q := range []req{
			{method: "GET", path: base + "/a"}, {method: "GET", path: base + "?list=true"},
			{method: "PUT", path: base + "/b", body: `{"value":"v"}`}, {method: "PATCH", path: base + "/a", body: `{"value":"v"}`},
			{method: "DELETE", path: base + "/a"}, {method: "GET", path: "/secrets/v1/ping/backends/default"}, {method: "GET", path: "/ready"},
		} {
			q.uid = "alice"
			got := e.want(q, 503, "unreachable")
			if got.header.Get("Retry-After") == "" {
				t.Errorf("%s %s: no Retry-After", q.method, q.path)
			}
		}
		for line := range strings.Lines(e.log.String()) {
			if strings.Contains(line, "request failed") && (strings.Contains(line, `"endpoint":"ready"`) || strings.Contains(line, `"endpoint":"ping"`)) {
				t.Errorf("a probe is logged as an error: %s", line)
			}
		}
		e.want(req{method: "GET", path: "/live"}, 200)
		e.want(req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "alice"}, 200)
		e.want(req{method: "GET", path: "/metrics"}, 200, "secretstore_storage_up 0", "secretstore_sealed 0")
		// Sealing drops the keys though it cannot be recorded.
		got := e.want(req{method: "PUT", path: "/secrets/v1/seal/default", uid: "root"}, 503, "sealed here, not yet recorded")
		if got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 503, "the secret store is sealed")
		e.backend.down.Store(false)
		eventually(t, func() bool { return e.do(req{method: "GET", path: "/secrets/v1/ping"}).status == 200 })
	})
}

func TestAStaleAnswerHasAnAge(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "v")
	for age, want := range map[time.Duration]string{0: "", time.Millisecond: "1", time.Second: "1", 1500 * time.Millisecond: "2", time.Minute: "60"} {
		e.backend.age.Store(int64(age))
		got := e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200)
		if got.header.Get("Age") != want {
			t.Errorf("%v: Age %q, want %q", age, got.header.Get("Age"), want)
		}
	}
	got, err := e.api("alice").Get(t.Context(), "a", client.GetOptions{})
	must(t, err)
	if got.Age != time.Duration(e.backend.age.Load()+int64(time.Second)-1).Truncate(time.Second) {
		t.Errorf("the client sees an age of %v", got.Age)
	}
}

func TestNoCacheAsksTheStorageForTheLatest(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "v")
	for value, want := range map[string]bool{"": false, "no-store": false, "max-age=3600": false, "no-cache": true, "no-store, No-Cache": true} {
		before := e.backend.latest.Load()
		e.want(req{method: "GET", path: base + "/a", uid: "alice", header: http.Header{"Cache-Control": {value}}}, 200)
		if got := e.backend.latest.Load() > before; got != want {
			t.Errorf("Cache-Control %q: latest is %v", value, got)
		}
	}
}

func TestAStorageThatHangsIs503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("a", "v")
		e.backend.hang.Store(true)
		defer e.backend.hang.Store(false)
		begun := time.Now()
		e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 503, "unreachable")
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAWriteOfUnknownOutcomeSaysSo(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "v")
	e.backend.lost.Store(true)
	e.want(req{method: "PUT", path: base + "/b", uid: "alice", body: `{"value":"v"}`}, 503, "outcome unknown")
	e.backend.lost.Store(false)
	lines := e.auditLines()
	if last := lines[len(lines)-1]; last["outcome"] != "failed" || last["status"] != 503.0 {
		t.Errorf("audit line %v", last)
	}
}

// TestAWriteCompletesWhenItsClientLeaves: the client leaves as soon as the
// storage is asked; the secret is there all the same, and audited as written.
func TestAWriteCompletesWhenItsClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		ctx, leave := context.WithCancel(t.Context())
		e.backend.before.Store(func(context.Context) { leave(); time.Sleep(50 * time.Millisecond) })
		r, err := http.NewRequestWithContext(ctx, "PUT", e.url+base+"/a", strings.NewReader(`{"value":"v"}`))
		must(t, err)
		r.Header = e.as("alice")
		if _, err := e.client.Do(r); err == nil {
			t.Error("the client got an answer")
		}
		e.backend.before.Store(func(context.Context) {})
		eventually(t, func() bool { return e.do(req{method: "GET", path: base + "/a", uid: "alice"}).status == 200 })
		eventually(t, func() bool {
			for _, line := range e.auditLines() {
				if line["endpoint"] == "secret.create" && line["status"] == 201.0 && line["outcome"] == "allowed" {
					return true
				}
			}
			return false
		})
	})
}

// eventually gives a condition far more time than it needs.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

func TestMetricsCountWithoutNames(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("group/name-of-a-secret", "v")
	for range 3 {
		e.want(req{method: "GET", path: base + "/group/name-of-a-secret", uid: "alice"}, 200)
	}
	e.want(req{method: "GET", path: base + "/group/name-of-a-secret", uid: "nobody"}, 403)
	e.want(req{method: "GET", path: "/nothing", uid: "alice"}, 404)
	got := e.want(req{method: "GET", path: "/metrics"}, 200,
		`secretstore_requests_total{code="200",endpoint="secret.read",route="/secrets/v1/secret/{store}/{path}"} 3`,
		`secretstore_requests_total{code="403",endpoint="secret.read",route="/secrets/v1/secret/{store}/{path}"} 1`,
		`secretstore_requests_total{code="404",endpoint="none",route="none"} 1`,
		`secretstore_request_duration_seconds_count{endpoint="secret.read",route="/secrets/v1/secret/{store}/{path}"} 4`,
		`secretstore_decisions_total{action="read",outcome="allowed"} 3`,
		`secretstore_decisions_total{action="read",outcome="denied"} 1`,
		`secretstore_decisions_total{action="none",outcome="refused"} 1`,
		`secretstore_decisions_total{action="full",outcome="failed"} 0`,
		"secretstore_audit_up 1", "secretstore_audit_disk_full 0", "secretstore_audit_duration_seconds_count ",
		"secretstore_storage_writable 1", "secretstore_storage_full 0",
		"secretstore_sealed 0", "secretstore_initialized 1", "secretstore_storage_up 1", "secretstore_bootstrap_key_held 0",
		"secretstore_audit_failures_total 0")
	for _, word := range []string{"name-of-a-secret", "alice"} {
		if strings.Contains(got.body, word) {
			t.Errorf("the metrics hold %q", word)
		}
	}
}

// TestNoRequestMakesATimeSeriesOfItsOwn: whatever is in the path, the query, the
// method, the token or a header, the labels are those of the table of endpoints.
func TestNoRequestMakesATimeSeriesOfItsOwn(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for i := range 30 {
		id := strconv.Itoa(i)
		for _, path := range []string{base + "/canary" + id, base + "/canary" + id + "?list=true", "/canary" + id, "/secrets/v1/canary" + id,
			"/secrets/v1/store/canary" + id, "/secrets/v1/revoke/canary" + id, "/secrets/v1/ping/backends/canary" + id} {
			e.do(req{method: "GET", path: path, uid: "canary" + id, header: http.Header{wire.ServiceHeader: {"/canary" + id}}})
			e.do(req{method: "CANARY" + id, path: path, uid: "alice"})
			e.do(req{method: "PUT", path: path})
		}
	}
	got := e.want(req{method: "GET", path: "/metrics"}, 200).body
	if strings.Contains(strings.ToLower(got), "canary") {
		t.Error("a name of a client is in the metrics")
	}
	if n := strings.Count(got, "\nsecretstore_requests_total{"); n < 5 || n > 100 {
		t.Errorf("%d time series of requests", n)
	}
}

func TestErrorsHaveTitleAndDescriptionOnly(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	got := e.want(req{method: "GET", path: base + "/none", uid: "alice"}, 404)
	var doc map[string]any
	must(t, json.Unmarshal([]byte(got.body), &doc))
	if doc["title"] != "404 Not Found" || len(doc) != 2 {
		t.Errorf("%s", got.body)
	}
}

func TestAClientThatLeavesIsNotLoggedAsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("a", "v")
		e.backend.hang.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", e.url+base+"/a", nil)
		must(t, err)
		r.Header = e.as("alice")
		if _, err := e.client.Do(r); err == nil {
			t.Error("the storage does not hang")
		}
		eventually(t, func() bool { return len(e.auditLines()) == 2 })
		e.backend.hang.Store(false)
		if log := e.log.String(); strings.Contains(log, "request failed") {
			t.Errorf("logged: %s", log)
		}
	})
}

func TestLargeValuesOverTLSAndHTTP2(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{maxSize: 4 << 20})
	web := httptest.NewUnstartedServer(e.server)
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	raw := tokenOf(t, "alice", "")
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	c, err := client.New(client.Config{Server: web.URL, TLS: &tls.Config{RootCAs: roots}, Token: func(context.Context) (string, error) { return raw, nil }})
	must(t, err)
	defer c.Close()
	value := strings.Repeat("0123456789abcdef", 4<<20/16)
	for range 3 {
		must(t, c.CreateText(t.Context(), "a", wire.SecretWrite{Value: value}))
		got, err := c.Get(t.Context(), "a", client.GetOptions{})
		must(t, err)
		if string(got.Value) != value {
			t.Error("another value came back")
		}
		must(t, c.Delete(t.Context(), "a"))
	}
	wantIs(t, "too large", c.CreateBinary(t.Context(), "a", []byte(value+"x")), client.ErrTooLarge)
}
