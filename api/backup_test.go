package api_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/memory"
)

const backups = "/secrets/v1/backup/default"

// allowBackups grants alice read on backups, and bob everything that a wildcard
// can grant.
func (e *edge) allowBackups() {
	policy, err := acl.ParsePolicy([]byte(`users: {alice: {"dcos:secrets:backup:default": [read]}, bob: {"dcos:*": [full], "*": [full], "dcos:secrets:*": [full]}, carol: {"dcos:secrets:backup:default": [create, update, delete]}}`))
	must(e.t, err)
	e.policy.Store(policy.WithSuperusers("root"))
}

func openBackup(t *testing.T, body string) *seal.Backup {
	t.Helper()
	b, err := seal.OpenBackup(strings.NewReader(body), int64(len(body)))
	must(t, err)
	return b
}

func TestABackupNeedsThePermissionOfThatName(t *testing.T) {
	e := newEdge(t, edgeOptions{bootstrap: true})
	e.put("a", "found")
	e.allowBackups()
	got := e.want(req{method: "GET", path: backups, uid: "alice", long: true}, 200)
	if got.header.Get("Content-Type") != wire.TypeBackup || strings.Contains(got.body, "found") {
		t.Errorf("%v", got.header)
	}
	if b := openBackup(t, got.body); b.Contents.Secrets != 1 || b.Storage != "memory" || b.BootstrapKey {
		t.Errorf("%+v", b.Manifest)
	}
	for _, uid := range []string{"bob", "carol", "dave"} {
		e.want(req{method: "GET", path: backups, uid: uid}, 403, "read on dcos:secrets:backup:default")
	}
	e.want(req{method: "GET", path: backups}, 401)
	e.want(req{method: "GET", path: backups, uid: "root", service: "app"}, 403)
	e.want(req{method: "HEAD", path: backups, uid: "alice", long: true}, 200)

	e.want(req{method: "GET", path: backups + "?bootstrap_key=true", uid: "alice"}, 403, "dcos:superuser")
	e.want(req{method: "GET", path: backups + "?bootstrap_key=yes", uid: "root"}, 400, "bootstrap_key must be true or false")
	if b := openBackup(t, e.want(req{method: "GET", path: backups + "?bootstrap_key=true", uid: "root", long: true}, 200).body); !b.BootstrapKey {
		t.Errorf("%+v", b.Manifest)
	}
	if page := e.want(req{method: "GET", path: "/metrics"}, 200).body; strings.Contains(page, "secretstore_last_backup_timestamp_seconds 0\n") {
		t.Error("the metric does not show the backup")
	}
}

// leaver is a client that takes some pieces of an answer, and leaves. If it takes
// all, it leaves before the connection has sent them.
type leaver struct {
	*httptest.ResponseRecorder
	pieces int
}

func (l *leaver) Write(p []byte) (int, error) {
	if l.pieces--; l.pieces < 0 {
		return 0, io.ErrClosedPipe
	}
	return l.ResponseRecorder.Write(p)
}

func (l *leaver) FlushError() error { return io.ErrClosedPipe }

// TestTheLastBackupIsOneThatWasSentWhole: the metric does not show others.
func TestTheLastBackupIsOneThatWasSentWhole(t *testing.T) {
	get := func(e *edge, w http.ResponseWriter) (broken bool) {
		defer func() { broken = recover() != nil }()
		r := httptest.NewRequest("GET", backups, nil)
		r.Header.Set("Authorization", "token="+tokenOf(t, "root", ""))
		e.server.ServeHTTP(w, r)
		return false
	}
	const never = "secretstore_last_backup_timestamp_seconds 0\n"
	for _, pieces := range []int{1, 1000} {
		e := newEdge(t, edgeOptions{})
		e.put("large", strings.Repeat("x", 200<<10))
		l := &leaver{httptest.NewRecorder(), pieces}
		if !get(e, l) {
			t.Errorf("a client that leaves after %d pieces: the answer was not broken off", pieces)
		}
		if pieces == 1000 {
			openBackup(t, l.Body.String()) // nothing of it was missing
		}
		e.want(req{method: "GET", path: "/metrics"}, 200, never)
		whole := httptest.NewRecorder()
		if get(e, whole) {
			t.Error("the answer was broken off")
		}
		openBackup(t, whole.Body.String())
		eventually(t, func() bool { return !strings.Contains(e.want(req{method: "GET", path: "/metrics"}, 200).body, never) })
	}
}

// endingStorage fails to be read to its end, with the error of a file that is cut.
type endingStorage struct{ *memory.Backend }

func (s endingStorage) Snapshot(ctx context.Context, ask store.Snapshot, emit func(store.Key, []byte) error) error {
	if err := s.Backend.Snapshot(ctx, ask, emit); err != nil {
		return err
	}
	return fmt.Errorf("read the storage: %w", io.EOF)
}

// TestAnErrorThatIsAnEndIsNotTheEndOfABackup, also after a part was sent.
func TestAnErrorThatIsAnEndIsNotTheEndOfABackup(t *testing.T) {
	storage := endingStorage{memory.New()}
	defer storage.Close()
	e := newEdge(t, edgeOptions{storage: storage})
	for n := range 2 {
		var failure *client.Error
		if err := e.api("root").Backup(t.Context(), io.Discard, client.BackupOptions{}); !errors.As(err, &failure) || failure.Status != 500 {
			t.Error(err)
		}
		e.put(fmt.Sprint("large", n), strings.Repeat("x", 200<<10))
	}
	e.want(req{method: "GET", path: "/metrics"}, 200, "secretstore_last_backup_timestamp_seconds 0\n")
}

