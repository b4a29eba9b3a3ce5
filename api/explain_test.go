package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"secretstore/acl"
	"secretstore/api/wire"
)

const explainPath = "/secrets/v1/explain"

// get makes a GET.
func (e *edge) get(path, uid string) res {
	e.t.Helper()
	return e.do(req{method: http.MethodGet, path: path, uid: uid})
}

func explained(t testing.TB, e *edge, uid, query string) wire.Explanation {
	t.Helper()
	res := e.get(explainPath+"?"+query, uid)
	var out wire.Explanation
	if res.status != http.StatusOK || json.Unmarshal([]byte(res.body), &out) != nil {
		t.Fatalf("%s asks %s: %d %s", uid, query, res.status, res.body)
	}
	return out
}

func TestUsersLearnWhyTheyMayReadASecret(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	x := explained(t, e, "reader", "action=read&path=group%2Fs")
	want := []wire.GrantReason{{Resource: "dcos:secrets:default:/group/*", Action: "read", Source: wire.SourcePolicyFile, Line: 4}}
	if !x.Allowed || x.UID != "reader" || x.Reason != acl.ReasonGranted || !slices.Equal(x.Grants, want) || x.Missing != nil {
		t.Errorf("reader: %+v", x)
	}
	x = explained(t, e, "reader", "action=update&path=/group//s/&uid=reader")
	if x.Allowed || x.Path != "group/s" || x.Grants != nil || !slices.Equal(x.Missing, []wire.MissingPermission{{Resource: "dcos:secrets:default:/group/s", Action: "update"}}) {
		t.Errorf("reader, update: %+v", x)
	}
	x = explained(t, e, "root", "uid=scheduler&action=read&path=group/s&service=/group/app")
	if !x.Allowed || x.Service != "/group/app" || x.Reason != acl.ReasonOnBehalf || len(x.Grants) != 1 {
		t.Errorf("scheduler: %+v", x)
	}
	x = explained(t, e, "root", "uid=scheduler&action=read&path=group/s&service=/other")
	if x.Allowed || x.Reason != "secret is not accessible from service /other" || x.Missing != nil {
		t.Errorf("scheduler for another: %+v", x)
	}
	x = explained(t, e, "root", "uid=task&action=read&path=group/s&bound=/group/app")
	if !x.Allowed || x.Bound != "/group/app" || x.Grants != nil || x.Reason != acl.ReasonOwnSpace {
		t.Errorf("bound: %+v", x)
	}
	if x = explained(t, e, "root", "action=administer"); !x.Allowed || x.Grants[0].Source != wire.SourceServerFlag {
		t.Errorf("root: %+v", x)
	}
}

func TestOnlySuperusersAskAboutOthers(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, row := range []struct {
		path, uid string
		status    int
	}{
		{explainPath + "?action=read&path=a", "reader", 200},
		{explainPath + "?action=read&path=a&uid=reader", "reader", 200},
		{explainPath + "?action=read&path=a&uid=reader", "stranger", 403},
		{explainPath + "?action=read&path=a&uid=", "reader", 403},
		{explainPath + "?action=read&path=a&uid=reader&uid=root", "reader", 403},
		{explainPath + "?action=read&path=a&uid=root&uid=reader", "reader", 400},
		{explainPath + "?action=read&path=a&uid=reader", "root", 200},
		{explainPath + "?action=read&path=a&uid=%0A", "root", 400},
		{explainPath + "?action=read&path=a&bound=a//b", "root", 400},
		{explainPath + "?action=reads&path=a", "reader", 400},
		{explainPath + "?action=read", "reader", 404},
		{explainPath + "?action=update&path=a&service=/a", "reader", 400},
		{explainPath + "?action=read&path=a", "", 401},
		{"/secrets/v1/who-can?action=read&path=a", "root", 200},
		{"/secrets/v1/who-can?action=read&path=a", "reader", 403},
		{"/secrets/v1/who-can?action=read&path=a&path=b", "root", 400},
		{"/secrets/v1/who-can?action=read&path=a&service=/a", "root", 400},
	} {
		if res := e.get(row.path, row.uid); res.status != row.status {
			t.Errorf("%s asks %s: %d %s", row.uid, row.path, res.status, res.body)
		}
	}
	if res := e.do(req{method: http.MethodGet, path: explainPath + "?action=read&path=a", uid: "task", service: "/a"}); res.status != http.StatusForbidden {
		t.Errorf("a bound token: %d", res.status)
	}
}

func TestARefusalNamesThePermissionInAHeader(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for path, want := range map[string]string{
		base + "/other/s":                                 "dcos:secrets:default:/other/s read",
		base + "?list=true":                               "dcos:secrets:list:default:/ read",
		"/secrets/v1/keys/default":                        "dcos:superuser full",
		base + "/group/s?service=/other":                  "",
		base + "/other/s?service=/other":                  "dcos:secrets:default:/other/s read",
		"/secrets/v1/who-can?action=read&path=a":          "dcos:superuser full",
		explainPath + "?action=read&path=a&uid=scheduler": "dcos:superuser full",
	} {
		res := e.get(path, "reader")
		if got := res.header.Get(wire.RequiredPermissionHeader); res.status != http.StatusForbidden || got != want {
			t.Errorf("%s: %d, %q", path, res.status, got)
		}
	}
	if res := e.get(base+"/group/none", "reader"); res.header.Get(wire.RequiredPermissionHeader) != "" {
		t.Error("an answer that is not a refusal has the header")
	}
}

