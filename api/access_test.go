package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/wire"
)

func isErr(err, target error) bool { return errors.Is(err, target) }

// TestOrderOfChecks asks each route as each kind of caller in each state of
// the store; the rows are the order of checks that clients rely on.
func TestOrderOfChecks(t *testing.T) {
	const put = `{"value":"v"}`
	routes := []struct {
		method, path, body  string
		open                bool
		viewer              bool // any unbound token will do
		bound               int  // status for a token bound to /group, unsealed
		byBody              bool // which only the body decides
		root                int  // status for a superuser, unsealed
		sealed, uninitiated int  // status for a superuser then
	}{
		{method: "GET", path: base + "/group/s", bound: 200, root: 200, sealed: 503, uninitiated: 503},
		{method: "HEAD", path: base + "/group/s", bound: 200, root: 200, sealed: 503, uninitiated: 503},
		{method: "GET", path: base + "/group/none", bound: 404, root: 404, sealed: 503, uninitiated: 503},
		{method: "GET", path: base + "?list=true", bound: 403, root: 200, sealed: 503, uninitiated: 503},
		{method: "GET", path: base + "/group/s?watch=&timeout=0s", bound: 200, root: 200, sealed: 503, uninitiated: 503},
		{method: "HEAD", path: "/secrets/v1/watch/default", bound: 403, root: 200, sealed: 503, uninitiated: 503},
		{method: "GET", path: "/secrets/v1/watch/x", bound: 404, root: 404, sealed: 404, uninitiated: 404, viewer: true},
		{method: "GET", path: "/secrets/v1/watch/default?prefix=..", bound: 404, root: 404, sealed: 404, uninitiated: 404, viewer: true},
		{method: "PUT", path: "/secrets/v1/watch/default", bound: 405, root: 405, sealed: 405, uninitiated: 405, viewer: true},
		{method: "PUT", path: base + "/group/s", body: put, bound: 403, root: 409, sealed: 503, uninitiated: 503},
		{method: "PUT", path: base + "/group/s", body: "{", bound: 403, root: 400, sealed: 503, uninitiated: 503},
		{method: "PATCH", path: base + "/group/none", body: put, bound: 403, root: 404, sealed: 503, uninitiated: 503},
		{method: "DELETE", path: base + "/group/none", bound: 403, root: 404, sealed: 503, uninitiated: 503},
		{method: "POST", path: base + "/group/s", body: put, bound: 405, root: 405, sealed: 405, uninitiated: 405, viewer: true},
		{method: "GET", path: base + "/../x", bound: 404, root: 404, sealed: 404, uninitiated: 404, viewer: true},
		{method: "GET", path: "/secrets/v1/store", bound: 403, root: 200, sealed: 200, uninitiated: 200, viewer: true},
		{method: "GET", path: "/secrets/v1/store/default", bound: 403, root: 200, sealed: 200, uninitiated: 200, viewer: true},
		{method: "GET", path: "/secrets/v1/store/x", bound: 404, root: 404, sealed: 404, uninitiated: 404, viewer: true},
		{method: "GET", path: "/secrets/v1/seal-status/default", bound: 403, root: 200, sealed: 200, uninitiated: 200, viewer: true},
		{method: "GET", path: "/secrets/v1/init/default", bound: 403, root: 200, sealed: 200, uninitiated: 200},
		{method: "PUT", path: "/secrets/v1/init/default", body: `{}`, bound: 403, root: 400, sealed: 400, uninitiated: 400},
		{method: "PUT", path: "/secrets/v1/unseal/default", body: `{"key":"zz"}`, bound: 403, root: 200, sealed: 400, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/auto-unseal/default", bound: 403, root: 200, sealed: 400, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/unseal/default", body: `{"reset":true}`, bound: 403, root: 200, sealed: 200, uninitiated: 503},
		{method: "GET", path: "/secrets/v1/rekey/default", bound: 403, root: 200, sealed: 503, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/rekey/default", body: `{}`, bound: 403, root: 400, sealed: 503, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/rekey/x", body: `{}`, bound: 404, root: 404, sealed: 404, uninitiated: 404, viewer: true},
		{method: "DELETE", path: "/secrets/v1/rekey/default?nonce=00", bound: 403, root: 404, sealed: 503, uninitiated: 503},
		{method: "DELETE", path: "/secrets/v1/rekey/default", bound: 403, root: 400, sealed: 503, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/rekey/default/verify", body: `{"nonce":"00","key":"00"}`, bound: 403, root: 404, sealed: 503, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/rekey/default/current", body: `{"nonce":"00","key":"00"}`, bound: 403, root: 404, sealed: 503, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/rekey/default/current", body: `{`, bound: 403, root: 400, sealed: 503, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/rekey/default/verify", body: `{`, bound: 403, root: 400, sealed: 503, uninitiated: 503},
		{method: "GET", path: "/secrets/v1/rekey/default/recipients", bound: 403, root: 200, sealed: 503, uninitiated: 503},
		{method: "GET", path: "/secrets/v1/rekey/default/verify", bound: 405, root: 405, sealed: 405, uninitiated: 405, viewer: true},
		{method: "GET", path: "/secrets/v1/rotate/default", bound: 403, root: 200, sealed: 503, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/rotate/default", bound: 403, root: 200, sealed: 503, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/rotate/x", bound: 404, root: 404, sealed: 404, uninitiated: 404, viewer: true},
		{method: "GET", path: "/secrets/v1/keys/default", bound: 403, root: 200, sealed: 200, uninitiated: 503},
		{method: "HEAD", path: "/secrets/v1/keys/default", bound: 403, root: 200, sealed: 200, uninitiated: 503},
		{method: "PUT", path: "/secrets/v1/keys/default", bound: 405, root: 405, sealed: 405, uninitiated: 405, viewer: true},
		{method: "POST", path: "/secrets/v1/resolve/default", body: `{"service":"/group","secrets":{"s":{"source":"group/s"}}}`, bound: 200, root: 200, sealed: 503, uninitiated: 503},
		{method: "POST", path: "/secrets/v1/resolve/default", body: `{"service":"/a","secrets":{}}`, bound: 403, byBody: true, root: 200, sealed: 503, uninitiated: 503},
		{method: "POST", path: "/secrets/v1/resolve/default", body: `{`, bound: 400, root: 400, sealed: 503, uninitiated: 503},
		{method: "POST", path: "/secrets/v1/resolve/x", body: `{`, bound: 404, root: 404, sealed: 404, uninitiated: 404, viewer: true},
		{method: "GET", path: "/secrets/v1/resolve/default", bound: 405, root: 405, sealed: 405, uninitiated: 405, viewer: true},
		{method: "POST", path: "/secrets/v1/check/default", body: `{"service":"/group","secrets":{"s":{"source":"group/s"}}}`, bound: 200, root: 200, sealed: 503, uninitiated: 503},
		{method: "POST", path: "/secrets/v1/check/default", body: `{"service":"/a"}`, bound: 403, byBody: true, root: 200, sealed: 503, uninitiated: 503},
		{method: "GET", path: explainPath + "?action=read&path=group/s", bound: 403, root: 200, sealed: 503, uninitiated: 503, viewer: true},
		{method: "GET", path: explainPath + "?action=read&path=group/s&uid=alice", bound: 403, root: 200, sealed: 503, uninitiated: 503},
		{method: "GET", path: "/secrets/v1/who-can?action=read&path=group/s", bound: 403, root: 200, sealed: 503, uninitiated: 503},
		{method: "GET", path: "/secrets/v1/audit", bound: 403, root: 200, sealed: 200, uninitiated: 200},
		{method: "PUT", path: "/secrets/v1/revoke/default/a", bound: 403, root: 501, sealed: 501, uninitiated: 501, viewer: true},
		{method: "PUT", path: "/secrets/v1/revoke", bound: 403, root: 501, sealed: 501, uninitiated: 501, viewer: true},
		{method: "PUT", path: "/secrets/v1/renew", bound: 403, root: 501, sealed: 501, uninitiated: 501, viewer: true},
		{method: "PUT", path: "/secrets/v1/renew/default/a", bound: 403, root: 501, sealed: 501, uninitiated: 501, viewer: true},
		{method: "GET", path: "/secrets/v1/nothing", bound: 404, root: 404, sealed: 404, uninitiated: 404, viewer: true},
		{method: "GET", path: "/nothing", bound: 404, root: 404, sealed: 404, uninitiated: 404, viewer: true},
		{method: "POST", path: "/secrets/v1/store", bound: 405, root: 405, sealed: 405, uninitiated: 405, viewer: true},
		{method: "GET", path: "/secrets/v1/ping", open: true, bound: 200, root: 200, sealed: 200, uninitiated: 200},
		{method: "GET", path: "/secrets/v1/ping/backends/default", open: true, bound: 200, root: 200, sealed: 200, uninitiated: 200},
		{method: "GET", path: "/secrets/v1/ping/backends/all", open: true, bound: 200, root: 200, sealed: 200, uninitiated: 200},
		{method: "GET", path: "/secrets/v1/ping/backends/x", open: true, bound: 404, root: 404, sealed: 404, uninitiated: 404},
		{method: "PUT", path: "/secrets/v1/ping", open: true, bound: 405, root: 405, sealed: 405, uninitiated: 405},
		{method: "GET", path: "/", open: true, bound: 404, root: 404, sealed: 404, uninitiated: 404},
		{method: "GET", path: "/secrets/v1/openapi.json", open: true, bound: 200, root: 200, sealed: 200, uninitiated: 200},
		{method: "GET", path: "/live", open: true, bound: 200, root: 200, sealed: 200, uninitiated: 200},
		{method: "GET", path: "/ready", open: true, bound: 200, root: 200, sealed: 503, uninitiated: 503},
		{method: "GET", path: "/metrics", open: true, bound: 200, root: 200, sealed: 200, uninitiated: 200},
	}
	// Bad tokens come from another address, so that neither has too many failures.
	proxy := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	unsealed, sealed, fresh := newEdge(t, edgeOptions{trusted: proxy}), newEdge(t, edgeOptions{trusted: proxy}), newEdge(t, edgeOptions{trusted: proxy, uninitialized: true})
	unsealed.put("group/s", "v")
	sealed.put("group/s", "v")
	sealed.sealStore()
	states := []struct {
		name string
		e    *edge
	}{{"unsealed", unsealed}, {"sealed", sealed}, {"uninitialized", fresh}}
	badToken := http.Header{"Authorization": {"token=" + tokenOf(t, "root", "") + "x"}, "X-Forwarded-For": {"192.0.2.1"}}
	for _, row := range routes {
		for i, st := range states {
			t.Run(fmt.Sprint(row.method, row.path, row.body, st.name), func(t *testing.T) {
				e := &edge{}
				*e = *st.e
				e.t = t
				root := []int{row.root, row.sealed, row.uninitiated}[i]
				q := req{method: row.method, path: row.path, body: row.body}
				none, nobody := 401, 403
				if row.open {
					none, nobody = root, root
				} else if row.viewer {
					nobody = root
				}
				e.want(q, none)
				q.header = badToken
				e.want(q, none)
				q.header, q.uid = nil, "nobody"
				e.want(q, nobody)
				q.uid = "root"
				e.want(q, root)
				q.service = "/group"
				bound := row.bound
				if bound/100 == 2 || bound == 400 || bound == 404 && strings.HasSuffix(row.path, "/none") || row.open || row.byBody && root == 503 {
					bound = root
				}
				e.want(q, bound)
			})
		}
	}
}

