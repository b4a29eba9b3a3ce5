package backups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api"
	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/seal"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

// newStore returns an unsealed store that is bootstrapped.
func newStore(t *testing.T) *seal.Store {
	t.Helper()
	b := memory.New()
	s, err := seal.Open(t.Context(), seal.Options{Backend: b, Bootstrap: true, KeepVersions: 5, GenerateKey: sealtest.GenerateKey, Mode: seal.ModePermissive, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); b.Close() })
	for deadline := time.Now().Add(time.Minute); s.Status().Sealed(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still %+v", s.Status())
		}
	}
	return s
}

// otherStore is a running store, into which a backup of another one is restored.
type otherStore struct {
	*seal.Store
	url    string
	before atomic.Int64 // how many writes it takes before what follows
	then   http.HandlerFunc
}

// newOtherStore runs a store whose superuser is root, and in which bob may do
// everything with secrets.
func newOtherStore(t *testing.T) *otherStore {
	t.Helper()
	o := &otherStore{Store: newStore(t)}
	verifier, err := token.New(token.Config{HMACKey: []byte(fixture.Key)})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := acl.ParsePolicy([]byte(`users: {bob: {"dcos:secrets:default:/*": [full]}}`))
	if err != nil {
		t.Fatal(err)
	}
	policy = policy.WithSuperusers("root")
	handler, err := api.New(api.Config{Store: o.Store, Driver: "memory", Auth: verifier, Policy: func() *acl.Policy { return policy }})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/history/") || o.then == nil || o.before.Add(-1) >= 0 {
			handler.ServeHTTP(w, r)
			return
		}
		o.then(w, r)
	}))
	t.Cleanup(func() { handler.EndWatches(); srv.Close() })
	o.url = srv.URL
	return o
}

// restoreAs runs restore --into-other-store as a user, and returns its output.
func (o *otherStore) restoreAs(t *testing.T, uid, file string, args ...string) (string, error) {
	t.Helper()
	raw, err := token.Sign(uid, time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"SECRETSTORE_TOKEN": raw, "HOME": t.TempDir()}
	var out bytes.Buffer
	p := &base.Process{Stdin: bytes.NewReader(nil), Stdout: &out, Stderr: &out, Getenv: func(name string) string { return env[name] }}
	cmd := restoreCommand(p)
	cmd.SetArgs(append([]string{file, "--into-other-store", "--server", o.url, "--timeout", "20s"}, args...))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.Execute()
	return out.String(), err
}

// secrets returns how many secrets the store has.
func (o *otherStore) secrets(t *testing.T) int {
	t.Helper()
	list, err := o.List(t.Context(), acl.Path{}, seal.Page{}, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Names)
}