func TestWhoCanReadASecret(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	policy, err := acl.ParsePolicy([]byte(policyText + `groups: {ops: {members: [carol], grants: {"dcos:secrets:default:/group/s": [full]}}}`))
	must(t, err)
	e.policy.Store(policy.WithSuperusers("root"))
	res := e.get("/secrets/v1/who-can?action=read&path=group/s", "root")
	const want = `{"action":"read","path":"group/s","users":["alice","carol","reader","root"],"groups":[{"group":"ops","source":"policy-file"}],` +
		`"on_behalf":[{"uid":"scheduler","services":["/*"]}],"services":"/group"}`
	if res.body != want {
		t.Errorf("%s\nwant %s", res.body, want)
	}
	e.policy.Store((*acl.Policy)(nil).WithSuperusers("root"))
	if res := e.get("/secrets/v1/who-can?action=list&path=", "root"); res.body != `{"action":"list","path":"","users":["root"],"groups":[]}` {
		t.Errorf("list: %s", res.body)
	}
}

// TestReadsAndExplanationsAgree asks for secrets, and why, as users with random
// grants.
func TestReadsAndExplanationsAgree(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	paths := []string{"a", "a/b", "a/b/c", "ab"}
	for _, path := range paths {
		e.put(path, "v")
	}
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		text.WriteString("users:\n  u:\n    \"dcos:secrets:default:/none\": [read]\n")
		ids := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
			"dcos:secrets:default:/a", "dcos:secrets:default:/a/*", "dcos:secrets:default:/a*", "dcos:secrets:resolve:default:/a",
			"dcos:secrets:resolve:default:/*", "dcos:secrets:default:/a/b", "dcos:superuser", "dcos:secrets:list:default:/",
		}), 0, 3, rapid.ID).Draw(t, "resources")
		for _, id := range ids {
			fmt.Fprintf(&text, "    %q: [%s]\n", id, rapid.SampledFrom([]string{"read", "full", "update"}).Draw(t, "action"))
		}
		policy, err := acl.ParsePolicy([]byte(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		e.policy.Store(policy.WithSuperusers("root"))
		path := rapid.SampledFrom(paths).Draw(t, "path")
		query := ""
		if service := rapid.SampledFrom([]string{"", "/a", "/a/b", "/x"}).Draw(t, "service"); service != "" {
			query = "service=" + url.QueryEscape(service)
		}
		read := e.get(base+"/"+path+"?"+query, "u")
		why := e.get(explainPath+"?action=read&path="+url.QueryEscape(path)+"&"+query, "u")
		var x wire.Explanation
		if why.status != http.StatusOK || json.Unmarshal([]byte(why.body), &x) != nil {
			t.Fatalf("explain: %d %s", why.status, why.body)
		}
		if (read.status == http.StatusOK) != x.Allowed || read.status != http.StatusOK && read.status != http.StatusForbidden {
			t.Fatalf("%s %s: read %d, explained %s", path, query, read.status, why.body)
		}
		if query != "" {
			return
		}
		var who wire.WhoCan
		if res := e.get("/secrets/v1/who-can?action=read&path="+url.QueryEscape(path), "root"); json.Unmarshal([]byte(res.body), &who) != nil || slices.Contains(who.Users, "u") != x.Allowed {
			t.Fatalf("%s: who-can %s, explained %s", path, res.body, why.body)
		}
	})
}

// FuzzExplain: no question makes the server fail, and a user who is not a
// superuser learns about others.
func FuzzExplain(f *testing.F) {
	for _, s := range []string{"action=read&path=a", "action=list&path=", "uid=root&action=read&path=a", "action=resolve&service=/a", "bound=%2F&action=read&path=a/b", "action=%zz", "uid=reader&uid=root", "path=a;uid=root"} {
		f.Add(s)
	}
	e := newEdge(f, edgeOptions{})
	f.Fuzz(func(t *testing.T, query string) {
		u := url.URL{RawQuery: query}
		if strings.ContainsAny(query, " \r\n#") || u.RawQuery == "" {
			return
		}
		req, err := http.NewRequest(http.MethodGet, e.url+explainPath+"?"+query, nil)
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "token="+tokenOf(t, "reader", ""))
		res, err := e.client.Do(req)
		if err != nil {
			return
		}
		defer res.Body.Close()
		switch res.StatusCode {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests:
		case http.StatusOK:
			var x wire.Explanation
			if json.UnmarshalRead(res.Body, &x) != nil || x.UID != "reader" {
				t.Fatalf("%q: reader learns of %q", query, x.UID)
			}
		default:
			t.Fatalf("%q: %d", query, res.StatusCode)
		}
	})
}
