package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/seal"
)

const undelete = "/secrets/v1/undelete/default"

func (e *edge) versions(path string) wire.Versions {
	e.t.Helper()
	got := e.want(req{method: "GET", path: base + path + "?versions=true", uid: "alice"}, 200)
	var doc wire.Versions
	must(e.t, json.Unmarshal([]byte(got.body), &doc))
	return doc
}

func TestVersionsOverHTTP(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	etags := map[uint64]string{}
	etags[1] = e.want(req{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"one"}`}, 201).header.Get("ETag")
	etags[2] = e.want(req{method: "PATCH", path: base + "/a", uid: "alice", header: octets, body: "\xff"}, 204).header.Get("ETag")
	etags[3] = e.want(req{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"three","description":"d"}`}, 204).header.Get("ETag")

	doc := e.versions("/a")
	if len(doc.Versions) != 3 || doc.Deleted != nil {
		t.Fatalf("%+v", doc)
	}
	for i, v := range doc.Versions {
		want := wire.Version{Version: uint64(3 - i), ETag: etags[uint64(3-i)], Written: v.Written, Kind: "text", Bytes: []uint64{5, 1, 3}[i], Current: i == 0}
		if i == 1 {
			want.Kind = "binary"
		}
		if v != want || v.Written == nil {
			t.Errorf("%+v, want %+v", v, want)
		}
	}
	e.want(req{method: "GET", path: base + "/a?versions=true", uid: "alice"}, 200, `"deleted":null`, `"written":"20`)

	for version, want := range map[uint64]string{1: `"one"`, 2: "\xff", 3: `"three"`} {
		got := e.want(req{method: "GET", path: fmt.Sprintf("%s/a?version=%d", base, version), uid: "alice"}, 200, want)
		if got.header.Get("ETag") != etags[version] {
			t.Errorf("version %d: ETag %q", version, got.header.Get("ETag"))
		}
		e.want(req{method: "HEAD", path: fmt.Sprintf("%s/a?version=%d", base, version), uid: "alice", header: http.Header{"If-None-Match": {etags[version]}}}, 304)
	}
	e.want(req{method: "GET", path: base + "/a?version=2", uid: "alice", header: http.Header{"Accept": {"application/json"}}}, 400, "Unsupported Accept header")
	for query, words := range map[string]string{"version=4": "does not exist", "version=18446744073709551615": "number", "version=0": "number",
		"version=x": "number", "version=": "number", "version=1&version=1": "number", "version=1&versions=true": "contradictory", "list=true&versions=true": "contradictory"} {
		status := 400
		if query == "version=4" {
			status = 404
		}
		e.want(req{method: "GET", path: base + "/a?" + query, uid: "alice"}, status, words)
	}
	// purge means nothing to a GET.
	e.want(req{method: "GET", path: base + "/a?versions=false&purge=yes", uid: "alice"}, 200, `"three"`)

	e.want(req{method: "DELETE", path: base + "/a?version=3", uid: "alice"}, 400, "PATCH")
	e.want(req{method: "DELETE", path: base + "/a?version=9", uid: "alice"}, 404, "does not exist")
	e.want(req{method: "DELETE", path: base + "/a?version=1", uid: "alice", header: http.Header{"If-Match": {etags[1]}}}, 412)
	e.want(req{method: "DELETE", path: base + "/a?version=1", uid: "alice", header: http.Header{"If-Match": {etags[3]}}}, 204)
	e.want(req{method: "GET", path: base + "/a?version=1", uid: "alice"}, 404, "does not exist")
	if got := e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200).header.Get("ETag"); got != etags[3] {
		t.Errorf("removing an earlier version changed the ETag to %q", got)
	}
}