func TestASealedStoreIsNotBackedUp(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.sealStore()
	e.want(req{method: "GET", path: backups, uid: "root"}, 503, "the secret store is sealed")
	e.want(req{method: "GET", path: "/metrics"}, 200, "secretstore_last_backup_timestamp_seconds 0\n")
}

// TestABackupThatFailsIsNotComplete has something happen once a part was sent: what
// the client got is not taken for a backup, and the server can make another one.
func TestABackupThatFailsIsNotComplete(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	for n := range 8 {
		e.put(fmt.Sprint("large", n), strings.Repeat("x", 1<<20))
	}
	e.allowBackups()
	for what, happens := range map[string]func(){
		"no permission any more": func() { e.policy.Store((*acl.Policy)(nil).WithSuperusers("root")) },
		"another backup": func() {
			e.want(req{method: "GET", path: backups, uid: "alice"}, 409, "another backup, for alice since 20")
		},
		"sealed": e.sealStore,
	} {
		t.Run(what, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), "GET", e.url+backups, nil)
			must(t, err)
			r.Header.Set("Authorization", "token="+tokenOf(t, "alice", ""))
			answer, err := e.client.Do(r)
			must(t, err)
			part := make([]byte, 1000)
			_, err = io.ReadFull(answer.Body, part)
			must(t, err)
			happens()
			rest, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			whole := append(part, rest...)
			_, bad := seal.OpenBackup(bytes.NewReader(whole), int64(len(whole)))
			if complete := what == "another backup"; complete != (err == nil) || complete != (bad == nil) {
				t.Errorf("%d bytes, %v, %v", len(whole), err, bad)
			}
			e.allowBackups()
			if e.store.Status().State != seal.StateUnsealed {
				e.want(req{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", header: http.Header{"Content-Type": {wire.TypeJSON}}, body: fmt.Sprintf(`{"key":%q}`, e.unseal)}, 200)
			}
			eventually(t, func() bool { return e.do(req{method: "GET", path: backups, uid: "alice", long: true}).status == 200 })
		})
	}
}

// busyStorage takes too many writes for a snapshot that may not hold them back.
type busyStorage struct{ *memory.Backend }

func (b busyStorage) Snapshot(ctx context.Context, s store.Snapshot, emit func(store.Key, []byte) error) error {
	if err := b.Backend.Snapshot(ctx, s, emit); err != nil || s.Pause {
		return err
	}
	return fmt.Errorf("%w: CANARY", store.ErrTooManyWrites)
}

// TestClientsLearnWhyABackupFailed: at its beginning, and after a part was sent.
func TestClientsLearnWhyABackupFailed(t *testing.T) {
	storage := busyStorage{memory.New()}
	defer storage.Close()
	e := newEdge(t, edgeOptions{storage: storage})
	web := httptest.NewUnstartedServer(e.server)
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	secure, err := client.New(client.Config{Server: web.URL, TLS: &tls.Config{RootCAs: roots}, Token: func(context.Context) (string, error) { return tokenOf(t, "root", ""), nil }})
	must(t, err)
	defer secure.Close()
	for _, parts := range []int{0, 3} {
		for n := range parts {
			e.put(fmt.Sprint("large", n), strings.Repeat("x", 1<<20))
		}
		for protocol, c := range map[string]*client.Client{"HTTP/1.1": e.api("root"), "HTTP/2": secure} {
			logged := len(e.log.String())
			var got bytes.Buffer
			err := c.Backup(t.Context(), &got, client.BackupOptions{})
			var failure *client.Error
			if !errors.As(err, &failure) || failure.Status != 503 || failure.RequestID == "" || !strings.HasPrefix(failure.Description, "too many writes") {
				t.Errorf("%s, %d large values: %v", protocol, parts, err)
			}
			if (got.Len() > 1<<20) != (parts > 0) {
				t.Errorf("%s, %d large values: %d bytes", protocol, parts, got.Len())
			}
			if _, err := seal.OpenBackup(bytes.NewReader(got.Bytes()), int64(got.Len())); !errors.Is(err, seal.ErrBadBackup) {
				t.Errorf("%s: %v", protocol, err)
			}
			eventually(t, func() bool { return strings.Contains(e.log.String()[logged:], "CANARY") })
			got.Reset()
			eventually(t, func() bool { // the first may still be ending
				got.Reset()
				return !errors.Is(c.Backup(t.Context(), &got, client.BackupOptions{Pause: true}), client.ErrExists)
			})
			openBackup(t, got.String())
		}
	}
	e.want(req{method: "GET", path: backups + "?pause=1", uid: "root"}, 400, "pause must be true or false")
	e.want(req{method: "GET", path: backups + "?pause=true", uid: "alice"}, 403, "read on dcos:secrets:backup:default")
}

func TestARestoredBackupServesTheSameSecrets(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("a", "found")
	b := openBackup(t, e.want(req{method: "GET", path: backups, uid: "root", long: true}, 200).body)
	to := memory.New()
	must(t, b.Restore(t.Context(), to, seal.RestoreOptions{}))
	if err := b.Restore(t.Context(), to, seal.RestoreOptions{}); !errors.Is(err, seal.ErrNotEmpty) {
		t.Error(err)
	}
	r := newEdge(t, edgeOptions{storage: to, uninitialized: true})
	e.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200, "found")
	r.want(req{method: "GET", path: base + "/a", uid: "alice"}, 503, "sealed")
	r.want(req{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", header: http.Header{"Content-Type": {wire.TypeJSON}}, body: fmt.Sprintf(`{"key":%q}`, e.unseal)}, 200)
	r.want(req{method: "GET", path: base + "/a", uid: "alice"}, 200, "found")
}
