package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"secretstore/api/client"
	"secretstore/api/wire"
)

const (
	resolvePath = "/secrets/v1/resolve/default"
	checkPath   = "/secrets/v1/check/default"
)

// putBinary creates a binary secret as alice.
func (e *edge) putBinary(path string, value []byte) {
	e.t.Helper()
	must(e.t, e.api("alice").CreateBinary(e.t.Context(), path, value))
}

// resolve sends a definition and wants it resolved.
func (e *edge) resolve(uid, definition string) client.Resolution {
	e.t.Helper()
	got, err := e.api(uid).Resolve(e.t.Context(), []byte(definition), client.ResolveOptions{})
	must(e.t, err)
	return got
}

func filled(e *edge) {
	e.put("group/db", "s3cret \"ü\"")
	e.put("group/app/own", "own")
	e.put("shared", "for all")
	e.put("other/db", "CANARY-OTHER")
	e.put("pull", `{"auths":{}}`)
	e.putBinary("group/key", []byte("\x00\xffkey"))
	e.put("group/__dcos_base64__keytab", base64.StdEncoding.EncodeToString([]byte("\x05\x02keytab")))
	e.put("group/__dcos_base64__word", "d29y\nZA==\n")
	e.put("group/__dcos_base64__bad", "CANARY is not base64")
	e.put("group/nul", "CANARY\x00nul")
}

func TestResolveAnApp(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	got := e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: `{
		"id": "group/app", "cmd": "run", "env": {"PLAIN": "x", "WORD": {"secret": "word"}, "DB": {"secret": "db"}, "AGAIN": {"secret": "db"}},
		"container": {"type": "MESOS", "docker": {"image": "private", "pullConfig": {"secret": "pull"}},
			"volumes": [{"containerPath": "etc/key", "secret": "key"}, {"containerPath": "/etc/keytab", "secret": "keytab", "mode": "RW"}, {"containerPath": "data", "mode": "RW"}]},
		"secrets": {"db": {"source": "group/db"}, "key": {"source": "/group/key"}, "keytab": {"source": "group/__dcos_base64__keytab"},
			"word": {"source": "group/__dcos_base64__word"}, "pull": {"source": "/pull"}, "idle": {"source": "group/missing"}}}`}, 200)
	if ct := got.header["Content-Type"]; !cmp.Equal(ct, []string{"application/json"}) {
		t.Errorf("Content-Type %q", ct)
	}
	want := `{"service":"/group/app","env":{"AGAIN":"s3cret \"ü\"","DB":"s3cret \"ü\"","WORD":"word"},"files":[` +
		`{"path":"etc/key","container":"","value_base64":"AP9rZXk=","mode":"0400"},` +
		`{"path":"/etc/keytab","container":"","value_base64":"BQJrZXl0YWI=","mode":"0600"}],` +
		`"pull_config":{"secret":"pull","value":"{\"auths\":{}}"}}`
	if got.body != want {
		t.Errorf("got  %s\nwant %s", got.body, want)
	}
}

func TestResolveAPod(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	got := e.resolve("scheduler", `{"id": "/group/pod", "environment": {"ALL": {"secret": "db"}, "OVER": {"secret": "db"}},
		"volumes": [{"name": "v", "secret": "key"}, {"name": "data"}],
		"containers": [
			{"name": "one", "environment": {"OVER": {"secret": "shared"}, "ONE": {"secret": "shared"}}, "volumeMounts": [{"name": "v", "mountPath": "key"}, {"name": "data", "mountPath": "d"}],
				"image": {"kind": "DOCKER", "id": "private", "pullConfig": {"secret": "pull"}}},
			{"name": "two", "volumeMounts": [{"name": "v", "mountPath": "/etc/key", "readOnly": true}]}],
		"secrets": {"db": {"source": "group/db"}, "shared": {"source": "/shared"}, "key": {"source": "group/key"}, "pull": {"source": "pull"}}}`)
	pull, db, shared := `{"auths":{}}`, "s3cret \"ü\"", "for all"
	want := []wire.Resolved{{
		Service: "/group/pod", Env: map[string]string{"ALL": db, "ONE": shared},
		Files: []wire.ResolvedFile{
			{Path: "key", Container: "one", Value: []byte("\x00\xffkey"), Mode: "0400"},
			{Path: "/etc/key", Container: "two", Value: []byte("\x00\xffkey"), Mode: "0400"},
		},
		PullConfig: &wire.ResolvedPullConfig{Secret: "pull", Value: &pull},
		Containers: map[string]wire.ResolvedContainer{
			"one": {Env: map[string]string{"ALL": db, "OVER": shared, "ONE": shared}, PullConfig: &wire.ResolvedPullConfig{Secret: "pull", Value: &pull}},
			"two": {Env: map[string]string{"ALL": db, "OVER": db}},
		},
	}}
	if diff := cmp.Diff(want, got.Definitions); diff != "" {
		t.Error(diff)
	}
}

