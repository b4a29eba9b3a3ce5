package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api/client"
	"secretstore/api/wire"
)

const taskURL = "/secrets/v1/task-token/default"

// with returns the header of a request with the given token.
func with(raw string) http.Header { return http.Header{"Authorization": {"token=" + raw}} }

func (e *edge) taskToken(service string, uses int) string {
	e.t.Helper()
	got, err := e.api("scheduler").TaskToken(e.t.Context(), wire.TaskTokenRequest{Service: service, Uses: &uses})
	must(e.t, err)
	return got.Token
}

func TestTaskTokenFetchesItsSecretsSoManyTimes(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, p := range []string{"group/db", "group/app/key", "other/db", "top"} {
		e.put(p, "v")
	}
	raw := e.taskToken("/group/app", 2)
	get := func(path string, status int, words ...string) {
		t.Helper()
		e.want(req{method: "GET", path: base + path, header: with(raw)}, status, words...)
	}
	// An answer without a value consumes no use.
	get("/other/db", 403, "secret is not accessible from service /group/app")
	get("/group/none", 404)
	e.want(req{method: "HEAD", path: base + "/group/db", header: with(raw)}, 200)
	e.want(req{method: "GET", path: base + "?list=true", header: with(raw)}, 403)
	e.want(req{method: "GET", path: "/secrets/v1/store", header: with(raw)}, 403)
	e.want(req{method: "PUT", path: base + "/group/app/new", header: with(raw), body: `{"value":"v"}`}, 403)
	e.want(req{method: "POST", path: taskURL, header: with(raw), body: `{"service":"/group/app"}`}, 403)

	get("/group/db", 200, `"v"`)
	get("/group/app/key", 200, `"v"`)
	get("/group/db", 401, "used up")
	get("/group/none", 401, "used up")
	e.want(req{method: "HEAD", path: base + "/group/db", header: with(raw)}, 401)

	// Without a number it can be used while it lives.
	raw = e.taskToken("/group/app", 0)
	for range 5 {
		get("/top", 200)
	}
	lines := e.auditLines()
	last := lines[len(lines)-1]
	if last["uid"] != "scheduler" || last["service"] != "/group/app" || last["status"] != 200.0 {
		t.Errorf("audit line %v", last)
	}
}

// TestAValueOfAWatchConsumesAUse of the task token, whether or not the watch
// waited for it; waiting for nothing costs nothing.
func TestAValueOfAWatchConsumesAUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("top", "one")
		var task wire.TaskToken
		minted := e.want(req{method: "POST", path: taskURL, uid: "scheduler", body: `{"service":"/x","uses":3,"ttl":"1h"}`}, 200)
		must(t, json.Unmarshal([]byte(minted.body), &task))
		raw := task.Token
		watch := func(etag string, timeout string) <-chan res {
			return e.beginAs(req{method: "GET", path: base + "/top?timeout=" + timeout + "&watch=" + strings.Trim(etag, `"`)}, "token="+raw)
		}
		etag := e.answered(watch("", "1m"), 200, "one").header.Get("ETag")
		e.answered(watch(etag, "1s"), 304)
		waiting := watch(etag, "10m")
		e.awaitWaiting(1)
		e.patch("alice", "top", "two")
		etag = e.answered(waiting, 200, "two").header.Get("ETag")
		waiting = watch(etag, "10m")
		e.awaitWaiting(1)
		e.patch("alice", "top", "three")
		e.answered(waiting, 200, "three")
		e.answered(watch(etag, "1m"), 401, "used up")
	})
}

