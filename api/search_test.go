package api_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"secretstore/acl"
	"secretstore/api/wire"
)

// TestSearchOverHTTP: users find what they may list, and nothing else is returned or
// counted.
func TestSearchOverHTTP(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, p := range []string{"group/a", "group/b/c", "group/B2", "other/d", "other/bee", "top"} {
		e.put(p, "v")
	}
	for query, want := range map[string]string{
		"?search=b":                             `{"array":["group/B2","group/b/c","other/bee"],"matches":3,"total":6}`,
		"?search=B":                             `{"array":["group/B2","group/b/c","other/bee"],"matches":3,"total":6}`,
		"?search=b&limit=1":                     `{"array":["group/B2"],"next":"group/B2","matches":3,"total":6}`,
		"?search=b&limit=1&after=group%2FB2":    `{"array":["group/b/c"],"next":"group/b/c","matches":3,"total":6}`,
		"?search=b&after=group%2Fb%2Fc":         `{"array":["other/bee"],"matches":3,"total":6}`,
		"?search=UP%2Fb":                        `{"array":["group/B2","group/b/c"],"matches":2,"total":6}`,
		"?search":                               `{"array":["group/B2","group/a","group/b/c","other/bee","other/d","top"],"matches":6,"total":6}`,
		"?search=%00%3Cscript%3E":               `{"array":[],"matches":0,"total":6}`,
		"?search=%ff":                           `{"array":[],"matches":0,"total":6}`,
		"/group?search=group":                   `{"array":[],"matches":0,"total":3}`,
		"/group?search=c&list=false":            `{"array":["b/c"],"matches":1,"total":3}`,
		"/nothing?search=a":                     `{"array":[],"matches":0,"total":0}`,
		"?children=true":                        `{"array":[{"name":"group/","secrets":3},{"name":"other/","secrets":2},{"name":"top"}],"total":6}`,
		"?children=true&limit=1":                `{"array":[{"name":"group/","secrets":3}],"next":"group/","total":6}`,
		"?children=true&limit=1&after=group%2F": `{"array":[{"name":"other/","secrets":2}],"next":"other/","total":6}`,
		"/group?children=true":                  `{"array":[{"name":"B2"},{"name":"a"},{"name":"b/","secrets":1}],"total":3}`,
		"/group/a?children=true":                `{"array":[],"total":0}`,
	} {
		if got := e.want(req{method: "GET", path: base + query, uid: "alice"}, 200); got.body != want {
			t.Errorf("%s: %s, want %s", query, got.body, want)
		}
	}
	for query, words := range map[string]string{"search=a&list=true": "contradictory", "search=a&children=true": "contradictory", "children=yes": "children must be",
		"search=a&search=b": "once", "search=a&limit=0": "limit", "children=true&limit=10001": "limit", "search=%zz": "malformed query",
		"search=" + strings.Repeat("x", acl.MaxPathBytes+1): "longer", "search=a&service=/x": "service"} {
		e.want(req{method: "GET", path: base + "/group?" + query, uid: "alice"}, 400, words)
	}
	for _, form := range []string{"search=b", "children=true"} {
		q := req{method: "GET", path: base + "/group?" + form}
		for uid, status := range map[string]int{"lister": 200, "reader": 403, "scheduler": 403, "nobody": 403, "": 401} {
			q.uid = uid
			if got := e.do(q); got.status != status || status != 200 && strings.Contains(got.body, "B2") {
				t.Errorf("%q: %d %s", uid, got.status, got.body)
			}
		}
		// Below the root, lister may list one folder.
		q.path, q.uid = base+"?"+form, "lister"
		if got := e.want(q, 200, `"total":3`); strings.Contains(got.body, "other") || strings.Contains(got.body, "top") {
			t.Errorf("lister sees %s", got.body)
		}
		q.path, q.uid = base+"/other?"+form, "lister"
		if got := e.want(q, 403, "dcos:secrets:list:default:/other").header.Get("X-Required-Permission"); got != "dcos:secrets:list:default:/other read" {
			t.Errorf("required: %q", got)
		}
		q.path, q.uid, q.service = base+"/group?"+form, "reader", "/group"
		e.want(q, 403, "bound to a service")
	}
	c := e.api("lister")
	found, err := c.Search(t.Context(), "", "B/", "", 10)
	must(t, err)
	if len(found.Array) != 1 || found.Array[0] != "group/b/c" || found.Total != 3 || found.Matches != 1 {
		t.Errorf("the client finds %+v", found)
	}
	children, err := c.Children(t.Context(), "group", "B2", 1)
	must(t, err)
	if len(children.Array) != 1 || children.Array[0].Name != "a" || children.Next != "a" || children.Total != 3 {
		t.Errorf("the client reads the entries %+v", children)
	}
	e.sealStore()
	e.want(req{method: "GET", path: base + "?search=a", uid: "alice"}, 503, "sealed")
	seen := map[any]bool{}
	for _, line := range e.auditLines() {
		if name, _ := line["endpoint"].(string); strings.HasPrefix(name, "secret.list.") && line["outcome"] != "refused" {
			seen[name+" "+line["outcome"].(string)] = true
			if line["action"] != "read" || !strings.HasPrefix(line["resource"].(string), "dcos:secrets:list:default:/") {
				t.Errorf("audited as %v", line)
			}
		}
	}
	for _, want := range []string{"secret.list.search allowed", "secret.list.search denied", "secret.list.children allowed"} {
		if !seen[want] {
			t.Errorf("not in the audit log: %s", want)
		}
	}
}

