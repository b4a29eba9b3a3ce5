package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secretstore/api/client"
	"secretstore/api/wire"
)

const base = "/secrets/v1/secret/default"

func TestCreateReadUpdateDelete(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	created := e.want(req{method: "PUT", path: base + "/a/b", uid: "alice", body: `{"value":"one\n","author":"mallory","path":"a%2Fb"}`}, 201)
	if created.body != "" || created.header.Get("Content-Length") != "0" {
		t.Errorf("a 201 has a body: %q, %v", created.body, created.header)
	}
	got := e.want(req{method: "GET", path: base + "/a/b", uid: "alice"}, 200, `{"value":"one\n","author":"alice","created":"20`)
	if ct := got.header["Content-Type"]; !cmp.Equal(ct, []string{"application/json"}) {
		t.Errorf("Content-Type %q", ct)
	}
	e.want(req{method: "PUT", path: base + "/a/b", uid: "alice", body: `{"value":"two"}`}, 409, "already exists")
	e.want(req{method: "GET", path: base + "/a/b", uid: "alice"}, 200, `"one\n"`)
	patched := e.want(req{method: "PATCH", path: base + "/a/b", uid: "alice", body: `{"value":"<two>&","description":"d","labels":["x","y"]}`}, 204)
	if patched.body != "" || patched.header.Get("Content-Length") != "" {
		t.Errorf("a 204 has a body or a length: %q, %v", patched.body, patched.header)
	}
	e.want(req{method: "GET", path: base + "/a/b", uid: "alice"}, 200, `{"value":"<two>&","description":"d","labels":["x","y"],"author":"alice"`)
	e.want(req{method: "PATCH", path: base + "/a/b", uid: "alice", body: `{"value":""}`}, 204)
	e.want(req{method: "GET", path: base + "/a/b", uid: "alice"}, 200, `{"value":"","description":"d","labels":["x","y"]`)
	e.want(req{method: "DELETE", path: base + "/a/b", uid: "alice"}, 204)
	e.want(req{method: "DELETE", path: base + "/a/b", uid: "alice"}, 404, "does not exist")
	e.want(req{method: "GET", path: base + "/a/b", uid: "alice"}, 404, "does not exist")
	e.want(req{method: "PATCH", path: base + "/a/b", uid: "alice", body: `{"value":"x"}`}, 404, "does not exist")
	e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 404, "does not exist")
}