func TestUndeleteAndPurgeOverHTTP(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	put := req{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"one"}`}
	e.want(put, 201)
	etag := e.want(req{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"two"}`}, 204).header.Get("ETag")
	e.want(req{method: "PUT", path: undelete + "/a", uid: "alice"}, 409, "already exists")
	e.want(req{method: "DELETE", path: base + "/a", uid: "alice"}, 204)

	if doc := e.versions("/a"); len(doc.Versions) != 2 || doc.Deleted == nil || doc.Versions[0].Current {
		t.Errorf("of a deleted secret: %+v", doc)
	}
	e.want(req{method: "GET", path: base + "/a?version=2", uid: "alice"}, 404, "does not exist")
	e.want(req{method: "GET", path: base + "?list=true", uid: "alice"}, 200, `{"array":[]}`)
	e.want(req{method: "DELETE", path: base + "/a?version=2", uid: "alice"}, 400)
	e.want(req{method: "DELETE", path: base + "/a?version=1", uid: "alice"}, 204)

	back := e.want(req{method: "PUT", path: undelete + "//a/", uid: "alice"}, 204)
	if back.header.Get("ETag") != etag || back.body != "" {
		t.Errorf("undeleted as %q", back.header.Get("ETag"))
	}
	e.want(req{method: "GET", path: base + "/a", uid: "alice", header: http.Header{"If-Match": {etag}}}, 200, `"two"`)
	e.want(req{method: "PUT", path: undelete + "/none", uid: "alice"}, 404, "a deleted secret of this name does not exist")

	// A create ignores the deleted secret, and then blocks its undelete.
	e.want(req{method: "DELETE", path: base + "/a", uid: "alice"}, 204)
	e.want(put, 201)
	e.want(req{method: "PUT", path: undelete + "/a", uid: "alice"}, 409, "already exists")
	e.want(req{method: "DELETE", path: base + "/a?purge=true", uid: "alice", header: http.Header{"If-Match": {etag}}}, 412)
	for _, odd := range []string{"purge", "purge=True", "purge=1", "purge=false&purge="} {
		e.want(req{method: "DELETE", path: base + "/a?" + odd, uid: "alice"}, 400, "purge must be")
	}
	e.want(req{method: "DELETE", path: base + "/a?purge=true", uid: "alice"}, 204)
	gone := []req{
		{method: "GET", path: base + "/a", uid: "alice"},
		{method: "GET", path: base + "/a?versions=true", uid: "alice"},
		{method: "DELETE", path: base + "/a?purge=true", uid: "alice"},
		{method: "PUT", path: undelete + "/a", uid: "alice"},
	}
	for _, q := range gone {
		e.want(q, 404, "does not exist")
	}
	// One that is deleted already can be purged too.
	e.want(put, 201)
	e.want(req{method: "DELETE", path: base + "/a", uid: "alice"}, 204)
	e.want(req{method: "DELETE", path: base + "/a?purge=true", uid: "alice"}, 204)
	for _, q := range gone {
		e.want(q, 404, "does not exist")
	}
}

// TestWhoMayDoWhatWithVersions: the permission of what is done, and no service.
func TestWhoMayDoWhatWithVersions(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("group/s", "one")
	e.want(req{method: "PATCH", path: base + "/group/s", uid: "alice", body: `{"value":"two"}`}, 204)
	requests := map[string]req{ // by the permission that each needs
		"version":  {method: "GET", path: base + "/group/s?version=1"},
		"versions": {method: "GET", path: base + "/group/s?versions=true"},
		"undelete": {method: "PUT", path: undelete + "/group/s"},
		"purge":    {method: "DELETE", path: base + "/group/s?purge=true"},
		"remove":   {method: "DELETE", path: base + "/group/s?version=1"},
	}
	for name, q := range requests {
		reads := strings.HasPrefix(name, "version")
		for uid, allowed := range map[string]bool{"reader": reads, "lister": false, "scheduler": false, "nobody": false} {
			q.uid, q.service, q.header = uid, "", nil
			if got := e.do(q); allowed != (got.status == 200) || !allowed && got.status != 403 {
				t.Errorf("%s: %s: %d", uid, name, got.status)
			}
		}
		q.uid, q.service = "reader", "/group"
		e.want(q, 403, "bound to a service")
		q.uid, q.service, q.header = "alice", "", http.Header{"X-Service-Id": {"/group"}}
		e.want(q, 400, "service")
		q.uid, q.header = "", nil
		e.want(q, 401)
	}
	e.sealStore()
	for _, q := range requests {
		q.uid = "alice"
		e.want(q, 503, "sealed")
	}
	seen := map[string]bool{}
	for _, line := range e.auditLines() {
		seen[fmt.Sprint(line["endpoint"], " ", line["action"])] = true
	}
	for _, want := range []string{"secret.version read", "secret.versions read", "secret.undelete create", "secret.purge delete", "secret.version.delete delete"} {
		if !seen[want] {
			t.Errorf("not in the audit log: %s", want)
		}
	}
}

