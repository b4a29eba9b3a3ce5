package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"secretstore/api/wire"
)

// TestOnlySuperusersWriteHistory: others could give a secret another author or time.
func TestOnlySuperusersWriteHistory(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	whole := func(change func(*wire.WholeSecret)) string {
		doc := wire.WholeSecret{Created: at, Author: "carol", Description: "d", Labels: []string{"l"}, Versions: []wire.WholeVersion{
			{Version: 7, Kind: "text", Value: []byte("new"), Written: at.Add(time.Hour)}, {Version: 3, Kind: "binary", Value: []byte("\xff"), Written: at},
		}}
		change(&doc)
		body, err := json.Marshal(doc)
		must(t, err)
		return string(body)
	}
	put := func(uid, path, body string, status int, words ...string) {
		t.Helper()
		e.want(req{method: "PUT", path: "/secrets/v1/history/default" + path, uid: uid, body: body}, status, words...)
	}
	good := whole(func(*wire.WholeSecret) {})
	put("alice", "/a", good, 403)
	e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 404)
	put("root", "/a", good, 201)
	put("root", "", good, 404)
	put("root", "/", good, 404, "invalid secret path")
	put("root", "/a/../b", good, 404, "invalid secret path")
	put("root", "/a", good, 409, "already exists")
	e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200, `"value":"new"`, `"author":"carol"`, `"created":"2026-01-02T03:04:05Z"`, `"labels":["l"]`)
	e.want(req{method: "GET", path: base + "/a?version=3", uid: "alice"}, 200, "\xff")
	if doc := e.versions("/a"); len(doc.Versions) != 2 || !doc.Versions[0].Written.Equal(at.Add(time.Hour)) {
		t.Errorf("%+v", doc)
	}
	for name, body := range map[string]string{
		"text":     whole(func(w *wire.WholeSecret) { w.Versions[0].Value = []byte("\xff") }),
		"kind":     whole(func(w *wire.WholeSecret) { w.Versions[1].Kind = "x" }),
		"versions": whole(func(w *wire.WholeSecret) { w.Versions = nil }),
		"future":   whole(func(w *wire.WholeSecret) { w.Created = time.Now().Add(time.Hour) }),
		"labels":   whole(func(w *wire.WholeSecret) { w.Labels = []string{strings.Repeat("x", 300)} }),
		"json":     `{`,
		"null":     `null`,
	} {
		t.Run(name, func(t *testing.T) { put("root", "/b", body, 400) })
	}
	put("root", "/b", whole(func(w *wire.WholeSecret) { w.Versions[0].Value = make([]byte, 2<<20) }), 413)
}