func TestMethodNotAllowedNamesTheMethods(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for path, allow := range map[string]string{
		base + "/a":                       "DELETE, GET, HEAD, PATCH, PUT",
		"/secrets/v1/init/default":        "GET, HEAD, PUT",
		"/secrets/v1/seal/default":        "PUT",
		"/secrets/v1/rekey/default":       "DELETE, GET, HEAD, PUT",
		"/secrets/v1/rotate/default":      "GET, HEAD, PUT",
		"/secrets/v1/seal-status/default": "GET, HEAD",
		"/live":                           "GET, HEAD",
	} {
		got := e.want(req{method: "POST", path: path, uid: "root", body: "{}"}, 405)
		if got.header.Get("Allow") != allow {
			t.Errorf("POST %s: Allow %q, want %q", path, got.header.Get("Allow"), allow)
		}
	}
}

func TestTokensOfARequest(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "v")
	good, other := tokenOf(t, "alice", ""), tokenOf(t, "nobody", "")
	cookie := wire.TokenCookie + "=" + good
	for _, row := range []struct {
		name   string
		method string
		header http.Header
		status int
	}{
		{"token=", "GET", http.Header{"Authorization": {"token=" + good}}, 200},
		{"Bearer", "GET", http.Header{"Authorization": {"Bearer " + good}}, 200},
		{"bearer", "GET", http.Header{"Authorization": {"bearer  " + good}}, 200},
		{"bare", "GET", http.Header{"Authorization": {good}}, 401},
		{"Basic", "GET", http.Header{"Authorization": {"Basic " + good}}, 401},
		{"token without =", "GET", http.Header{"Authorization": {"token " + good}}, 401},
		{"empty", "GET", http.Header{"Authorization": {""}}, 401},
		{"empty token", "GET", http.Header{"Authorization": {"token="}}, 401},
		{"huge", "GET", http.Header{"Authorization": {"token=" + strings.Repeat("a", 20<<10)}}, 401},
		{"two", "GET", http.Header{"Authorization": {"token=" + good, "token=" + good}}, 401},
		{"cookie", "GET", http.Header{"Cookie": {"x=y; " + cookie}}, 200},
		{"cookie HEAD", "HEAD", http.Header{"Cookie": {cookie}}, 200},
		{"two cookies", "GET", http.Header{"Cookie": {cookie + "; " + wire.TokenCookie + "=" + other}}, 401},
		{"header overrides cookie", "GET", http.Header{"Cookie": {cookie}, "Authorization": {"token=" + other}}, 403},
		{"empty header overrides cookie", "GET", http.Header{"Cookie": {cookie}, "Authorization": {""}}, 401},
		{"cookie DELETE", "DELETE", http.Header{"Cookie": {cookie}}, 401},
		{"cookie DELETE cross-site", "DELETE", http.Header{"Cookie": {cookie}, "Sec-Fetch-Site": {"cross-site"}}, 401},
		{"cookie DELETE same-site", "DELETE", http.Header{"Cookie": {cookie}, "Sec-Fetch-Site": {"same-site"}}, 401},
		{"cookie DELETE cross-site, own origin", "DELETE", http.Header{"Cookie": {cookie}, "Sec-Fetch-Site": {"cross-site"}, "Origin": {e.url}}, 401},
		{"cookie DELETE other origin", "DELETE", http.Header{"Cookie": {cookie}, "Origin": {"http://evil.example"}}, 401},
		{"cookie DELETE null origin", "DELETE", http.Header{"Cookie": {cookie}, "Origin": {"null"}}, 401},
		{"cookie DELETE longer origin", "DELETE", http.Header{"Cookie": {cookie}, "Origin": {e.url + ".evil.example"}}, 401},
		{"cookie DELETE two origins", "DELETE", http.Header{"Cookie": {cookie}, "Origin": {e.url, e.url}}, 401},
		{"cookie DELETE same-origin", "DELETE", http.Header{"Cookie": {cookie}, "Sec-Fetch-Site": {"same-origin"}}, 204},
		{"cookie DELETE own origin", "DELETE", http.Header{"Cookie": {cookie}, "Origin": {e.url}}, 204},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.status == 204 {
				e.api("alice").CreateText(t.Context(), "a", wire.SecretWrite{Value: "v"})
			}
			e.want(req{method: row.method, path: base + "/a", header: row.header}, row.status)
		})
	}
}