// TestDeletedSecretsAreListedOverHTTP: for the users who may list the folder, and
// nobody else.
func TestDeletedSecretsAreListedOverHTTP(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, p := range []string{"group/a", "group/b/c", "group/live", "other/d", "top"} {
		e.put(p, "v")
		if p != "group/live" {
			e.want(req{method: "DELETE", path: base + "/" + p, uid: "alice"}, 204)
		}
	}
	for query, want := range map[string]string{
		"?deleted=true":                      `{"array":["group/a","group/b/c","other/d","top"]}`,
		"/group?deleted=true":                `{"array":["a","b/c"]}`,
		"/group?deleted=true&limit=1":        `{"array":["a"],"next":"a"}`,
		"/group?deleted=true&after=a":        `{"array":["b/c"]}`,
		"/nothing?deleted=true":              `{"array":[]}`,
		"/group?list=true&deleted=false":     `{"array":["live"]}`,
		"/group?deleted=true&versions=false": `{"array":["a","b/c"]}`,
	} {
		if got := e.want(req{method: "GET", path: base + query, uid: "alice"}, 200); got.body != want {
			t.Errorf("%s: %s, want %s", query, got.body, want)
		}
	}
	for query, words := range map[string]string{"deleted=yes": "deleted must be true or false", "deleted=true&list=true": "contradictory",
		"deleted=true&limit=0": "limit", "deleted=true&service=/x": "service"} {
		e.want(req{method: "GET", path: base + "/group?" + query, uid: "alice"}, 400, words)
	}
	q := req{method: "GET", path: base + "/group?deleted=true"}
	for uid, status := range map[string]int{"lister": 200, "reader": 403, "scheduler": 403, "nobody": 403, "": 401} {
		q.uid = uid
		if got := e.do(q); got.status != status || status != 200 && strings.Contains(got.body, "b/c") {
			t.Errorf("%q: %d %s", uid, got.status, got.body)
		}
	}
	q.path, q.uid = base+"?deleted=true", "lister"
	e.want(q, 403, "dcos:secrets:list:default:/")
	q.path, q.uid, q.service = base+"/group?deleted=true", "reader", "/group"
	e.want(q, 403, "bound to a service")

	c := e.api("alice")
	names, err := c.ListDeleted(t.Context(), "group")
	must(t, err)
	if got := strings.Join(names, " "); got != "a b/c" {
		t.Errorf("the client lists %q", got)
	}
	must(t, c.Purge(t.Context(), "group/a"))
	_, err = c.Undelete(t.Context(), "group/b/c")
	must(t, err)
	if names, err = c.ListDeleted(t.Context(), "group"); err != nil || len(names) != 0 {
		t.Errorf("after a purge and an undelete: %q, %v", names, err)
	}
	e.sealStore()
	e.want(req{method: "GET", path: base + "?deleted=true", uid: "alice"}, 503, "sealed")
	seen := map[any]bool{}
	for _, line := range e.auditLines() {
		seen[line["endpoint"]] = true
	}
	if !seen["secret.list.deleted"] {
		t.Error("not in the audit log")
	}
}

