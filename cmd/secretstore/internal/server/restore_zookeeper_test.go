//go:build zookeeper

package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/zap"

	"secretstore/internal/zktest"
	"secretstore/seal"
	"secretstore/store/zk"
	"secretstore/web"
)

// send sends a request with headers, does not follow redirects, and returns the
// answer, whose body the test closes at its end.
func (r *running) send(t *testing.T, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// session signs a user in to the pages, and returns the cookie.
func (r *running) session(t *testing.T, uid, password string) string {
	t.Helper()
	form := url.Values{"uid": {uid}, "password": {password}}.Encode()
	answer := r.send(t, "POST", "/ui/sign-in", form, "Content-Type", "application/x-www-form-urlencoded")
	for _, cookie := range answer.Cookies() {
		if cookie.Name == web.Cookie {
			return web.Cookie + "=" + cookie.Value
		}
	}
	t.Fatalf("%s is not signed in to the pages: %s", uid, answer.Status)
	return ""
}

// TestARestoreOnZooKeeperIsANewIncarnation: a backup is restored into another root,
// which two servers serve. What clients have of the first store is good on neither,
// and what they wait for is told to them.
func TestARestoreOnZooKeeperIsANewIncarnation(t *testing.T) {
	const (
		secret  = "/secrets/v1/secret/default/team/a"
		stream  = "/secrets/v1/watch/default?prefix=team"
		account = "/acs/api/v1/users/alice"
	)
	zookeeper := zktest.Start(t)
	first := onZooKeeper(t, zookeeper.Addr()+"/first", horse("admin"))
	first.eventually(t, 200, "", "GET", "/acs/api/v1/auth/jwks", "")
	admin := first.signIn(t, "admin", "correct horse")
	first.must(t, 201, admin, "PUT", secret, `{"value":"v"}`)
	first.must(t, 201, admin, "PUT", account, aliceHorse)
	first.grant(t, admin, "dcos:secrets:default:/team/*", "alice", "read")
	alice := first.signIn(t, "alice", "correct horse")
	cookie := first.session(t, "admin", "correct horse")
	var task struct{ Token string }
	if err := json.Unmarshal([]byte(first.must(t, 200, admin, "POST", "/secrets/v1/task-token/default", `{"service":"/team/app","ttl":"1h","uses":0}`)), &task); err != nil {
		t.Fatal(err)
	}
	as := func(token string) []string { return []string{"Authorization", "token=" + token} }
	etag := first.send(t, "GET", secret, "", as(alice)...).Header.Get("ETag")
	// All of it is good, so that its refusal below means something.
	first.must(t, 200, task.Token, "GET", secret+"?service=/team/app", "")
	if got := first.send(t, "GET", "/ui/secrets", "", "Cookie", cookie).StatusCode; got != 200 {
		t.Fatalf("the pages: %d", got)
	}
	if got := first.send(t, "GET", secret, "", append(as(alice), "If-None-Match", etag)...).StatusCode; got != 304 {
		t.Fatalf("with the ETag %s: %d", etag, got)
	}
	file := first.must(t, 200, admin, "GET", "/secrets/v1/backup/default?bootstrap_key=true", "")
	first.stop()
	<-first.log.done

	backup, err := seal.OpenBackup(strings.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	to, err := zk.Open(t.Context(), zk.Config{Servers: []string{zookeeper.Addr()}, Root: "/second", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := backup.Restore(t.Context(), to, seal.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	a := onZooKeeper(t, zookeeper.Addr()+"/second", horse("admin"))
	b := onZooKeeper(t, zookeeper.Addr()+"/second", horse("admin"))
	a.must(t, 200, a.signIn(t, "admin", "correct horse"), "PUT", "/secrets/v1/auto-unseal/default", "")
	for name, r := range map[string]*running{"A": a, "B": b} {
		r.eventually(t, 401, alice, "GET", secret, "")
		for what, token := range map[string]string{"the superuser": admin, "the account": alice, "the task": task.Token} {
			if status, text := r.with(t, token, "GET", secret+"?service=/team/app", ""); status != 401 {
				t.Errorf("%s: the token of %s from before: %d %s", name, what, status, text)
			}
		}
		if answer := r.send(t, "GET", "/ui/secrets", "", "Cookie", cookie); answer.StatusCode != 303 || !strings.Contains(answer.Header.Get("Location"), "sign-in") {
			t.Errorf("%s: the session from before: %s, %s", name, answer.Status, answer.Header.Get("Location"))
		}
		now := r.signIn(t, "alice", "correct horse") // the password is that of the backup
		r.eventually(t, 200, now, "GET", secret, "")
		answer := r.send(t, "GET", secret, "", append(as(now), "If-None-Match", etag)...)
		if answer.StatusCode != 200 || answer.Header.Get("ETag") == etag {
			t.Errorf("%s: with the ETag from before: %s, %s", name, answer.Status, answer.Header.Get("ETag"))
		}
		boss := r.signIn(t, "admin", "correct horse")
		for _, method := range []string{"PATCH", "DELETE"} {
			if got := r.send(t, method, secret, `{"value":"w"}`, append(as(boss), "If-Match", etag, "Content-Type", "application/json")...).StatusCode; got != 412 {
				t.Errorf("%s: %s with the ETag from before: %d", name, method, got)
			}
		}
		// A watch for the next value answers at once, although there is none.
		answer = r.send(t, "GET", secret+"?timeout=10m&watch="+url.QueryEscape(etag), "", as(now)...)
		if value, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != 200 || !bytes.Contains(value, []byte(`"v"`)) {
			t.Errorf("%s: a watch from before: %s, %s, %v", name, answer.Status, value, err)
		}
		events := bufio.NewScanner(r.send(t, "GET", stream, "", append(as(boss), "Last-Event-ID", "7")...).Body)
		for events.Scan() && !strings.HasPrefix(events.Text(), "event:") {
		}
		if events.Text() != "event: resync" {
			t.Errorf("%s: a stream that goes on begins with %q", name, events.Text())
		}
	}
}