func TestANamedServiceLimitsWhatIsRead(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, p := range []string{"group/secret", "group/hdfs/secret", "hdfs/secret", "secret"} {
		e.put(p, "v")
	}
	svc := func(ids ...string) http.Header { return http.Header{wire.ServiceHeader: ids} }
	for _, row := range []struct {
		uid, path string
		header    http.Header
		status    int
	}{
		{"scheduler", "/group/secret", svc("/marathon-user/service"), 403},
		{"scheduler", "/group/secret", svc("/group/hdfs/service"), 200},
		{"scheduler", "/group/hdfs/secret", svc("/group/spark/service"), 403},
		{"scheduler", "/hdfs/secret", svc("/hdfs"), 200},
		{"scheduler", "/hdfs/secret", svc("/hdfs2"), 403},
		{"scheduler", "/hdfs/secret", svc("hdfs.x"), 200},
		{"scheduler", "/secret", svc("/any"), 200},
		{"scheduler", "/secret", svc(""), 200},
		{"scheduler", "/secret", svc("/"), 200},
		{"scheduler", "/hdfs/secret", svc(""), 403},
		{"scheduler", "/hdfs/secret", svc("/"), 403},
		{"scheduler", "/hdfs/secret", nil, 403},
		{"scheduler", "/hdfs/secret?service=%2Fhdfs", nil, 200},
		{"scheduler", "/hdfs/secret?service=/hdfs&_ts=1", nil, 200},
		{"scheduler", "/hdfs/secret?%73ervice=/hdfs2", nil, 403},
		{"scheduler", "/secret?service=", nil, 200},
		{"scheduler", "/secret?service", nil, 200},
		{"scheduler", "/hdfs/secret?service", nil, 403},
		{"scheduler", "/hdfs/secret?service=/hdfs&service=/hdfs", nil, 400},
		{"scheduler", "/hdfs/secret?service=/hdfs", svc("/hdfs"), 400},
		{"scheduler", "/hdfs/secret?service=/hdfs", svc("/hdfs2"), 400},
		{"scheduler", "/hdfs/secret", svc("/hdfs", "/hdfs"), 400},
		{"scheduler", "/hdfs/secret", svc("/hdfs, /hdfs"), 400},
		{"scheduler", "/hdfs/secret", svc("/../hdfs"), 400},
		{"scheduler", "/hdfs/secret", svc("/hdfs//x"), 400},
		{"scheduler", "/hdfs/secret", svc("a..b"), 400},
		{"scheduler", "/hdfs/secret?service=%zz", nil, 400},
		{"scheduler", "/hdfs/secret?x=1;service=/hdfs", nil, 400},
		{"scheduler", "/hdfs/none", svc("/hdfs"), 404},
		{"scheduler", "/hdfs/none", svc("/hdfs2"), 403},
		{"scheduler", "?list=true", svc("/hdfs"), 400},
		{"alice", "/hdfs/secret", svc("/hdfs"), 200},
		{"alice", "/hdfs/secret", svc("/hdfs2"), 403},
		{"alice", "?list=true", svc("/hdfs"), 400},
		{"alice", "?list=true&service=/hdfs", nil, 400},
		{"nobody", "/hdfs/secret", svc("/hdfs"), 403},
	} {
		got := e.want(req{method: "GET", path: base + row.path, uid: row.uid, header: row.header}, row.status)
		if row.status == 403 && row.uid == "alice" && !strings.Contains(got.body, "secret is not accessible from service /hdfs2") {
			t.Errorf("%s %v: body %s", row.path, row.header, got.body)
		}
	}
	e.want(req{method: "HEAD", path: base + "/hdfs/secret", uid: "scheduler", header: svc("/hdfs")}, 200)
	for _, q := range []req{
		{method: "PUT", path: base + "/hdfs/new", body: `{"value":"v"}`},
		{method: "PATCH", path: base + "/hdfs/secret", body: `{"value":"v"}`},
		{method: "DELETE", path: base + "/hdfs/secret"},
		{method: "GET", path: "/secrets/v1/store"},
		{method: "PUT", path: "/secrets/v1/seal/default"},
		{method: "GET", path: "/secrets/v1/ping"},
		{method: "GET", path: "/live"},
		{method: "GET", path: "/ready"},
		{method: "GET", path: "/metrics"},
		{method: "GET", path: "/"},
	} {
		q.uid, q.header = "root", svc("/hdfs")
		e.want(q, 400)
		q.header, q.path = nil, q.path+"?service=/hdfs"
		e.want(q, 400)
	}
	// A token that is bound may name its own service only.
	e.want(req{method: "GET", path: base + "/hdfs/secret", uid: "x", service: "/hdfs"}, 200)
	e.want(req{method: "GET", path: base + "/hdfs/secret", uid: "x", service: "/hdfs", header: svc("/hdfs")}, 200)
	e.want(req{method: "GET", path: base + "/secret", uid: "x", service: "/hdfs", header: svc("/other")}, 403, "secret is not accessible from service /other")
	e.want(req{method: "GET", path: base + "/group/secret", uid: "root", service: "/hdfs"}, 403, "secret is not accessible from service /hdfs")
}