func TestBinaryAndTextFormsAndAccept(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	raw := "value\x85\xff3\x00\n"
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	e.want(req{method: "PUT", path: base + "/bin", uid: "alice", header: octets, body: raw}, 201)
	e.put("text", "täxt\r\n")
	for _, row := range []struct {
		secret string
		accept []string
		status int
		form   string
	}{
		{"bin", nil, 200, wire.TypeBinary},
		{"bin", []string{"*/*"}, 200, wire.TypeBinary},
		{"bin", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, 200, wire.TypeBinary},
		{"bin", []string{"application/octet-stream"}, 200, wire.TypeBinary},
		{"bin", []string{"text/plain"}, 200, wire.TypeBinary},
		{"bin", []string{"application/json"}, 400, ""},
		{"bin", []string{"application/json; charset=utf-8, text/plain"}, 400, ""},
		{"bin", []string{"application/json", "application/octet-stream;q=0.1"}, 200, wire.TypeBinary},
		{"bin", []string{"*/*, application/octet-stream;q=0"}, 400, ""},
		{"text", nil, 200, wire.TypeJSON},
		{"text", []string{""}, 200, wire.TypeJSON},
		{"text", []string{"*/*"}, 200, wire.TypeJSON},
		{"text", []string{"text/html"}, 200, wire.TypeJSON},
		{"text", []string{"text/html,*/*;q=0.8"}, 200, wire.TypeJSON},
		{"text", []string{"Application/JSON"}, 200, wire.TypeJSON},
		{"text", []string{"application/json, application/octet-stream"}, 200, wire.TypeJSON},
		{"text", []string{"application/octet-stream"}, 200, wire.TypeBinary},
		{"text", []string{"application/octet-stream, */*;q=0.1"}, 200, wire.TypeBinary},
		{"text", []string{"application/json;q=0, */*"}, 200, wire.TypeBinary},
		{"text", []string{"*/*;q=0"}, 400, ""},
		{"text", []string{"application/json;q=0"}, 400, ""},
	} {
		t.Run(fmt.Sprint(row.secret, row.accept), func(t *testing.T) {
			h := http.Header{}
			if row.accept != nil {
				h["Accept"] = row.accept
			}
			got := e.want(req{method: "GET", path: base + "/" + row.secret, uid: "alice", header: h}, row.status)
			if row.status != 200 {
				if !strings.Contains(got.body, "Unsupported Accept header") {
					t.Errorf("body %q", got.body)
				}
				return
			}
			if form := got.header["Content-Type"]; !cmp.Equal(form, []string{row.form}) {
				t.Errorf("Content-Type %q, want %q", form, row.form)
			}
			want := map[string]string{"bin": raw, "text": "täxt\r\n"}[row.secret]
			if row.form == wire.TypeBinary && got.body != want {
				t.Errorf("body %q, want %q", got.body, want)
			}
		})
	}
	// Text to binary and back keeps the metadata that a PATCH does not name.
	e.want(req{method: "PATCH", path: base + "/text", uid: "alice", body: `{"value":"x","description":"kept"}`}, 204)
	e.want(req{method: "PATCH", path: base + "/text", uid: "alice", header: octets, body: raw}, 204)
	if got := e.want(req{method: "GET", path: base + "/text", uid: "alice"}, 200); got.body != raw {
		t.Errorf("body %q", got.body)
	}
	e.want(req{method: "PATCH", path: base + "/text", uid: "alice", body: `{"value":"back"}`}, 204)
	e.want(req{method: "GET", path: base + "/text", uid: "alice"}, 200, `{"value":"back","description":"kept"`)
}

func TestContentTypesOfAWrite(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for i, row := range []struct {
		header http.Header
		status int
	}{
		{nil, 201},
		{http.Header{"Content-Type": {"application/json"}}, 201},
		{http.Header{"Content-Type": {"application/json; charset=UTF-8"}}, 201},
		{http.Header{"Content-Type": {"APPLICATION/json;charset=utf-8;x"}}, 201},
		{http.Header{"Content-Type": {"application/octet-stream"}}, 201},
		{http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 400},
		{http.Header{"Content-Type": {"text/plain"}}, 400},
		{http.Header{"Content-Type": {"application/jsonp"}}, 400},
		{http.Header{"Content-Type": {"application/json", "application/octet-stream"}}, 400},
		{http.Header{"Content-Encoding": {"gzip"}}, 400},
		{http.Header{"Content-Encoding": {"identity"}}, 201},
	} {
		got := e.want(req{method: "PUT", path: fmt.Sprintf("%s/ct%d", base, i), uid: "alice", header: row.header, body: `{"value":"v"}`}, row.status)
		if row.status == 400 {
			e.want(req{method: "GET", path: fmt.Sprintf("%s/ct%d", base, i), uid: "alice"}, 404)
		} else if got.body != "" {
			t.Errorf("%v: body %q", row.header, got.body)
		}
	}
	// A body on a GET and a Content-Type without a body are ignored.
	e.want(req{method: "GET", path: base + "/ct0", uid: "alice", header: http.Header{"Content-Type": {"text/x"}}, body: "ignored"}, 200)
	e.want(req{method: "DELETE", path: base + "/ct0", uid: "alice", header: http.Header{"Content-Type": {"text/x"}}}, 204)
}