// TestDeletedListComesInPages: no page is long, whatever the limit, and the client
// reads all of them.
func TestDeletedListComesInPages(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	for i := range seal.MaxDeletedPage + 5 {
		name := fmt.Sprintf("many/s%04d", i)
		p, err := acl.ParsePath(name)
		must(t, err)
		_, err = e.store.Create(t.Context(), p, seal.Change{Kind: seal.Text, Value: []byte("v")})
		must(t, err)
		must(t, e.store.Delete(t.Context(), p, nil))
	}
	got := e.want(req{method: "GET", path: base + "/many?deleted=true&limit=10000", uid: "alice"}, 200)
	var page wire.List
	must(t, json.Unmarshal([]byte(got.body), &page))
	if len(page.Array) != seal.MaxDeletedPage || page.Next != page.Array[seal.MaxDeletedPage-1] {
		t.Errorf("%d names, next %q", len(page.Array), page.Next)
	}
	names, err := e.api("alice").ListDeleted(t.Context(), "many")
	must(t, err)
	if len(names) != seal.MaxDeletedPage+5 {
		t.Errorf("the client has %d names", len(names))
	}
}

func TestClientVersions(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	ctx, c := t.Context(), e.api("alice")
	e.put("a/b", "one")
	must(t, c.UpdateText(ctx, "a/b", wire.SecretWrite{Value: "two"}))
	versions, err := c.Versions(ctx, "a/b")
	must(t, err)
	old, err := c.Get(ctx, "a/b", client.GetOptions{Version: 1})
	must(t, err)
	if len(versions.Versions) != 2 || string(old.Value) != "one" || old.ETag != versions.Versions[1].ETag {
		t.Errorf("%+v, %+v", versions, old)
	}
	must(t, c.DeleteVersion(ctx, "a/b", 1))
	wantIs(t, "a version that is gone", c.DeleteVersion(ctx, "a/b", 1), client.ErrNotFound)
	wantIs(t, "the current version", c.DeleteVersion(ctx, "a/b", 2), client.ErrBadRequest)
	must(t, c.Delete(ctx, "a/b"))
	back, err := c.Undelete(ctx, "a/b")
	must(t, err)
	if want := versions.Versions[0]; back.Version != 2 || back.ETag != want.ETag {
		t.Errorf("undeleted %+v, want %+v", back, want)
	}
	_, err = c.Undelete(ctx, "a/b")
	wantIs(t, "undelete of what is there", err, client.ErrExists)
	must(t, c.Purge(ctx, "a/b"))
	_, err = c.Undelete(ctx, "a/b")
	wantIs(t, "undelete after a purge", err, client.ErrNotFound)
}

// TestWritesNameTheirVersion asks the client, whose answers come from a header.
func TestWritesNameTheirVersion(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	ctx, c := t.Context(), e.api("alice")
	for i, write := range []func() (client.Written, error){
		func() (client.Written, error) { return c.Create(ctx, "a", client.Value{Data: []byte("one")}) },
		func() (client.Written, error) {
			return c.Update(ctx, "a", client.Value{Data: []byte{0xff}, Binary: true})
		},
		func() (client.Written, error) {
			read, err := c.Get(ctx, "a", client.GetOptions{})
			must(t, err)
			return c.IfMatch(read.ETag).Update(ctx, "a", client.Value{Data: []byte("three")})
		},
	} {
		got, err := write()
		must(t, err)
		read, err := c.Get(ctx, "a", client.GetOptions{})
		must(t, err)
		if got.Version != uint64(i)+1 || got.ETag == "" || got.ETag != read.ETag {
			t.Errorf("write %d: %+v, want the ETag %s", i+1, got, read.ETag)
		}
	}
}