func TestForbiddenDoesNotRevealWhetherTheSecretExists(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("there", "v")
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		there := e.want(req{method: method, path: base + "/there", uid: "nobody", body: `{"value":"v"}`}, 403)
		missing := e.want(req{method: method, path: base + "/other", uid: "nobody", body: `{"value":"v"}`}, 403)
		if strings.ReplaceAll(there.body, "there", "other") != missing.body {
			t.Errorf("%s: %s and %s", method, there.body, missing.body)
		}
	}
}

func TestClientErrorsAreSentinels(t *testing.T) {
	e := newEdge(t, edgeOptions{maxSize: 10})
	ctx, alice := t.Context(), e.api("alice")
	_, err := alice.Get(ctx, "none", client.GetOptions{})
	wantIs(t, "missing", err, client.ErrNotFound)
	must(t, alice.CreateText(ctx, "a", wire.SecretWrite{Value: "v"}))
	wantIs(t, "exists", alice.CreateText(ctx, "a", wire.SecretWrite{Value: "v"}), client.ErrExists)
	wantIs(t, "large", alice.UpdateText(ctx, "a", wire.SecretWrite{Value: "01234567890"}), client.ErrTooLarge)
	wantIs(t, "not text", alice.UpdateText(ctx, "a", wire.SecretWrite{Value: "\xff"}), client.ErrNotText)
	wantIs(t, "denied", e.api("nobody").Delete(ctx, "a"), client.ErrDenied)
	wantIs(t, "path", alice.Delete(ctx, "a/../b c"), client.ErrNotFound)
	bare, err := client.New(client.Config{Server: e.url + "/secrets/v1/"})
	must(t, err)
	defer bare.Close()
	_, err = bare.List(ctx, "")
	wantIs(t, "no token", err, client.ErrUnauthorized)
	must(t, bare.Ping(ctx))
	must(t, bare.Ready(ctx))
	e.sealStore()
	_, err = alice.Get(ctx, "a", client.GetOptions{})
	wantIs(t, "sealed", err, client.ErrSealed)
	wantIs(t, "sealed", err, client.ErrUnavailable)
	wantIs(t, "ready", bare.Ready(ctx), client.ErrSealed)
	var problem *client.Error
	if !errors.As(err, &problem) || problem.RequestID == "" || problem.Status != 503 {
		t.Errorf("%#v", problem)
	}
}

func wantIs(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: %v, want %v", what, err, target)
	}
}

// namelessAuth accepts every token, without a user id.
type namelessAuth struct{}

func (namelessAuth) Verify(string) (acl.Principal, error) { return acl.Principal{}, nil }

func TestAPrincipalWithoutUIDIsRefused(t *testing.T) {
	e := newEdge(t, edgeOptions{auth: namelessAuth{}})
	e.want(req{method: "GET", path: "/secrets/v1/store", uid: "root"}, 401)
}
