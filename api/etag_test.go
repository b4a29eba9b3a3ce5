package api_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"secretstore/api/client"
	"secretstore/api/wire"
)

const otherTag = `"00000000000000000000000000000000"`

func TestEveryWriteLeavesAnotherETag(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	seen := map[string]bool{}
	for _, write := range []req{
		{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"v"}`},
		{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"v"}`},
		{method: "DELETE", path: base + "/a", uid: "alice"},
		{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"v"}`},
	} {
		got := e.do(write)
		if write.method == "DELETE" {
			if got.header.Get("ETag") != "" {
				t.Errorf("a DELETE names a value: %v", got.header)
			}
			continue
		}
		etag := got.header.Get("ETag")
		if len(etag) != 34 || seen[etag] || got.body != "" {
			t.Errorf("%s: ETag %q, body %q", write.method, etag, got.body)
		}
		seen[etag] = true
		for _, method := range []string{"GET", "HEAD"} {
			if read := e.want(req{method: method, path: base + "/a", uid: "alice"}, 200); read.header.Get("ETag") != etag {
				t.Errorf("%s after %s: ETag %q, want %q", method, write.method, read.header.Get("ETag"), etag)
			}
		}
	}
}

func TestConditionalReads(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	etag := e.do(req{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"v"}`}).header.Get("ETag")
	for _, row := range []struct {
		name   string
		values []string
		status int
	}{
		{"If-None-Match", []string{etag}, 304},
		{"If-None-Match", []string{"W/" + etag}, 304},
		{"If-None-Match", []string{"*"}, 304},
		{"If-None-Match", []string{otherTag + ` ,, "a,b", W/` + etag + " "}, 304},
		{"If-None-Match", []string{otherTag, etag}, 304},
		{"If-None-Match", []string{otherTag}, 200},
		{"If-None-Match", []string{etag[1:33]}, 400},
		{"If-None-Match", []string{"*, " + etag}, 400},
		{"If-None-Match", []string{""}, 400},
		{"If-None-Match", []string{etag + etag}, 400},
		{"If-None-Match", []string{`w/` + etag}, 400},
		{"If-Match", []string{etag}, 200},
		{"If-Match", []string{"*"}, 200},
		{"If-Match", []string{"W/" + etag}, 412},
		{"If-Match", []string{otherTag}, 412},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			got := e.do(req{method: method, path: base + "/a", uid: "alice", header: http.Header{row.name: row.values}})
			if got.status != row.status {
				t.Errorf("%s with %s %q: %d, want %d", method, row.name, row.values, got.status, row.status)
			}
			if got.status == 304 && (got.body != "" || got.header.Get("ETag") != etag || got.header.Get("Content-Type") != "") {
				t.Errorf("304 with %q and %v", got.body, got.header)
			}
		}
	}
	// A missing secret and a missing permission are reported before the
	// condition.
	none := http.Header{"If-None-Match": {"*"}}
	e.want(req{method: "GET", path: base + "/none", uid: "alice", header: none}, 404)
	e.want(req{method: "GET", path: base + "/a", uid: "nobody", header: none}, 403)
	none["Accept"] = []string{"application/json;q=0"}
	e.want(req{method: "GET", path: base + "/a", uid: "alice", header: none}, 400)
	// A 304 is a read that was allowed.
	for _, line := range e.auditLines() {
		if line["status"] == float64(304) && (line["outcome"] != "allowed" || line["action"] != "read") {
			t.Errorf("audited as %v", line)
		}
	}
}

func TestConditionalWrites(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	put := func(header http.Header, status int) string {
		t.Helper()
		return e.want(req{method: "PUT", path: base + "/a", uid: "alice", body: `{"value":"v"}`, header: header}, status).header.Get("ETag")
	}
	match := func(tag string) http.Header { return http.Header{"If-Match": {tag}} }
	noneMatch := func(tag string) http.Header { return http.Header{"If-None-Match": {tag}} }
	put(match("*"), 412)
	e.want(req{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"v"}`, header: match("*")}, 404)
	etag := put(noneMatch("*"), 201)
	put(noneMatch("*"), 409)
	for _, method := range []string{"PATCH", "DELETE"} {
		body := ""
		if method == "PATCH" {
			body = `{"value":"w"}`
		}
		for _, h := range []http.Header{match(otherTag), match("W/" + etag), noneMatch("*"), noneMatch("W/" + etag), {"If-Match": {etag}, "If-None-Match": {etag}}} {
			e.want(req{method: method, path: base + "/a", uid: "alice", body: body, header: h}, 412, "read it again")
		}
		for _, h := range []http.Header{match(""), match("x"), noneMatch(`"`)} {
			e.want(req{method: method, path: base + "/a", uid: "alice", body: body, header: h}, 400, "malformed If-Match")
		}
	}
	e.want(req{method: "GET", path: base + "/a", uid: "alice", header: match(etag)}, 200, `"v"`)
	next := e.want(req{method: "PATCH", path: base + "/a", uid: "alice", body: `{"value":"w"}`, header: match(otherTag + "," + etag)}, 204).header.Get("ETag")
	e.want(req{method: "DELETE", path: base + "/a", uid: "alice", header: match(etag)}, 412)
	e.want(req{method: "DELETE", path: base + "/a", uid: "alice", header: match(next)}, 204)
	// The same value after a delete is another one.
	put(nil, 201)
	e.want(req{method: "DELETE", path: base + "/a", uid: "alice", header: match(next)}, 412)
}

// TestOneOfManyConditionalWritesWins lets all writers begin with the same ETag.
func TestOneOfManyConditionalWritesWins(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	ctx, c := t.Context(), e.api("alice")
	e.put("a", "first")
	read, err := c.Get(ctx, "a", client.GetOptions{})
	must(t, err)
	var won atomic.Int64
	var writers sync.WaitGroup
	for i := range 16 {
		writers.Go(func() {
			err := c.IfMatch(read.ETag).UpdateText(ctx, "a", wire.SecretWrite{Value: fmt.Sprint(i)})
			if err == nil {
				won.Add(1)
				return
			}
			wantIs(t, "a late writer", err, client.ErrChanged)
		})
	}
	writers.Wait()
	if won.Load() != 1 {
		t.Errorf("%d writers won", won.Load())
	}
}

func TestClientConditions(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	ctx, c := t.Context(), e.api("alice")
	e.put("a", "first")
	read, err := c.Get(ctx, "a", client.GetOptions{})
	must(t, err)
	_, err = c.Get(ctx, "a", client.GetOptions{IfNoneMatch: read.ETag})
	wantIs(t, "the same value", err, client.ErrNotModified)
	must(t, c.IfMatch(read.ETag).UpdateBinary(ctx, "a", []byte{0xff}))
	wantIs(t, "no ETag at all", c.IfMatch("").Delete(ctx, "a"), client.ErrBadRequest)
	wantIs(t, "an older ETag", c.IfMatch(read.ETag).Delete(ctx, "a"), client.ErrChanged)
	next, err := c.Get(ctx, "a", client.GetOptions{IfNoneMatch: read.ETag})
	must(t, err)
	if !next.Binary || next.ETag == read.ETag {
		t.Errorf("%+v", next)
	}
	must(t, c.IfMatch(next.ETag).Delete(ctx, "a"))
}
