package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"secretstore/acl"
	"secretstore/api/wire"
	"secretstore/iam"
)

// TestReadsPolicyQueriesAndExplanationsAgree: with random grants of the policy file,
// of an account and of its group, reading a secret, policyquery in each spelling of
// the resource, explain and who-can say the same.
func TestReadsPolicyQueriesAndExplanationsAgree(t *testing.T) {
	e := newDirectory(t)
	paths := []string{"a", "a/b", "a/b/c", "ab"}
	for _, path := range paths {
		e.put(path, "v")
	}
	resources := []string{
		"dcos:secrets:default:/a", "dcos:secrets:default:/a/*", "dcos:secrets:default:/a*", "dcos:secrets:default:/a/b", "dcos:secrets:default:/a/b/*",
		"dcos:secrets:default:/ab", "dcos:secrets:default:*", "dcos:secrets:*", "dcos:secrets:list:default:/a", "dcos:secrets:resolve:default:/*", "dcos:superuser",
	}
	actions := []string{"read", "full", "update", "create", "delete"}
	type granted struct{ resource, action, holder string }
	some := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) granted {
		return granted{rapid.SampledFrom(resources).Draw(t, "resource"), rapid.SampledFrom(actions).Draw(t, "action"), rapid.SampledFrom([]string{"file", "user", "group"}).Draw(t, "holder")}
	}), 0, 5, rapid.ID)
	rapid.Check(t, func(t *rapid.T) {
		grants := some.Draw(t, "grants")
		policy, known := policyAndDirectory(t, func(holder string) (of [][2]string) {
			for _, g := range grants {
				if g.holder == holder {
					of = append(of, [2]string{g.resource, g.action})
				}
			}
			return of
		})
		e.iam.mu.Lock()
		e.iam.dir = known
		e.iam.mu.Unlock()
		e.policy.Store(policy.WithSuperusers("root").WithGrants(known))

		path, action := rapid.SampledFrom(paths).Draw(t, "path"), "read"
		if rapid.Bool().Draw(t, "another action") {
			action = rapid.SampledFrom([]string{"update", "create", "delete"}).Draw(t, "action")
		}
		about := "action=" + action + "&path=" + url.QueryEscape(path)
		var x wire.Explanation
		if res := e.get(explainPath+"?"+about+"&uid=u", "root"); res.status != 200 || json.Unmarshal([]byte(res.body), &x) != nil {
			t.Fatalf("explain: %d %s", res.status, res.body)
		}
		if read := e.get(base+"/"+path, "u"); action == "read" && (read.status == 200) != x.Allowed {
			t.Fatalf("read: %d, explained %+v", read.status, x)
		}
		slash := rapid.SampledFrom([]string{"/", "%2F", "%252F"}).Draw(t, "slash")
		rid := "dcos:secrets:default:" + slash + strings.ReplaceAll(path, "/", slash)
		var query struct {
			Allowed bool `json:"allowed"`
		}
		if res := e.get(iamBase+"/internal/policyquery?uid=u&action="+action+"&rid="+rid, "root"); res.status != 200 || json.Unmarshal([]byte(res.body), &query) != nil || query.Allowed != x.Allowed {
			t.Fatalf("policyquery %s: %d %s, explained %+v", rid, res.status, res.body, x)
		}
		var who wire.WhoCan
		if res := e.get("/secrets/v1/who-can?"+about, "root"); res.status != 200 || json.Unmarshal([]byte(res.body), &who) != nil || slices.Contains(who.Users, "u") != x.Allowed {
			t.Fatalf("who-can: %d %s, explained %+v", res.status, res.body, x)
		}
		// A stranger has no rights by those of others.
		if res := e.get(iamBase+"/internal/policyquery?uid=v&action="+action+"&rid="+rid, "root"); !strings.Contains(res.body, "false") {
			t.Fatalf("a stranger: %s", res.body)
		}
	})
}

// policyAndDirectory returns the grants of the policy file, and those of the account u
// and its group g.
func policyAndDirectory(t *rapid.T, of func(holder string) [][2]string) (*acl.Policy, *iam.Directory) {
	file := "users:\n  u:\n    \"dcos:secrets:default:/none\": [read]\n"
	byResource := map[string][]string{}
	for _, g := range of("file") {
		byResource[g[0]] = append(byResource[g[0]], g[1])
	}
	for resource, actions := range byResource {
		file += fmt.Sprintf("    %q: [%s]\n", resource, strings.Join(actions, ", "))
	}
	policy, err := acl.ParsePolicy([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	by := iam.Origin{By: "root", At: time.Unix(1, 0)}
	d := newFakeIAM().dir
	do := func(c iam.Change, err error) {
		if err != nil {
			t.Fatal(err)
		}
		d = d.With(c.Put, c.Remove...)
	}
	do(d.CreateUser(iam.User{UID: "u", Hash: "x"}, by))
	do(d.CreateGroup("g", "", iam.Internal, by))
	do(d.AddMember("g", "u", by))
	for holder, to := range map[string]iam.Holder{"user": iam.OfUser("u"), "group": iam.OfGroup("g")} {
		for _, g := range of(holder) {
			rid, err := iam.ParseRID(g[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.ACL(rid); err != nil {
				do(d.CreateACL(rid, rid.String(), "", by))
			}
			action, err := acl.ParseAction(g[1])
			if err != nil {
				t.Fatal(err)
			}
			do(d.Grant(rid, to, action, time.Time{}, by))
		}
	}
	return policy, d
}