// backupOfMany returns a file with the backup of a store with so many secrets in two
// versions, which has the key that opens it.
func backupOfMany(t *testing.T, n int) string {
	t.Helper()
	s := newStore(t)
	for i := range n {
		p, err := acl.ParsePath(fmt.Sprintf("f%d/s%d", i%3, i))
		if err != nil {
			t.Fatal(err)
		}
		_, created := s.Create(t.Context(), p, seal.Change{Kind: seal.Text, Value: []byte("old"), Author: "alice"})
		_, updated := s.Update(t.Context(), p, seal.Change{Kind: seal.Text, Value: []byte(fmt.Sprint(i)), Author: "alice"})
		if err := errors.Join(created, updated); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "s.backup")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Backup(t.Context(), f, seal.BackupOptions{BootstrapKey: true})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOnlyASuperuserRestoresIntoAnotherStore(t *testing.T) {
	file, o := backupOfMany(t, 3), newOtherStore(t)
	out, err := o.restoreAs(t, "bob", file)
	if err == nil || strings.Count(out, "403") != 3 || !strings.Contains(out, "0 created") || o.secrets(t) != 0 {
		t.Errorf("%s, %v, %d secrets", out, err, o.secrets(t))
	}
	if out, err = o.restoreAs(t, "root", file); err != nil || !strings.Contains(out, "3 created") || o.secrets(t) != 3 {
		t.Errorf("%s, %v, %d secrets", out, err, o.secrets(t))
	}
}

// TestARestoreIntoAnotherStoreIsResumed after the store was sealed in the middle of
// it, after one secret was refused, and after answers were lost: each time, the same
// command brings the rest, and no secret has another version than in the backup.
func TestARestoreIntoAnotherStoreIsResumed(t *testing.T) {
	const n = 30
	file := backupOfMany(t, n)
	for name, c := range map[string]struct {
		then    func(o *otherStore) http.HandlerFunc
		repair  func(o *otherStore) error
		refused string // what the first run says
		least   int    // how many secrets it leaves undone at least
	}{
		"sealed": {
			then: func(o *otherStore) http.HandlerFunc {
				var once sync.Once // several requests come at once, and some after the unseal
				return func(w http.ResponseWriter, r *http.Request) {
					once.Do(func() {
						if _, err := o.Seal(context.WithoutCancel(r.Context()), "root"); err != nil {
							t.Error(err)
						}
					})
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusServiceUnavailable)
					fmt.Fprint(w, `{"title":"503 Service Unavailable","description":"the secret store is sealed"}`)
				}
			},
			repair:  func(o *otherStore) error { _, err := o.AutoUnseal(t.Context(), ""); return err },
			refused: "run the same command again to continue",
			least:   1,
		},
		"one is refused": {
			then: func(o *otherStore) http.HandlerFunc {
				return func(w http.ResponseWriter, _ *http.Request) {
					o.before.Store(n)
					http.Error(w, "no", http.StatusRequestEntityTooLarge)
				}
			},
			repair:  func(*otherStore) error { return nil },
			refused: "1 secret(s) could not be restored",
			least:   1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOtherStore(t)
			o.before.Store(10)
			o.then = c.then(o)
			out, err := o.restoreAs(t, "root", file)
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Fatalf("%s, %v", out, err)
			}
			if err := c.repair(o); err != nil {
				t.Fatal(err)
			}
			left := n - o.secrets(t)
			if left < c.least || left == n { // some of the first ten may have met the seal
				t.Errorf("%d of %d secrets are left to be restored", left, n)
			}
			o.before.Store(10 * n)
			out, err = o.restoreAs(t, "root", file)
			if want := fmt.Sprintf("%d created, 0 updated; %d unchanged", left, n-left); err != nil || !strings.Contains(out, want) {
				t.Errorf("%s, %v; want %s", out, err, want)
			}
			o.wantTwoVersions(t, n)
		})
	}
}

// TestALostAnswerIsNoSecondVersion: the store has taken the secret, and the
// connection ended before it said so.
func TestALostAnswerIsNoSecondVersion(t *testing.T) {
	const n = 5
	file, o := backupOfMany(t, n), newOtherStore(t)
	o.before.Store(2)
	var lost atomic.Bool
	o.then = func(_ http.ResponseWriter, r *http.Request) {
		o.before.Store(10 * n)
		lost.Store(true)
		req, err := http.NewRequestWithContext(r.Context(), r.Method, o.url+r.URL.RequestURI(), r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header = r.Header.Clone()
		if answer, err := http.DefaultClient.Do(req); err != nil || answer.Body.Close() != nil || answer.StatusCode != http.StatusCreated {
			t.Errorf("%v, %v", answer, err)
		}
		panic(http.ErrAbortHandler)
	}
	out, err := o.restoreAs(t, "root", file)
	if errors.Is(err, client.ErrUnknown) || err != nil {
		out, err = o.restoreAs(t, "root", file)
	}
	if err != nil || !lost.Load() || !strings.Contains(out, "0 failed") {
		t.Errorf("%s, %v, lost: %v", out, err, lost.Load())
	}
	o.wantTwoVersions(t, n)
}

// wantTwoVersions checks that all secrets are there as the backup has them.
func (o *otherStore) wantTwoVersions(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		p, err := acl.ParsePath(fmt.Sprintf("f%d/s%d", i%3, i))
		if err != nil {
			t.Fatal(err)
		}
		s, err := o.Whole(t.Context(), p)
		if err != nil || len(s.Versions) != 2 || string(s.Versions[0].Value) != fmt.Sprint(i) || string(s.Versions[1].Value) != "old" || s.Author != "alice" {
			t.Errorf("%s: %+v, %v", p, s, err)
		}
	}
}