func TestResolveAJobAndAnArray(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	job := `{"id": "group.app", "run": {"env": {"OWN": {"secret": "o"}}, "secrets": {"o": {"source": "/group/app/own"}, "key": {"source": "group/key"}},
		"volumes": [{"containerPath": "/mnt/key", "secret": "key"}], "docker": {"image": "i"}}}`
	want := wire.Resolved{
		Service: "/group/app", Env: map[string]string{"OWN": "own"},
		Files: []wire.ResolvedFile{{Path: "/mnt/key", Value: []byte("\x00\xffkey"), Mode: "0400"}},
	}
	got := e.resolve("scheduler", job)
	if diff := cmp.Diff([]wire.Resolved{want}, got.Definitions); diff != "" {
		t.Error(diff)
	}
	got = e.resolve("scheduler", "["+job+`,{"id":"/nothing"}]`)
	if diff := cmp.Diff([]wire.Resolved{want, {Service: "/nothing", Env: map[string]string{}, Files: []wire.ResolvedFile{}}}, got.Definitions); diff != "" {
		t.Error(diff)
	}
	if empty := e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: "[]"}, 200); empty.body != "[]" {
		t.Errorf("an empty array gives %s", empty.body)
	}
	// To Marathon an id without slashes is one segment, whatever dots it has:
	// the app group.app is not in the space group.
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: `{"id":"group.app","env":{"X":{"secret":"db"}},"secrets":{"db":{"source":"group/db"}}}`},
		422, "Secret /group/db is not accessible")
}

func TestResolveThePlainForm(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	r, err := e.api("scheduler").ResolveSecrets(t.Context(), wire.ResolveRequest{Service: "/group/app", Secrets: map[string]wire.SecretSource{
		"DB": {Source: "group/db"}, "key": {Source: "/group/key"}, "keytab": {Source: "group/__dcos_base64__keytab"},
	}}, client.ResolveOptions{})
	must(t, err)
	got := r.Definitions[0]
	if got.Service != "/group/app" || len(got.Env) != 0 || len(got.Files) != 0 || len(got.Secrets) != 3 {
		t.Fatalf("%+v", got)
	}
	if db := got.Secrets["DB"]; db.Value == nil || *db.Value != "s3cret \"ü\"" || db.Bytes != nil {
		t.Errorf("DB: %+v", db)
	}
	if key := got.Secrets["key"]; key.Value != nil || string(key.Bytes) != "\x00\xffkey" {
		t.Errorf("key: %+v", key)
	}
	if keytab := got.Secrets["keytab"]; keytab.Value != nil || string(keytab.Bytes) != "\x05\x02keytab" {
		t.Errorf("keytab: %+v", keytab)
	}
	secret, err := e.store.Get(t.Context(), mustPath(t, "group/db"), 0)
	must(t, err)
	if etag := got.Secrets["DB"].ETag; etag != `"`+secret.ID+`"` || len(secret.ID) != 32 {
		t.Errorf("ETag %s of the value %s", etag, secret.ID)
	}
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: `{"service":"","secrets":{"s":{"source":"shared"}}}`}, 200, `"service":"/"`, "for all")
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: `{"service":"/","secrets":{"s":{"source":"group/db"}}}`}, 422, "Secret /group/db is not accessible")
}

// one names a secret in an environment variable of an app.
func one(service, source string) string {
	return fmt.Sprintf(`{"id":%q,"env":{"X":{"secret":"n"}},"secrets":{"n":{"source":%q}}}`, service, source)
}

func file(service, source string) string {
	return fmt.Sprintf(`{"id":%q,"container":{"volumes":[{"containerPath":"x","secret":"n"}]},"secrets":{"n":{"source":%q}}}`, service, source)
}

