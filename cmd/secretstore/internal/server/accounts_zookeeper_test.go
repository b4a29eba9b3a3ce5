//go:build zookeeper

package server

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/zktest"
	"secretstore/seal/sealtest"
)

// onZooKeeper runs a server with accounts on a storage in ZooKeeper until the test ends.
func onZooKeeper(t *testing.T, storage, superusers string, args ...string) *running {
	t.Helper()
	dir := t.TempDir()
	return startWith(t, Outside{Stdout: io.Discard, TestOnlyGenerateKey: sealtest.GenerateKey}, append([]string{
		"--listen", "127.0.0.1:0", "--storage", "zk://" + storage, "--superuser", "root", "--auth-secret-file", write(t, dir, "key", fixture.Key+"\n"),
		"--iam", "builtin", "--superuser-password-file", write(t, dir, "superusers", superusers),
	}, args...)...)
}

func TestTwoServersShareAccountsAndTheirEnd(t *testing.T) {
	zookeeper := zktest.Start(t)
	a := onZooKeeper(t, zookeeper.Addr()+"/accounts", horse("admin"))
	b := onZooKeeper(t, zookeeper.Addr()+"/accounts", horse("admin"))
	const (
		secret  = "/secrets/v1/secret/default/team/a"
		account = "/acs/api/v1/users/alice"
		rid     = "dcos:secrets:default:/team/*"
	)
	for _, r := range []*running{a, b} {
		r.eventually(t, 200, "", "GET", "/acs/api/v1/auth/jwks", "")
	}
	admin := a.signIn(t, "admin", "correct horse")
	b.eventually(t, 200, admin, "GET", "/acs/api/v1/users", "")
	a.must(t, 201, admin, "PUT", secret, `{"value":"v"}`)
	a.must(t, 201, admin, "PUT", account, aliceHorse)
	first := a.signIn(t, "alice", "correct horse")
	t.Logf("signed in at A, used at B after %v", b.eventually(t, 200, first, "GET", account, ""))
	b.must(t, 403, first, "GET", secret, "")
	a.grant(t, admin, rid, "alice", "read")
	t.Logf("granted at A, read at B after %v", b.eventually(t, 200, first, "GET", secret, ""))
	a.must(t, 204, admin, "DELETE", aclPath(rid)+"/users/alice/read", "")
	t.Logf("the grant revoked at A, refused at B after %v", b.eventually(t, 403, first, "GET", secret, ""))
	a.grant(t, admin, rid, "alice", "read")
	a.grant(t, admin, "dcos:secrets:list:default:/team", "alice", "read")
	b.eventually(t, 200, first, "GET", "/secrets/v1/secret/default/team?list=true", "")

	stream, watch := b.stream(t, first, "team"), b.watch(t, first, "team/a")
	a.must(t, 204, admin, "POST", account+"/revoke", "")
	t.Logf("revoked at A, refused at B after %v", b.eventually(t, 401, first, "GET", secret, ""))
	<-stream
	if status := <-watch; status != 401 {
		t.Errorf("a watch at B ends with %d", status)
	}
	second := b.signIn(t, "alice", "correct horse") // the new generation, which A knows
	a.eventually(t, 200, second, "GET", secret, "")

	a.must(t, 204, admin, "DELETE", account, "")
	b.eventually(t, 401, second, "GET", secret, "")
	b.must(t, 201, admin, "PUT", account, aliceHorse)
	third := b.signIn(t, "alice", "correct horse")
	a.eventually(t, 200, third, "GET", account, "")
	for name, r := range map[string]*running{"A": a, "B": b} {
		r.must(t, 403, third, "GET", secret, "") // nor an old grant
		for _, old := range []string{first, second} {
			if status, _ := r.with(t, old, "GET", account, ""); status != 401 {
				t.Errorf("a token of the account that was deleted: %d at %s", status, name)
			}
		}
	}

	keys := func(r *running) (ids []string) {
		var set struct{ Keys []struct{ Kid string } }
		if err := json.Unmarshal([]byte(r.must(t, 200, "", "GET", "/acs/api/v1/auth/jwks", "")), &set); err != nil {
			t.Fatal(err)
		}
		for _, k := range set.Keys {
			ids = append(ids, k.Kid)
		}
		return ids
	}
	before := keys(b)
	a.must(t, 204, admin, "POST", "/acs/api/v1/auth/jwks/rotate", "")
	began := time.Now()
	for len(keys(b)) == len(before) {
		if time.Since(began) > time.Minute {
			t.Fatal("B does not announce the new key")
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("a new key of A is announced at B after %v", time.Since(began))
	if now := keys(b); len(now) != 2 || now[1] != before[0] || now[0] != keys(a)[0] {
		t.Errorf("keys at B: %v, before: %v; at A: %v", now, before, keys(a))
	}
	for _, r := range []*running{a, b} {
		r.must(t, 200, third, "GET", account, "")
	}
}

func TestWithoutStorageAccountsCountForMaxStale(t *testing.T) {
	zookeeper := zktest.Start(t)
	r := onZooKeeper(t, zookeeper.Addr()+"/accounts", horse("admin"), "--max-stale", "20s")
	r.eventually(t, 200, "", "GET", "/acs/api/v1/auth/jwks", "")
	admin := r.signIn(t, "admin", "correct horse")
	r.must(t, 201, admin, "PUT", "/acs/api/v1/users/alice", aliceHorse)
	r.grant(t, admin, "dcos:mesos:master:task:app_id:/a", "alice", "read")
	alice := r.signIn(t, "alice", "correct horse")
	const question = "/acs/api/v1/internal/policyquery?uid=alice&action=read&rid=dcos:mesos:master:task:app_id:/a"
	zookeeper.Kill()
	if text := r.must(t, 200, admin, "GET", question, ""); !strings.Contains(text, "true") {
		t.Error(text)
	}
	r.must(t, 200, alice, "GET", "/acs/api/v1/users/alice", "")
	r.signIn(t, "alice", "correct horse")

	t.Logf("after %v tokens are not verified any more", r.eventually(t, 503, alice, "GET", "/acs/api/v1/users/alice", ""))
	for _, path := range []string{question, "/acs/api/v1/users", "/acs/api/v1/auth/jwks"} {
		r.must(t, 503, admin, "GET", path, "")
	}
	if _, status := r.login(t, "alice", "correct horse"); status != 503 {
		t.Errorf("a sign-in: %d", status)
	}
	if _, status := r.login(t, "mallory", "correct horse"); status != 503 {
		t.Errorf("a sign-in without an account: %d", status)
	}
	zookeeper.Launch()
	r.eventually(t, 200, alice, "GET", "/acs/api/v1/users/alice", "")
	r.signIn(t, "alice", "correct horse")
}