func TestTaskTokenRequests(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for _, row := range []struct {
		uid, body string
		status    int
	}{
		{"scheduler", `{"service":"/group/app"}`, 200},
		{"scheduler", `{"service":"prod.db.backup","ttl":"24h","uses":1000}`, 200},
		{"scheduler", `{"service":"/","ttl":"1s","uses":0}`, 200},
		{"root", `{"service":"/group/app"}`, 200},
		{"alice", `{"service":"/group/app"}`, 403},
		{"reader", `{"service":"/group/app"}`, 403},
		{"scheduler", `{"service":""}`, 400},
		{"scheduler", `{}`, 400},
		{"scheduler", `{"service":"/a/../b"}`, 400},
		{"scheduler", `{"service":"/a","ttl":"0.9s"}`, 400},
		{"scheduler", `{"service":"/a","ttl":"24h0m1s"}`, 400},
		{"scheduler", `{"service":"/a","ttl":"-1s"}`, 400},
		{"scheduler", `{"service":"/a","ttl":"60"}`, 400},
		{"scheduler", `{"service":"/a","ttl":60}`, 400},
		{"scheduler", `{"service":"/a","uses":-1}`, 400},
		{"scheduler", `{"service":"/a","uses":1001}`, 400},
		{"scheduler", `{"service":"/a","uses":1,"uses":0}`, 400},
		{"scheduler", `["/a"]`, 400},
		{"scheduler", ``, 400},
		{"", `{"service":"/a"}`, 401},
	} {
		e.want(req{method: "POST", path: taskURL, uid: row.uid, body: row.body}, row.status)
	}
	e.want(req{method: "POST", path: "/secrets/v1/task-token/other", uid: "scheduler", body: `{"service":"/a"}`}, 404, "store not found")
	if got := e.want(req{method: "PUT", path: taskURL, uid: "scheduler", body: `{}`}, 405); got.header.Get("Allow") != "POST" {
		t.Errorf("Allow %q", got.header.Get("Allow"))
	}
}

func TestTaskTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, edgeOptions{pipes: true})
		e.put("top", "v")
		var got wire.TaskToken
		answer := e.want(req{method: "POST", path: taskURL, uid: "scheduler", body: `{"service":"/x","ttl":"1s"}`}, 200)
		must(t, json.Unmarshal([]byte(answer.body), &got))
		until, err := time.Parse(time.RFC3339, got.Expires)
		must(t, err)
		if left := time.Until(until); left > 2*time.Second {
			t.Errorf("lives for %v", left)
		}
		eventually(t, func() bool {
			return e.do(req{method: "HEAD", path: base + "/top", header: with(got.Token)}).status == 401
		})
		if time.Now().Before(until) {
			t.Error("refused before its time")
		}
	})
}

// A store that cannot check a token must not say that the token is bad: its
// scheduler would throw it away.
func TestTaskTokenOfASealedStoreIs503(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("top", "v")
	raw := e.taskToken("/x", 1)
	e.backend.down.Store(true)
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 503)
	e.backend.down.Store(false)
	e.sealStore()
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 503, "sealed")
	e.want(req{method: "GET", path: base + "/top", header: with(raw[:len(raw)-4] + "AAAA")}, 503, "sealed")
	e.want(req{method: "POST", path: taskURL, uid: "scheduler", body: `{"service":"/x"}`}, 503, "sealed")
	_, err := e.store.Unseal(t.Context(), []byte(e.unseal))
	must(t, err)
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 200)
}