func TestResolveIsAllOrNothing(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	for _, row := range []struct {
		body   string
		status int
		words  string
	}{
		{one("/group/app", "group/db"), 200, "s3cret"},
		{one("/group/app", "/group/missing"), 422, "Secret /group/missing is not accessible"},
		{one("/group/app", "other/db"), 422, "Secret /other/db is not accessible"},
		{one("/group2/app", "group/db"), 422, "Secret /group/db is not accessible"},
		{one("/group", "group/app/own"), 422, "Secret /group/app/own is not accessible"},
		{"[" + one("/group/app", "group/db") + "," + one("/group/app", "other/missing") + "]", 422, "Secret /other/missing is not accessible"},
		{"[" + one("/group/app", "group/db") + "," + one("/group/app", "group/missing") + "]", 422, "Secret /group/missing is not accessible"},
		{one("/group/app", "group/key"), 422, `Secret /group/key is binary and cannot be environment variable \"X\"`},
		{one("/group/app", "group/__dcos_base64__keytab"), 200, `"X":"\u0005\u0002keytab"`},
		{one("/group/app", "group/nul"), 422, `Secret /group/nul holds a NUL`},
		{file("/group/app", "group/nul"), 200, "value_base64"},
		{one("/group/app", "group/__dcos_base64__bad"), 422, "is not base64"},
		{file("/group/app", "group/__dcos_base64__bad"), 422, "is not base64"},
		{one("/group/app", "group/../db"), 422, `the source of \"n\" is not a valid secret path`},
		{one("/group/app", "group%2Fdb"), 422, `the source of \"n\" is not a valid secret path`},
		{`{"id":"/group/app","env":{"X":{"secret":"none"}},"secrets":{"n":{"source":"group/db"}}}`, 422, `environment variable \"X\" references an undefined secret \"none\"`},
		{`{"id":"/group/app","env":{"X":{"secret":"n"}}}`, 422, "undefined secret"},
		{one("../group/app", "group/db"), 400, "invalid service id"},
		{one("/group/../app", "group/db"), 400, "invalid service id"},
		{`{"service":"/a/..","secrets":{}}`, 400, "invalid service id"},
		{`{"env":{}}`, 400, "id is missing"},
		{`{"id":"/a","id":"/b"}`, 400, "not valid JSON"},
		{``, 400, "not valid JSON"},
		{`[` + strings.Repeat("[", 70), 400, "nested too deeply"},
		{`{"id":"/a","x":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "too large"},
	} {
		got := e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: row.body}, row.status, row.words)
		if strings.Contains(got.body, "CANARY") || row.status != 200 && strings.Contains(got.body, "s3cret") {
			t.Errorf("%.80s: a value left: %s", row.body, got.body)
		}
	}
}

func TestClientErrorsOfAResolve(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	_, err := e.api("scheduler").Resolve(t.Context(), []byte(one("/group/app", "group/none")), client.ResolveOptions{})
	if !isErr(err, client.ErrUnresolvable) || !strings.Contains(err.Error(), "Secret /group/none is not accessible") {
		t.Errorf("%v", err)
	}
	if _, err := e.api("lister").Check(t.Context(), []byte(one("/group/app", "group/none"))); !isErr(err, client.ErrDenied) {
		t.Errorf("%v", err)
	}
	if _, err := e.api("scheduler").Check(t.Context(), nil); !isErr(err, client.ErrBadRequest) {
		t.Errorf("%v", err)
	}
}

// A refusal is the same whether the secret is missing, outside of the space, or
// both; the audit log tells.
func TestAnInaccessibleSecretLooksTheSameInEveryCase(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	neutral := func(got res, name string) string { return strings.ReplaceAll(got.body, name, "NAME") }
	missing := e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: one("/group/app", "group/none")}, 422)
	outside := e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: one("/group/app", "other/db")}, 422)
	both := e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: one("/group/app", "other/none")}, 422)
	if a, b, c := neutral(missing, "group/none"), neutral(outside, "other/db"), neutral(both, "other/none"); a != b || b != c {
		t.Errorf("%s\n%s\n%s", a, b, c)
	}
	// A secret outside the space is not even read.
	e.backend.down.Store(true)
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: one("/group/app", "other/db")}, 422)
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: one("/group/app", "group/none")}, 503)
	// Nor is any, if the caller may not ask for the service.
	e.want(req{method: "POST", path: resolvePath, uid: "lister", body: one("/group/app", "group/db")}, 403)
}

func TestWhoMayResolveAndCheck(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	two := `{"service":"/group/app","secrets":{"a":{"source":"group/db"},"b":{"source":"shared"}}}`
	for _, row := range []struct {
		uid, service, body string
		status             int
		words              string
	}{
		{"scheduler", "", two, 200, ""},
		{"root", "", two, 200, ""},
		{"alice", "", two, 200, ""},
		{"reader", "", two, 403, "ask an administrator for read on dcos:secrets:resolve:default:/group/app"},
		{"reader", "", one("/group/app", "group/db"), 200, ""},
		{"reader", "", one("/group/app", "group/none"), 422, "Secret /group/none"},
		{"reader", "", one("/other", "group/db"), 422, "Secret /group/db"},
		{"reader", "", one("/group/app", "other/db"), 403, ""},
		{"reader", "", one("/group/app", "other/none"), 403, ""},
		{"reader", "", "[" + one("/group/app", "group/db") + "," + one("/other/app", "other/db") + "]", 403, "default:/other/app"},
		{"lister", "", one("/group/app", "group/db"), 403, "dcos:secrets:resolve:default:/group/app"},
		{"nobody", "", one("/group/app", "group/db"), 403, "permission denied"},
		{"nobody", "", `{`, 403, "permission denied"},
		{"nobody", "", `{"id":"/group/app"}`, 403, "permission denied"},
		{"nobody", "/group/app", two, 200, ""},
		{"nobody", "/group/app", one("/group/app", "other/db"), 422, "Secret /other/db"},
		{"nobody", "/group", two, 403, "bound to another service"},
		{"root", "/other", two, 403, "bound to another service"},
		{"scheduler", "/group/app", one("/other", "shared"), 403, "bound to another service"},
		{"scheduler", "/group/app", `{"id":"/other"}`, 403, "bound to another service"},
		{"scheduler", "/group/app", "[" + two + "," + one("/other", "shared") + "]", 403, "bound to another service"},
		{"", "", two, 401, ""},
	} {
		got := e.want(req{method: "POST", path: resolvePath, uid: row.uid, service: row.service, body: row.body}, row.status, row.words)
		if row.status == 403 && strings.Contains(got.body, "s3cret") {
			t.Errorf("a value left: %s", got.body)
		}
		checked := row.status
		if checked == 422 {
			checked = 200 // with findings
		}
		got = e.want(req{method: "POST", path: checkPath, uid: row.uid, service: row.service, body: row.body}, checked)
		if row.status == 422 != strings.Contains(got.body, `"severity":"error"`) {
			t.Errorf("%s checks %s: %s", row.uid, row.body, got.body)
		}
	}
}

// However many secrets it brings, a resolve is one use of a task token; what
// delivers nothing is none.
func TestAResolveIsOneUseOfATaskToken(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	two := `{"service":"/group/app","secrets":{"a":{"source":"group/db"},"b":{"source":"shared"}}}`
	raw := e.taskToken("/group/app", 1)
	post := func(path, body string, status int, words ...string) {
		t.Helper()
		e.want(req{method: "POST", path: path, header: with(raw), body: body}, status, words...)
	}
	post(resolvePath, one("/group/app", "group/none"), 422)
	post(resolvePath, one("/group/app", "other/db"), 422)
	post(resolvePath, one("/group", "shared"), 403, "bound to another service")
	post(resolvePath, "{", 400)
	post(checkPath, two, 200, `"findings":[]`)
	post(resolvePath, two, 200, "s3cret", "for all")
	post(resolvePath, two, 401, "used up")
	post(checkPath, two, 401, "used up")
}

func TestHeadersOfAResolve(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	body := one("/group/app", "group/db")
	for _, path := range []string{resolvePath, checkPath} {
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE"} {
			if got := e.want(req{method: method, path: path, uid: "root", body: body}, 405); got.header.Get("Allow") != "POST" {
				t.Errorf("%s: Allow %q", method, got.header.Get("Allow"))
			}
		}
		for _, row := range []struct {
			path   string
			header http.Header
			status int
		}{
			{path, http.Header{"Content-Type": {"application/json; charset=utf-8"}}, 200},
			{path, http.Header{"Content-Type": {"application/octet-stream"}}, 400},
			{path, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 400},
			{path, http.Header{"Content-Encoding": {"gzip"}}, 400},
			{path + "/", nil, 200},
			{"/" + path, nil, 200},
			{path + "?_ts=1", nil, 200},
			{path + "?service=/group/app", nil, 400},
			{path, http.Header{wire.ServiceHeader: {"/group/app"}}, 400},
			{strings.TrimSuffix(path, "default") + "other", nil, 404},
			{strings.TrimSuffix(path, "/default"), nil, 404},
			{path + "/group", nil, 404},
		} {
			e.want(req{method: "POST", path: row.path, uid: "scheduler", header: row.header, body: body}, row.status)
		}
		e.want(req{method: "POST", path: path, uid: "scheduler", body: body, chunked: true}, 200)
		e.want(req{method: "POST", path: path, uid: "scheduler", body: body, header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
			400, "send definitions as application/json")
		// A page of another site may send a POST with the cookie.
		cookie := http.Header{"Cookie": {wire.TokenCookie + "=" + tokenOf(t, "scheduler", "")}}
		e.want(req{method: "POST", path: path, header: cookie, body: body}, 401)
	}
	e.sealStore()
	for _, path := range []string{resolvePath, checkPath} {
		e.want(req{method: "POST", path: path, uid: "scheduler", body: body}, 503, "is sealed")
		e.want(req{method: "POST", path: path, uid: "scheduler", body: "{"}, 503, "is sealed")
		e.want(req{method: "POST", path: path, uid: "nobody", body: body}, 403)
	}
}

func TestFreshnessOfAResolve(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	body := `{"service":"/group/app","secrets":{"a":{"source":"group/db"},"b":{"source":"shared"}}}`
	e.backend.latest.Store(0)
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: body}, 200)
	if n := e.backend.latest.Load(); n != 0 {
		t.Errorf("%d reads of the latest state", n)
	}
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: body, header: http.Header{"Cache-Control": {"no-cache"}}}, 200)
	if n := e.backend.latest.Load(); n < 2 {
		t.Errorf("%d reads of the latest state", n)
	}
	e.backend.age.Store(int64(7 * time.Second))
	for _, path := range []string{resolvePath, checkPath} {
		if got := e.want(req{method: "POST", path: path, uid: "scheduler", body: body}, 200); got.header.Get("Age") != "7" {
			t.Errorf("Age %q", got.header.Get("Age"))
		}
	}
	e.backend.age.Store(0)
	e.backend.down.Store(true)
	got := e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: body}, 503)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// Reads go in parallel, and never more than a few at once.
func TestReadsOfAResolveAreBounded(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	secrets := make(map[string]wire.SecretSource)
	for i := range 50 {
		e.put(fmt.Sprintf("many/s%d", i), fmt.Sprint(i))
		secrets[fmt.Sprint(i)] = wire.SecretSource{Source: fmt.Sprintf("many/s%d", i)}
	}
	var gauge struct {
		sync.Mutex
		now, most int
		full      chan struct{}
	}
	gauge.full = make(chan struct{})
	e.backend.onGet.Store(func() func() {
		gauge.Lock()
		gauge.now++
		gauge.most = max(gauge.most, gauge.now)
		if gauge.now == 8 {
			select {
			case <-gauge.full:
			default:
				close(gauge.full)
			}
		}
		gauge.Unlock()
		select {
		case <-gauge.full: // as many as may, have arrived
		case <-t.Context().Done():
		}
		return func() {
			gauge.Lock()
			gauge.now--
			gauge.Unlock()
		}
	})
	r, err := e.api("scheduler").ResolveSecrets(t.Context(), wire.ResolveRequest{Service: "/many", Secrets: secrets}, client.ResolveOptions{})
	must(t, err)
	for i := range 50 {
		if got := r.Definitions[0].Secrets[fmt.Sprint(i)].Value; got == nil || *got != fmt.Sprint(i) {
			t.Errorf("secret %d is %v", i, got)
		}
	}
	gauge.Lock()
	defer gauge.Unlock()
	if gauge.most != 8 {
		t.Errorf("%d reads at once", gauge.most)
	}
}

// One secret that many places use must not become an answer of any size.
func TestTheAnswerOfAResolveIsBounded(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("big", strings.Repeat("x", 1<<20))
	env := make([]string, 20)
	for i := range env {
		env[i] = fmt.Sprintf(`"E%d":{"secret":"n"}`, i)
	}
	app := func(n int) string {
		return `{"id":"/a","env":{` + strings.Join(env[:n], ",") + `},"secrets":{"n":{"source":"big"}}}`
	}
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: app(7)}, 200)
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: app(20)}, 422, "bytes together")
	for i := range 10 {
		e.put(fmt.Sprintf("big%d", i), strings.Repeat("x", 1<<20))
	}
	var secrets []string
	for i := range 10 {
		secrets = append(secrets, fmt.Sprintf(`"n%d":{"source":"big%d"}`, i, i))
	}
	plain := `{"service":"/a","secrets":{` + strings.Join(secrets, ",") + `}}`
	e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: plain}, 422, "bytes together")
	e.want(req{method: "POST", path: checkPath, uid: "scheduler", body: plain}, 200, `"findings":[]`)
}

func TestEachDecisionOfAResolveHasAnAuditLine(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	type line struct{ service, resource, outcome, reason string }
	const secret, resolve = "dcos:secrets:default:/", "dcos:secrets:resolve:default:/"
	for _, path := range []string{resolvePath, checkPath} {
		endpoint, refused := "secret.resolve", 422
		if path == checkPath {
			endpoint, refused = "secret.check", 200
		}
		for _, row := range []struct {
			uid, service, body string
			status             int
			want               []line // the last is that of the request
		}{
			{"scheduler", "", `{"service":"group.app","secrets":{"a":{"source":"group/db"},"b":{"source":"/shared"},"c":{"source":"group/db"}}}`, 200, []line{
				{"/group/app", secret + "group/db", "allowed", "granted on behalf of the service"},
				{"/group/app", secret + "shared", "allowed", "granted on behalf of the service"},
				{"/group/app", resolve + "group/app", "allowed", "granted on behalf of the service"}}},
			{"scheduler", "", `{"service":"/group/app","secrets":{"a":{"source":"group/none"},"b":{"source":"/shared"}}}`, refused, []line{
				{"/group/app", secret + "group/none", "refused", "the secret does not exist"},
				{"/group/app", secret + "shared", map[int]string{200: "allowed", 422: "refused"}[refused], "granted on behalf of the service"},
				{"/group/app", resolve + "group/app", map[int]string{200: "allowed", 422: "refused"}[refused], "granted on behalf of the service"}}},
			{"scheduler", "", `{"service":"/group/app","secrets":{"a":{"source":"other/db"}}}`, refused, []line{
				{"/group/app", secret + "other/db", "denied", "secret is not accessible from service /group/app"},
				{"/group/app", resolve + "group/app", map[int]string{200: "allowed", 422: "refused"}[refused], "granted on behalf of the service"}}},
			{"x", "/group/app", one("/group/app", "group/db"), 200, []line{
				{"/group/app", secret + "group/db", "allowed", "in the space of the token's service"},
				{"/group/app", resolve + "group/app", "allowed", "the token's own service"}}},
			{"reader", "", one("/group/app", "group/db"), 200, []line{
				{"/group/app", secret + "group/db", "allowed", "granted"},
				{"/group/app", resolve + "group/app", "allowed", "granted"}}},
			{"lister", "", one("/group/app", "group/db"), 403, []line{{"/group/app", resolve + "group/app", "denied", "permission denied"}}},
			{"nobody", "", one("/group/app", "group/db"), 403, []line{{"", "", "denied", "permission denied"}}},
			{"scheduler", "", "[" + one("/group/app", "group/db") + "," + one("/group", "shared") + "]", 200, []line{
				{"/group/app", resolve + "group/app", "allowed", "granted on behalf of the service"},
				{"/group", resolve + "group", "allowed", "granted on behalf of the service"},
				{"/group/app", secret + "group/db", "allowed", "granted on behalf of the service"},
				{"/group", secret + "shared", "allowed", "granted on behalf of the service"},
				{"", "", "allowed", "permissions of some kind: the service decides"}}},
			{"reader", "", "[" + one("/group/app", "group/db") + "," + one("/group", "shared") + "]", 403, []line{
				{"/group/app", resolve + "group/app", "refused", "granted"},
				{"/group", resolve + "group", "denied", "permission denied"}}},
		} {
			before := len(e.auditLines())
			got := e.want(req{method: "POST", path: path, uid: row.uid, service: row.service, body: row.body}, row.status)
			var lines []line
			for _, l := range e.auditLines()[before:] {
				lines = append(lines, line{l["service"].(string), l["resource"].(string), l["outcome"].(string), l["reason"].(string)})
				if l["request_id"] != got.header.Get(wire.RequestIDHeader) || l["endpoint"] != endpoint || l["uid"] != row.uid || l["status"] != float64(row.status) || l["action"] != "read" {
					t.Errorf("%s %s: line %v", row.uid, row.body, l)
				}
			}
			if diff := cmp.Diff(row.want, lines, cmp.AllowUnexported(line{})); diff != "" {
				t.Errorf("%s %s %s:\n%s", endpoint, row.uid, row.body, diff)
			}
		}
	}
}

// TestNoValueOfAResolveIsInLogsOrErrors goes through all ways to fail.
func TestNoValueOfAResolveIsInLogsOrErrors(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("group/a", "CANARY-A")
	e.put("group/b", "CANARY-B\x00")
	e.putBinary("group/c", []byte("CANARY-C\xff"))
	e.put("group/__dcos_base64__d", "CANARY-D")
	e.put("group/__dcos_base64__e", base64.StdEncoding.EncodeToString([]byte("CANARY-E")))
	e.put("other/f", "CANARY-F")
	e.put("big", strings.Repeat("CANARY-G", 1<<16))
	names := `"secrets":{"a":{"source":"group/a"},"b":{"source":"group/b"},"c":{"source":"group/c"},"d":{"source":"group/__dcos_base64__d"},"e":{"source":"group/__dcos_base64__e"},"f":{"source":"other/f"},"g":{"source":"big"},"h":{"source":"group/none"}}`
	var bodies []string
	for _, name := range []string{"b", "c", "d", "f", "h", "none"} {
		for _, first := range []string{"a", "e"} {
			bodies = append(bodies, fmt.Sprintf(`{"id":"/group/app","env":{"PLAIN":"CANARY-PLAIN","A":{"secret":%q},"B":{"secret":%q}},%s}`, first, name, names))
		}
	}
	var many []string
	for i := range 50 {
		many = append(many, fmt.Sprintf(`"E%d":{"secret":"g"}`, i))
	}
	bodies = append(bodies, `{"id":"/group/app","env":{`+strings.Join(many, ",")+`},`+names+`}`)
	bodies = append(bodies, `{"id":"/group/CANARY/../app"}`, `{"id":"/a","env":{"X":"CANARY`, `{"id":"/a","env":{"X":"CANARY","X":"CANARY"}}`, `{"id":"/a","env":"CANARY"}`, `"CANARY"`)
	good := `{"id":"/group/app","env":{"A":{"secret":"a"}},"container":{"docker":{"pullConfig":{"secret":"b"}},"volumes":[{"containerPath":"c","secret":"c"},{"containerPath":"e","secret":"e"}]},` + names + `}`
	var answers strings.Builder
	note := func(q req, failing bool) {
		got := e.do(q)
		if failing && got.status < 400 {
			t.Errorf("%s with %.60s: %d", q.path, q.body, got.status)
		}
		answers.WriteString(got.body + "\n")
	}
	for _, body := range bodies {
		note(req{method: "POST", path: resolvePath, uid: "scheduler", body: body}, true)
		note(req{method: "POST", path: checkPath, uid: "scheduler", body: body}, false)
		note(req{method: "POST", path: resolvePath, uid: "lister", body: body}, true)
	}
	note(req{method: "POST", path: checkPath, uid: "scheduler", body: good}, false)
	for _, trouble := range []func(on bool){e.backend.down.Store, e.backend.panics.Store} {
		trouble(true)
		note(req{method: "POST", path: resolvePath, uid: "scheduler", body: good}, true)
		note(req{method: "POST", path: checkPath, uid: "scheduler", body: good}, true)
		trouble(false)
	}
	note(req{method: "GET", path: "/metrics"}, false)
	if got := e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: good}, 200); !strings.Contains(got.body, "CANARY-A") ||
		!strings.Contains(got.body, base64.StdEncoding.EncodeToString([]byte("CANARY-E"))) {
		t.Fatalf("the values are not there: %s", got.body) // else this test would prove nothing
	}
	trail, err := os.ReadFile(e.audit)
	must(t, err)
	if len(trail) == 0 || e.log.String() == "" {
		t.Fatal("no log to search")
	}
	for name, text := range map[string]string{"log": e.log.String(), "audit log": string(trail), "answers": answers.String()} {
		for _, word := range []string{"CANARY", base64.StdEncoding.EncodeToString([]byte("CANARY"))[:6], "eyJ"} {
			if at := strings.Index(text, word); at >= 0 {
				t.Errorf("the %s holds %q: …%s…", name, word, text[max(0, at-100):min(len(text), at+60)])
			}
		}
	}
}

func TestNothingIsResolvedWithoutItsAuditLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("group/a", "CANARY")
		body := one("/group/app", "group/a")
		must(t, os.Rename(e.audit, e.audit+".1"))
		must(t, os.Mkdir(e.audit, 0o700))
		// The path is compared once a second: until then lines go to the old
		// file.
		eventually(t, func() bool {
			got := e.do(req{method: "POST", path: resolvePath, uid: "scheduler", body: body})
			if got.status == 503 && strings.Contains(got.body, "CANARY") {
				t.Error("the value left")
			}
			return got.status == 503
		})
		e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: body}, 503, "the audit log cannot be written", "nothing was changed")
		must(t, os.Remove(e.audit))
		e.want(req{method: "POST", path: resolvePath, uid: "scheduler", body: body}, 200, "CANARY")
	})
}