func TestMalformedBodiesAreRefusedAndStoreNothing(t *testing.T) {
	e := newEdge(t, edgeOptions{maxSize: 1000})
	for _, row := range []struct {
		name, body string
		status     int
	}{
		{"nothing", "", 400},
		{"no object", `"value"`, 400},
		{"array", `[{"value":"v"}]`, 400},
		{"null", `null`, 400},
		{"no value", `{}`, 400},
		{"null value", `{"value":null}`, 400},
		{"number", `{"value":1}`, 400},
		{"object value", `{"value":{"value":"x"}}`, 400},
		{"case", `{"Value":"v"}`, 400},
		{"twice", `{"value":"a","value":"b"}`, 400},
		{"twice, escaped", `{"value":"a","\u0076alue":"b"}`, 400},
		{"unknown twice", `{"value":"a","x":1,"x":2}`, 400},
		{"nested twice", `{"value":"a","x":{"y":1,"y":2}}`, 400},
		{"invalid UTF-8", "{\"value\":\"\xff\"}", 400},
		{"overlong", "{\"value\":\"\xc0\xaf\"}", 400},
		{"surrogate bytes", "{\"value\":\"\xed\xa0\x80\"}", 400},
		{"lone surrogate", `{"value":"\ud800"}`, 400},
		{"lone low surrogate", `{"value":"\udc00x"}`, 400},
		{"swapped surrogates", `{"value":"\udc00\ud800"}`, 400},
		{"invalid UTF-8 in unknown", "{\"value\":\"v\",\"x\":\"\xff\"}", 400},
		{"trailing", `{"value":"v"}{"value":"w"}`, 400},
		{"trailing garbage", `{"value":"v"} x`, 400},
		{"cut", `{"value":"v"`, 400},
		{"comma", `{"value":"v",}`, 400},
		{"control character", "{\"value\":\"a\nb\"}", 400},
		{"bad escape", `{"value":"\x41"}`, 400},
		{"deep", `{"value":"v","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 400},
		{"many", `{"value":"v","x":[` + strings.Repeat("1,", 20000) + `1]}`, 400},
		{"labels", `{"value":"v","labels":"x"}`, 400},
		{"labels of numbers", `{"value":"v","labels":[1]}`, 400},
		{"description", `{"value":"v","description":1}`, 400},
		{"long description", `{"value":"v","description":"` + strings.Repeat("x", 5000) + `"}`, 400},
		{"too large", `{"value":"` + strings.Repeat("x", 1001) + `"}`, 413},
		{"too large escaped", `{"value":"` + strings.Repeat(`\u0041`, 1001) + `"}`, 413},
		{"far too large", `{"value":"v","x":"` + strings.Repeat("x", 1<<20) + `"}`, 413},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprint(row.name, chunked), func(t *testing.T) {
				e.want(req{method: "PUT", path: base + "/bad", uid: "alice", body: row.body, chunked: chunked}, row.status)
				e.want(req{method: "GET", path: base + "/bad", uid: "alice"}, 404)
			})
		}
	}
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	e.want(req{method: "PUT", path: base + "/bad", uid: "alice", header: octets, body: strings.Repeat("x", 1001)}, 413)
	e.want(req{method: "PUT", path: base + "/bad", uid: "alice", header: octets, body: strings.Repeat("x", 1001), chunked: true}, 413)
	e.want(req{method: "PUT", path: base + "/max", uid: "alice", header: octets, body: strings.Repeat("x", 1000)}, 201)
	e.want(req{method: "PUT", path: base + "/max2", uid: "alice", body: `{"value":"` + strings.Repeat(`\u0000`, 1000) + `","labels":null,"description":null}`}, 201)
	e.want(req{method: "PUT", path: base + "/empty", uid: "alice", header: octets}, 201)
	if got := e.want(req{method: "GET", path: base + "/empty", uid: "alice"}, 200); got.body != "" {
		t.Errorf("body %q", got.body)
	}
}

func TestValuesComeBackExactly(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	c := e.api("alice")
	for i, v := range []string{
		"", " ", "\n", "\r\n\t", "\x00\x01\x1f\x7f", "</script>&amp;", "\u2028\u2029", "\"\\/", "😀\U0010ffff", "\ufeffbom",
		`{"value":"nested"}`, strings.Repeat("ä", 70000), "-----BEGIN PRIVATE KEY-----\nabc\n",
	} {
		path := fmt.Sprintf("exact/%d", i)
		must(t, c.CreateText(t.Context(), path, wire.SecretWrite{Value: v}))
		got, err := c.Get(t.Context(), path, client.GetOptions{})
		must(t, err)
		if string(got.Value) != v || got.Binary {
			t.Errorf("%q came back as %q", v, got.Value)
		}
		raw := e.want(req{method: "GET", path: base + "/" + path, uid: "alice", header: http.Header{"Accept": {wire.TypeBinary}}}, 200)
		if raw.body != v {
			t.Errorf("%q came back raw as %q", v, raw.body)
		}
		must(t, c.UpdateBinary(t.Context(), path, []byte(v)))
		got, err = c.Get(t.Context(), path, client.GetOptions{Latest: true})
		must(t, err)
		if string(got.Value) != v || !got.Binary {
			t.Errorf("%q came back from binary as %q", v, got.Value)
		}
	}
}

// TestBooleanParametersAreTrueOrFalse: with list=True, as Python sends it, the
// answer was the value of a secret instead of a list.
func TestBooleanParametersAreTrueOrFalse(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "found")
	for _, name := range []string{"list", "versions"} {
		for _, value := range []string{"=True", "=TRUE", "=1", "=yes", "=0", "=False", "=", "", "=true&" + name + "=1", "=true&" + name + "=false", "=false&" + name + "=true", "=%20true"} {
			for _, method := range []string{"GET", "HEAD"} {
				words := []string{name + " must be true or false"}
				if method == "HEAD" {
					words = nil
				}
				e.want(req{method: method, path: base + "/a?" + name + value, uid: "alice"}, 400, words...)
			}
		}
		e.want(req{method: "GET", path: base + "/a?" + name + "=false", uid: "alice"}, 200, "found")
		e.want(req{method: "PUT", path: base + "/" + name + "?" + name + "=1", uid: "alice", body: `{"value":"v"}`}, 201)
	}
}

func TestPathForms(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a/b.c_d-E", "found")
	for _, path := range []string{
		base + "/a/b.c_d-E", base + "//a/b.c_d-E", base + "/a//b.c_d-E", base + "/a/b.c_d-E/", base + "//a///b.c_d-E//",
		base + "/a%2Fb.c_d-E", base + "/a%2fb.c_d-E", base + "/%2Fa%2Fb.c_d-E%2F", base + "%2Fa/b.c_d-E", base + "/%61/b%2Ec_d-E",
		"//secrets/v1/secret/default/a/b.c_d-E", "/secrets/v1//secret//default/a/b.c_d-E", "/secrets/v1/secret%2Fdefault%2Fa%2Fb.c_d-E",
		base + "/a/b.c_d-E?_ts=1&_timestamp=%zz&x;y", base + "/a/b.c_d-E?list=false", base + "/a/b.c_d-E?",
	} {
		e.want(req{method: "GET", path: path, uid: "alice"}, 200, "found")
	}
	for _, path := range []string{
		base, base + "/", base + "//", base + "/%2F", base + "/a/../a/b.c_d-E", base + "/./a", base + "/..", base + "/a/%2e%2e/a",
		base + "/a%252Fb.c_d-E", base + "/a%00", base + "/a%20b", base + "/a%7F", base + "/ä", base + "/a%5Cb", base + "/a*", base + "/a:b",
		base + "/" + strings.Repeat("x", 256), base + strings.Repeat("/x", 33), base + strings.Repeat("/"+strings.Repeat("x", 200), 6),
	} {
		e.want(req{method: "GET", path: path, uid: "alice"}, 404, "invalid secret path")
		e.want(req{method: "PUT", path: path, uid: "alice", body: `{"value":"v"}`}, 404, "invalid secret path")
	}
	e.want(req{method: "GET", path: base + "/A/b.c_d-E", uid: "alice"}, 404, "does not exist")
	e.want(req{method: "GET", path: "/secrets/v1/secret/other/a", uid: "alice"}, 404, "store not found")
	e.want(req{method: "GET", path: "/secrets/v1/secret/def%61ult/a/b.c_d-E", uid: "alice"}, 200)
	e.want(req{method: "GET", path: "/secrets/v1/secret/Default/a", uid: "alice"}, 404, "store not found")
	// A create through an odd form is the same secret.
	e.want(req{method: "PUT", path: base + "//a%2Fb.c_d-E", uid: "alice", body: `{"value":"v"}`}, 409)
}

func TestHeadWorksWhereGetDoes(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "v")
	for _, path := range []string{base + "/a", base + "?list=true", "/secrets/v1/store", "/live", "/ready", "/secrets/v1/ping"} {
		get := e.want(req{method: "GET", path: path, uid: "alice"}, 200)
		head := e.want(req{method: "HEAD", path: path, uid: "alice"}, 200)
		if head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(get.body)) ||
			head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("HEAD %s: %v, %q; GET has %d bytes", path, head.header, head.body, len(get.body))
		}
	}
	e.want(req{method: "HEAD", path: base + "/missing", uid: "alice"}, 404)
}

func TestLists(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, name := range []string{"key1", "folder/key2", "folder/sub", "folder/sub/key4", "a", "a-b", "a/x"} {
		e.put(name, "v")
	}
	for _, row := range []struct{ path, want string }{
		{"?list=true", `{"array":["a","a-b","a/x","folder/key2","folder/sub","folder/sub/key4","key1"]}`},
		{"/?list=true", `{"array":["a","a-b","a/x","folder/key2","folder/sub","folder/sub/key4","key1"]}`},
		{"/folder?list=true", `{"array":["key2","sub","sub/key4"]}`},
		{"//folder/?_ts=1&list=true&_ts=2", `{"array":["key2","sub","sub/key4"]}`},
		{"/folder%2Fsub?list=true", `{"array":["key4"]}`},
		{"/key1?list=true", `{"array":[]}`},
		{"/fold?list=true", `{"array":[]}`},
		{"/not/there?list=true", `{"array":[]}`},
		{"?list=true&limit=2", `{"array":["a","a-b"],"next":"a-b"}`},
		{"?list=true&limit=2&after=a-b", `{"array":["a/x","folder/key2"],"next":"folder/key2"}`},
		{"?list=true&limit=10&after=folder%2Fkey2", `{"array":["folder/sub","folder/sub/key4","key1"]}`},
		{"?list=true&after=zzz", `{"array":[]}`},
	} {
		if got := e.want(req{method: "GET", path: base + row.path, uid: "alice"}, 200); got.body != row.want {
			t.Errorf("%s: %s, want %s", row.path, got.body, row.want)
		}
	}
	e.want(req{method: "PUT", path: base + "/q?list=true&limit=0&_ts=1", uid: "alice", body: `{"value":"v"}`}, 201)
	e.want(req{method: "DELETE", path: base + "/q?list=true&limit=0", uid: "alice"}, 204)
	for _, q := range []string{"limit=0", "limit=-1", "limit=10001", "limit=x", "limit=", "limit=1&limit=2", "after=a&after=b", "after=%zz", "after=" + strings.Repeat("x", 1025)} {
		e.want(req{method: "GET", path: base + "?list=true&" + q, uid: "alice"}, 400)
	}
	e.want(req{method: "GET", path: base + "/a/..?list=true", uid: "alice"}, 404, "invalid secret path")
	e.want(req{method: "GET", path: base + "?list=true", uid: "lister"}, 403, "dcos:secrets:list:default:/")
	e.want(req{method: "GET", path: base + "/group/x?list=true", uid: "lister"}, 200)
	names, err := e.api("alice").List(t.Context(), "")
	must(t, err)
	if want := []string{"a", "a-b", "a/x", "folder/key2", "folder/sub", "folder/sub/key4", "key1"}; !cmp.Equal(names, want) {
		t.Errorf("client lists %q", names)
	}
}

func TestLargeValuesPassBothWays(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{maxSize: 2 << 20})
	c := e.api("alice")
	value := bytes.Repeat([]byte("0123456789abcde\x00"), 2<<20/16)
	must(t, c.CreateBinary(t.Context(), "big/bin", value))
	must(t, c.CreateText(t.Context(), "big/text", wire.SecretWrite{Value: string(value)}))
	for _, path := range []string{"big/bin", "big/text"} {
		got, err := c.Get(t.Context(), path, client.GetOptions{})
		must(t, err)
		if !bytes.Equal(got.Value, value) {
			t.Errorf("%s: %d bytes came back", path, len(got.Value))
		}
	}
	if err := c.UpdateBinary(t.Context(), "big/bin", append(value, 'x')); !isErr(err, client.ErrTooLarge) {
		t.Errorf("one byte too many: %v", err)
	}
	raw, err := json.Marshal(map[string]string{"value": "v"})
	must(t, err)
	e.want(req{method: "PUT", path: base + "/chunked", uid: "alice", body: string(raw), chunked: true}, 201)
}

// TestBinarySecretsHaveMetadata: written as JSON, and shown with the versions.
func TestBinarySecretsHaveMetadata(t *testing.T) {
	e := newEdge(t, edgeOptions{maxSize: 1 << 10})
	e.want(req{method: "PUT", path: base + "/b", uid: "alice", body: `{"value_base64":"/wA=","description":"d","labels":["l"]}`}, 201)
	got := e.want(req{method: "GET", path: base + "/b", uid: "alice"}, 200, "\xff\x00")
	if got.header.Get("Content-Type") != "application/octet-stream" || got.body != "\xff\x00" {
		t.Errorf("%v %q", got.header, got.body)
	}
	e.want(req{method: "GET", path: base + "/b?versions=true", uid: "alice"}, 200, `"description":"d"`, `"labels":["l"]`, `"kind":"binary"`)
	// Raw bytes, and a text, keep what they do not name.
	e.want(req{method: "PATCH", path: base + "/b", uid: "alice", header: http.Header{"Content-Type": {"application/octet-stream"}}, body: "x"}, 204)
	e.want(req{method: "GET", path: base + "/b?versions=true", uid: "alice"}, 200, `"description":"d"`)
	e.want(req{method: "PATCH", path: base + "/b", uid: "alice", body: `{"value_base64":"","labels":[]}`}, 204)
	whole, err := e.api("alice").GetWhole(t.Context(), "b")
	must(t, err)
	if !whole.Binary || len(whole.Value) != 0 || whole.Description != "d" || whole.Labels != nil {
		t.Errorf("%+v", whole)
	}
	canary := strings.Repeat("QUFB", 400)
	for body, status := range map[string]int{`{"value_base64":"/w"}`: 400, `{"value_base64":"_w=="}`: 400, `{"value_base64":7}`: 400, `{"value_base64":null}`: 400,
		`{"value":"QUFB","value_base64":"QUFB"}`: 400, `{"value_base64":"` + canary + `"}`: 413} {
		got := e.want(req{method: "PUT", path: base + "/c", uid: "alice", body: body}, status)
		if strings.Contains(got.body, "QUFB") {
			t.Errorf("the error repeats the value: %s", got.body)
		}
	}
}