// TestDetailsAreThoseOfSecretsThatMayBeRead: a page says of the others only their
// names, and takes one line in the audit log.
func TestDetailsAreThoseOfSecretsThatMayBeRead(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, p := range []string{"group/a", "group/b/c", "group/gone", "other/d"} {
		e.put(p, "CANARY-VALUE")
	}
	e.patch("alice", "group/a", "two")
	e.want(req{method: "DELETE", path: base + "/group/gone", uid: "alice"}, 204)
	policy, err := acl.ParsePolicy([]byte(`
users:
  some: {"dcos:secrets:list:default:/": [read], "dcos:secrets:default:/group/*": [read]}
  none: {"dcos:secrets:list:default:/": [read]}
`))
	must(t, err)
	e.policy.Store(policy)
	const a, other = `{"kind":"text","version":2,"written":TIME,"author":"alice"}`, `{"kind":"text","version":1,"written":TIME,"author":"alice"}`
	const gone = `{"kind":"text","version":1,"written":TIME,"author":"alice","deleted":TIME}`
	times := regexp.MustCompile(`"(written|deleted)":"[^"]+"`)
	before := len(e.auditLines())
	for query, want := range map[string][2]string{
		"?search&details=true":                {`{"array":["group/a","group/b/c","other/d"],"matches":3,"total":3`, `,"details":[` + a + `,` + other + `,null]`},
		"/group?children=true&details=true":   {`{"array":[{"name":"a"},{"name":"b/","secrets":1}],"total":2`, `,"details":[` + a + `,null]`},
		"/group?deleted=true&details=true":    {`{"array":["gone"]`, `,"details":[` + gone + `]`},
		"/group?search=A&details=false":       {`{"array":["a"],"matches":1,"total":2`, ""},
		"/nothing?children=true&details=true": {`{"array":[],"total":0`, ""},
	} {
		got := times.ReplaceAllString(e.want(req{method: "GET", path: base + query, uid: "some"}, 200).body, `"$1":TIME`)
		if got != want[0]+want[1]+"}" {
			t.Errorf("%s: %s", query, got)
		}
		nothing := strings.NewReplacer(a, "null", other, "null", gone, "null").Replace(want[1])
		if got := e.want(req{method: "GET", path: base + query, uid: "none"}, 200).body; got != want[0]+nothing+"}" {
			t.Errorf("%s, without reading: %s", query, got)
		}
	}
	if lines := len(e.auditLines()) - before; lines != 10 {
		t.Errorf("10 pages took %d lines of the audit log", lines)
	}
	for _, form := range []string{"search=a", "children=true", "deleted=true"} {
		for _, bad := range []string{"details=yes", "details", "details=true&details=true"} {
			e.want(req{method: "GET", path: base + "?" + form + "&" + bad, uid: "some"}, 400, "details must be true or false")
		}
	}
}

func TestPagesWithDetailsAreSmall(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for i := range wire.MaxDetailsLimit + 1 {
		e.put(fmt.Sprintf("many/%d", i), "v")
	}
	c := e.api("alice")
	found, err := c.Detailed().Search(t.Context(), "", "many", "", wire.MaxListLimit)
	must(t, err)
	children, err := c.Detailed().Children(t.Context(), "many", "", wire.MaxListLimit)
	must(t, err)
	const n = wire.MaxDetailsLimit
	if len(found.Array) != n || len(found.Details) != n || found.Details[n-1] == nil || found.Next == "" || len(children.Details) != n || children.Next == "" {
		t.Errorf("%d names found, %d details; %d details of entries", len(found.Array), len(found.Details), len(children.Details))
	}
}