func TestCheckFindsWhatAResolveWouldRefuse(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	filled(e)
	e.put("group/long", strings.Repeat("x", 128<<10-2-len("LONG")))
	e.put("group/longer", strings.Repeat("x", 128<<10-1-len("LONG")))
	find := func(definition string) []string {
		t.Helper()
		all, err := e.api("scheduler").Check(t.Context(), []byte(definition))
		must(t, err)
		texts := []string{}
		for _, f := range all {
			if f.Mend == "" || f.Service == "" {
				t.Errorf("a finding without a mending step, or a service: %+v", f)
			}
			texts = append(texts, fmt.Sprint(f.Severity, ": ", f.Where, ": ", f.Source, " ", f.Problem))
		}
		return texts
	}
	var large []string
	for i := range 20 {
		large = append(large, fmt.Sprintf(`"L%03d":{"secret":"n"}`, i))
	}
	for _, row := range []struct {
		definition string
		want       []string
	}{
		{one("/group/app", "group/db"), []string{}},
		{one("/group/app", "group/none"), []string{`error: environment variable "X": /group/none does not exist`}},
		{one("/group/app", "other/db"), []string{`error: environment variable "X": /other/db is not accessible from service /group/app`}},
		{one("/group/app", "other/none"), []string{`error: environment variable "X": /other/none is not accessible from service /group/app`}},
		{one("/group/app", "a b"), []string{`error: environment variable "X":  its source is not a valid secret path`}},
		{one("/group/app", "group/key"), []string{`error: environment variable "X": /group/key is binary, which an environment variable cannot hold`}},
		{file("/group/app", "group/key"), []string{}},
		{one("/group/app", "group/nul"), []string{`error: environment variable "X": /group/nul holds a NUL, which an environment variable cannot`}},
		{one("/group/app", "group/__dcos_base64__word"), []string{}},
		{one("/group/app", "group/__dcos_base64__bad"), []string{`error: environment variable "X": /group/__dcos_base64__bad is to be decoded, as its name begins with __dcos_base64__, and is not base64`}},
		{`{"id":"/group/app","env":{"X":{"secret":"no"}},"secrets":{"n":{"source":"group/none"}}}`, []string{
			`error: environment variable "X":  references an undefined secret`, `warning: "secrets": /group/none nothing references it, so no task gets it`}},
		{`{"id":"/group/app","env":{"LONG":{"secret":"n"}},"secrets":{"n":{"source":"group/long"}}}`, []string{}},
		{`{"id":"/group/app","env":{"LONG":{"secret":"n"},"LONG2":{"secret":"n"}},"secrets":{"n":{"source":"group/longer"}}}`, []string{
			`error: environment variable "LONG": /group/longer has 131067 bytes: a variable has at most 131070 with its name`,
			`error: environment variable "LONG2": /group/longer has 131067 bytes: a variable has at most 131070 with its name`}},
		{`{"id":"/group/app","env":{` + strings.Join(large, ",") + `},"secrets":{"n":{"source":"group/long"}}}`, []string{
			`error: all environment variables:  the secrets in them have 2621600 bytes: a program starts with at most 2097152 of arguments and environment`}},
		{`{"id":"/group/app","container":{"docker":{"pullConfig":{"secret":"n"}}},"secrets":{"n":{"source":"group/db"}}}`, []string{
			`warning: pull config: /group/db is not a Docker config, which is a JSON object`}},
		{`{"id":"/group/app","container":{"docker":{"pullConfig":{"secret":"n"}}},"secrets":{"n":{"source":"pull"}}}`, []string{}},
		{`{"id":"/group/p","volumes":[{"name":"v","secret":"n"}],"containers":[{"name":"c"}],"secrets":{"n":{"source":"group/db"}}}`, []string{
			`warning: volume "v": /group/db no container mounts the volume, so no task gets it`}},
		{`{"service":"/group/app","secrets":{"n":{"source":"group/key"},"m":{"source":"group/none"}}}`, []string{`error: "secrets": /group/none does not exist`}},
		{"[" + one("/group/app", "group/none") + "," + one("/other", "group/db") + "]", []string{
			`error: environment variable "X": /group/none does not exist`, `error: environment variable "X": /group/db is not accessible from service /other`}},
		{`[]`, []string{}},
	} {
		if diff := cmp.Diff(row.want, find(row.definition)); diff != "" {
			t.Errorf("%.200s:\n%s", row.definition, diff)
		}
	}
	e.want(req{method: "POST", path: checkPath, uid: "scheduler", body: `{"id":"/a/../b"}`}, 400, "invalid service id")
	if got := e.want(req{method: "POST", path: checkPath, uid: "scheduler", body: one("/group/app", "group/db")}, 200); got.body != `{"findings":[]}` {
		t.Errorf("no findings are %s", got.body)
	}
	var doc wire.Findings
	got := e.want(req{method: "POST", path: checkPath, uid: "scheduler", body: one("/group/app", "group/none")}, 200)
	must(t, json.Unmarshal([]byte(got.body), &doc))
	want := wire.Finding{Service: "/group/app", Severity: "error", Secret: "n", Source: "/group/none", Where: `environment variable "X"`,
		Problem: "does not exist", Mend: "create it: secretstore put group/none"}
	if !cmp.Equal(doc.Findings, []wire.Finding{want}) {
		t.Errorf("%+v", doc)
	}
}