func TestForgedTaskTokenIsRefused(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("top", "v")
	raw := e.taskToken("/x", 1)
	e.want(req{method: "GET", path: base + "/top", header: with(raw[:len(raw)-4] + "AAAA")}, 401)
	// A term that nobody made is not an outage.
	// A client without a token cannot make the server log errors.
	parts := strings.Split(raw, ".")
	parts[0] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"secretstore-task-77","typ":"JWT"}`))
	unknown := with(strings.Join(parts, "."))
	e.want(req{method: "GET", path: base + "/top", header: unknown}, 401)
	if strings.Contains(e.log.String(), `"level":"error"`) {
		t.Errorf("logged: %s", e.log.String())
	}
	// Without the storage it might be the term of a rotation a moment ago.
	e.backend.down.Store(true)
	e.want(req{method: "GET", path: base + "/top", header: unknown}, 503)
	e.backend.down.Store(false)
	// The tokens of another store are nothing here.
	other := newEdge(t, edgeOptions{})
	other.put("top", "v")
	other.want(req{method: "GET", path: base + "/top", header: with(raw)}, 401)
	// A rotation that has ended takes the older key with it.
	root := e.api("root")
	_, err := root.Rotate(t.Context())
	must(t, err)
	eventually(t, func() bool {
		r, err := root.RotationStatus(t.Context())
		return err == nil && r.State == "idle" && r.Terms == 1
	})
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 401)
	e.want(req{method: "GET", path: base + "/top", header: with(e.taskToken("/x", 1))}, 200)
}

// TestTaskTokensEndWithThePermissionOfTheirMinter, also those that wait.
func TestTaskTokensEndWithThePermissionOfTheirMinter(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("top", "v")
	raw := e.taskToken("/x", 0)
	answers := e.beginAs(req{method: "GET", path: base + "/none?watch=&timeout=10m"}, "token="+raw)
	e.awaitWaiting(1)
	before := e.policy.Load()
	other, err := acl.ParsePolicy([]byte(`users: {scheduler: {"dcos:secrets:resolve:default:/other": [read]}, alice: {"dcos:secrets:default:/*": [full]}}`))
	must(t, err)
	e.policy.Store(other)
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 401, "withdrawn")
	e.put("none", "v")
	e.answered(answers, 401, "withdrawn")
	// The line of the create that ended the wait may come after it.
	if !slices.ContainsFunc(e.auditLines(), func(line map[string]any) bool {
		return line["endpoint"] == "secret.watch" && line["uid"] == "scheduler" && line["service"] == "/x" && line["outcome"] == "denied"
	}) {
		t.Errorf("audit lines %v", e.auditLines())
	}
	e.policy.Store(before)
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 200)
}

func TestUsesAreCountedUnderConcurrency(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("top", "v")
	const uses, clients = 3, 12
	raw := e.taskToken("/x", uses)
	var wg sync.WaitGroup
	status := make([]int, clients)
	for i := range clients {
		wg.Go(func() { status[i] = e.do(req{method: "GET", path: base + "/top", header: with(raw)}).status })
	}
	wg.Wait()
	count := map[int]int{}
	for _, s := range status {
		count[s]++
	}
	if count[200] != uses || count[401] != clients-uses {
		t.Errorf("answers by status: %v", count)
	}
}

// A use is recorded before the answer leaves: where it cannot be, there is
// none.
func TestNoAnswerWithoutRecordingItsUse(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("top", "CANARY")
	raw := e.taskToken("/x", 1)
	e.backend.lost.Store(true)
	got := e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 503, "outcome unknown")
	if strings.Contains(got.body, "CANARY") {
		t.Errorf("body %q", got.body)
	}
	e.backend.lost.Store(false)
	e.want(req{method: "GET", path: base + "/top", header: with(raw)}, 200)
}

func TestTaskTokensStayOutOfLogAndAudit(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("top", "v")
	raw := e.taskToken("/x", 1)
	for range 2 {
		e.do(req{method: "GET", path: base + "/top", header: with(raw)})
	}
	signature := raw[strings.LastIndex(raw, ".")+1:]
	if strings.Contains(e.log.String(), signature) || strings.Contains(fmt.Sprint(e.auditLines()), signature) {
		t.Error("a task token was written down")
	}
	if !token.IsTask(raw) {
		t.Error("not recognised")
	}
	_, err := e.api("alice").TaskToken(t.Context(), wire.TaskTokenRequest{Service: "/x"})
	wantIs(t, "without permission", err, client.ErrDenied)
}

func TestAWatchThatAnswersWithAValueConsumesAUse(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("group/db", "v")
	id := strings.Trim(e.etag("group/db"), `"`)
	raw := e.taskToken("/group/app", 1)
	watch := func(known string, status int) {
		t.Helper()
		e.want(req{method: "GET", path: base + "/group/db?timeout=1ms&watch=" + known, header: with(raw)}, status)
	}
	watch(id, 304)
	watch("x", 400)
	e.want(req{method: "GET", path: "/secrets/v1/watch/default", header: with(raw)}, 403)
	watch("", 200)
	watch("", 401)
	watch(id, 401)
}