// TestLargeBatchesWaitForMemoryBeforeTheyRead, and other requests do not wait.
func TestLargeBatchesWaitForMemoryBeforeTheyRead(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	e.want(req{method: "PUT", path: base + "/pieces", uid: "alice", header: octets, body: strings.Repeat("x", 200<<10)}, 201)
	for i := range 3 {
		e.put(fmt.Sprintf("part%d", i), strings.Repeat("x", 40<<10))
	}
	release, err := e.server.TakeAnswers(t.Context())
	must(t, err)
	post := func(endpoint, secrets string) req {
		return req{method: "POST", path: "/secrets/v1/" + endpoint + "/default", uid: "scheduler", body: `{"service":"/x","secrets":{` + secrets + `}}`}
	}
	const small, pieces = `"a":{"source":"part0"}`, `"a":{"source":"pieces"}`
	parts := small + `,"b":{"source":"part1"},"c":{"source":"part2"}`
	answers := make(chan res, 3)
	for _, q := range []req{post("resolve", pieces), post("resolve", parts), post("check", pieces)} {
		go func() { answers <- e.do(q) }()
	}
	for range cap(answers) {
		if got := <-answers; got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%d %.100s, want 503", got.status, got.body)
		}
	}
	e.want(post("resolve", small), 200)
	e.put("more", strings.Repeat("x", 100<<10))
	release()
	for _, q := range []req{post("resolve", pieces), post("resolve", parts), post("check", pieces)} {
		e.want(q, 200)
	}
	// An answer gives its part back once it has been sent, which is when it is
	// here.
	eventually(t, func() bool { _, err := e.server.TakeAnswers(t.Context()); return err == nil })
}

// TestOnlyAWriteKeepsItsBodyInMemory holds requests with large bodies up in the
// storage, and takes the whole budget of bodies meanwhile.
func TestOnlyAWriteKeepsItsBodyInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("group/db", "v")
		space := strings.Repeat(" ", 100<<10)
		for name, row := range map[string]struct {
			q     req
			keeps bool
		}{
			"resolve": {req{method: "POST", path: resolvePath, uid: "scheduler", body: one("/group/app", "group/db") + space}, false},
			"check":   {req{method: "POST", path: checkPath, uid: "scheduler", body: one("/group/app", "group/db") + space}, false},
			"unseal":  {req{method: "PUT", path: "/secrets/v1/auto-unseal/default", uid: "root", body: `{}` + space}, false},
			"create":  {req{method: "PUT", path: base + "/large", uid: "alice", body: `{"value":"v"}` + space}, true},
		} {
			e.backend.hang.Store(true)
			done := make(chan res, 1)
			go func() { done <- e.do(row.q) }()
			synctest.Wait()
			release, err := e.server.TakeBodies(t.Context())
			if len(done) > 0 {
				t.Errorf("%s does not wait for the storage", name)
			}
			if keeps := err != nil; keeps != row.keeps {
				t.Errorf("%s: the body is kept: %v (%v)", name, keeps, err)
			}
			if err == nil {
				release()
			}
			e.backend.hang.Store(false)
			<-done
			release, err = e.server.TakeBodies(t.Context())
			if err != nil {
				t.Fatalf("%s: the body is kept after the answer", name)
			}
			release()
		}
	})
}
