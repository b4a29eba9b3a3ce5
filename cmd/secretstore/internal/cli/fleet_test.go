package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"secretstore/api/wire"
	"secretstore/seal/sealtest"
)

// fakeServer plays one server of a store; tests change what it says.
type fakeServer struct {
	*httptest.Server
	mu        sync.Mutex
	uuid      string
	sealed    bool
	threshold int
	refuse    bool // to unseal
	damaged   bool
	dev       bool
	driver    string
	nodes     []wire.Node
	report    *wire.ServerReport
	entered   []string // shares that it got; guarded by mu
	requests  []string // guarded by mu
	leftOut   []wire.Peer
	loading   int // how many requests it refuses after the unseal
}

// publicKey returns a file with the public key of a holder.
func publicKey(t *testing.T) string {
	t.Helper()
	key, err := sealtest.Key(sealtest.Holder).Public(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Export()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "holder.pub")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func newFakeServer(t *testing.T, uuid string, threshold int) *fakeServer {
	f := &fakeServer{uuid: uuid, sealed: true, threshold: threshold}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeServer) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	if f.loading > 0 && !f.sealed {
		f.loading--
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		json.NewEncoder(w).Encode(wire.Error{Title: "503", Description: "the users and grants are still being loaded: try again"})
		return
	}
	var doc any
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, "/secrets/v1") {
	case "GET /store/default":
		b := wire.Backend{Name: "default", Driver: f.driver, Initialized: f.uuid != "", Sealed: f.sealed, UUID: f.uuid, Development: f.dev}
		if f.damaged {
			b.Initialized, b.UUID = true, ""
		}
		doc = b
	case "PUT /unseal/default":
		if f.refuse {
			w.WriteHeader(http.StatusServiceUnavailable)
			doc = wire.Error{Title: "503", Description: "the secret store is sealed"}
			break
		}
		var body wire.UnsealRequest
		data, _ := io.ReadAll(r.Body)
		if json.Unmarshal(data, &body) == nil && body.Key != nil && !slices.Contains(f.entered, string(body.Key)) {
			f.entered = append(f.entered, string(body.Key))
		}
		f.sealed = len(f.entered) < f.threshold
		fallthrough
	case "GET /seal-status/default":
		if f.damaged {
			doc = wire.SealStatus{Sealed: true, Warnings: []string{"the storage is damaged: no record"}}
			break
		}
		doc = wire.SealStatus{Sealed: f.sealed, Threshold: f.threshold, Shares: 3, Progress: len(f.entered) % max(1, f.threshold), UUID: f.uuid, Server: f.report}
	case "PUT /seal/default":
		f.sealed, f.entered = true, nil
		doc = wire.SealStatus{Sealed: true, UUID: f.uuid}
	case "PUT /rotate/default", "GET /rotate/default":
		doc = wire.Rotation{Term: 2, Terms: 2, State: "stuck", Reason: "1 damaged record(s): stores/default/x", Total: 9, Done: 8}
	case "GET /rekey/default/recipients":
		if f.leftOut != nil {
			doc = wire.Recipients{Recipients: []wire.Peer{{ID: "1", Name: "one", Self: true}}, LeftOut: f.leftOut, Sealed: []wire.Peer{}}
			break
		}
		doc = wire.Recipients{Recipients: []wire.Peer{}, LeftOut: []wire.Peer{}, Sealed: []wire.Peer{}}
	case "GET /init/default":
		doc = wire.InitInfo{Initialized: true, Keys: []string{"00"}}
	case "PUT /rekey/default":
		w.WriteHeader(http.StatusConflict)
		doc = wire.Error{Title: "409 Conflict", Description: "something else is in the way"}
	case "GET /rekey/default":
		doc = wire.NoRekey{}
	case "GET /nodes/default":
		doc = wire.Nodes{Array: f.nodes}
	default:
		w.WriteHeader(http.StatusNotFound)
		doc = wire.Error{Title: "404 Not Found", Description: "no such route"}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(doc)
}

func (f *fakeServer) said(line string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.requests, line)
}

const unsealRequest = "PUT /secrets/v1/unseal/default"

func home(t *testing.T) map[string]string {
	return map[string]string{"HOME": t.TempDir(), "SECRETSTORE_TOKEN": "x"}
}

var shares = []string{strings.Repeat("01", 33), strings.Repeat("02", 33)}

func TestUnsealGoesToEveryServer(t *testing.T) {
	a, b := newFakeServer(t, "store-1", 2), newFakeServer(t, "store-1", 2)
	env := home(t)
	env["SECRETSTORE_SERVER"] = a.URL + "," + b.URL
	for i, share := range shares {
		got := call(env, share, "unseal", "--key-file", "-", "--json")
		if got.status != 0 || strings.Contains(got.stdout, `"sealed": true`) != (i == 0) {
			t.Errorf("share %d: %+v", i, got)
		}
	}
	if a.sealed || b.sealed {
		t.Error("a server is still sealed")
	}
	got := call(env, "", "status")
	if got.status != 0 || strings.Count(got.stdout, "unsealed") != 2 {
		t.Errorf("%+v", got)
	}
	if got := call(env, "", "seal"); got.status != 0 || !a.sealed || !b.sealed {
		t.Errorf("%+v", got)
	}
}

// TestTheSentenceOverATableHoldsForAllServers, or counts them.
func TestTheSentenceOverATableHoldsForAllServers(t *testing.T) {
	open, down := newFakeServer(t, "store-1", 1), newFakeServer(t, "store-1", 1)
	sealed := newFakeServer(t, "store-1", 2)
	open.sealed = false
	down.Close()
	for servers, want := range map[string]string{
		open.URL:                    "The store is unsealed.",
		open.URL + "," + sealed.URL: "Of 2 servers: 1 sealed, 1 unsealed; 1 of 2 shares entered. Another holder runs: secretstore unseal",
		open.URL + "," + down.URL:   "Of 2 servers: 1 unreachable, 1 unsealed.",
	} {
		env := home(t)
		env["SECRETSTORE_SERVER"] = servers
		if got := call(env, shares[0], "unseal", "--key-file", "-"); !strings.HasPrefix(got.stdout, want+"\n") {
			t.Errorf("%s: %+v, want %q", servers, got, want)
		}
	}
}

// TestUnsealSaysWhetherTheShareCounted: the shares that were entered may be those of
// other holders.
func TestUnsealSaysWhetherTheShareCounted(t *testing.T) {
	a, b := newFakeServer(t, "store-1", 2), newFakeServer(t, "store-1", 2)
	env := home(t)
	env["SECRETSTORE_SERVER"] = a.URL + "," + b.URL
	const another = "The store is sealed; 1 of 2 shares entered. Another holder runs: secretstore unseal\n"
	if got := call(env, shares[0], "unseal", "--key-file", "-"); got.status != 0 || !strings.HasPrefix(got.stdout, another) {
		t.Errorf("the first share: %+v", got)
	}
	got := call(env, shares[0], "unseal", "--key-file", "-")
	if got.status != 0 || !strings.HasPrefix(got.stdout, "The store is sealed; 1 of 2 shares entered. Yours was entered already. Another holder runs: secretstore unseal\n") {
		t.Errorf("the same share: %+v", got)
	}
	got = call(env, "", "unseal", "--gpg", "false")
	if got.status != 1 || !strings.HasPrefix(got.stdout, "The store is sealed; this command entered no share. 1 of 2 shares were entered before.\n") || strings.Contains(got.stdout, "Another holder") {
		t.Errorf("gpg fails: %+v", got)
	}
	b.entered = nil
	if got := call(env, shares[0], "unseal", "--key-file", "-"); got.status != 0 || !strings.HasPrefix(got.stdout, another) {
		t.Errorf("a share that one server has forgotten: %+v", got)
	}
}

// TestStatusOfSeveralServersShowsWhatUnsealsThem, as that of one does.
func TestStatusOfSeveralServersShowsWhatUnsealsThem(t *testing.T) {
	a, b := newFakeServer(t, "store-1", 2), newFakeServer(t, "store-1", 2)
	env := home(t)
	env["SECRETSTORE_SERVER"] = a.URL + "," + b.URL
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() {}, "Unseal key:  3 share(s), 2 needed\nNext:        secretstore unseal\n"},
		{func() { a.entered, b.entered = shares[:1], shares[:1] }, "Unseal key:  3 share(s), 2 needed\nEntered:     1 of 2\nNext:        secretstore unseal\n"},
		{func() { b.entered = nil }, "Unseal key:  3 share(s), 2 needed\nEntered:     1 of 2 at " + a.URL + "\nEntered:     0 of 2 at " + b.URL + "\nNext:        secretstore unseal\n"},
		{func() { a.sealed, b.sealed = false, false }, "-\n"},
	} {
		step.change()
		if got := call(env, "", "status"); !strings.HasSuffix(got.stdout, step.want) {
			t.Errorf("%+v, want %q", got, step.want)
		}
	}
}

// TestNextStepIsOneThatWorks: the storage comes before an unseal.
func TestNextStepIsOneThatWorks(t *testing.T) {
	a := newFakeServer(t, "store-1", 1)
	for _, row := range []struct {
		report     wire.ServerReport
		want, bans string
	}{
		{wire.ServerReport{State: "sealed", Storage: wire.StorageUnreachable}, "make the storage reachable", "secretstore unseal"},
		{wire.ServerReport{State: "sealed", Storage: wire.StorageUnreachable, AutoUnseal: true}, "make the storage reachable", "auto-unseal"},
		{wire.ServerReport{State: "sealed", Storage: wire.StorageUp, AutoUnseal: true}, "secretstore auto-unseal", "reachable"},
		{wire.ServerReport{State: "sealed", Storage: wire.StorageUp}, "secretstore unseal", "reachable"},
	} {
		a.report = &row.report
		got := call(home(t), "", "status", "--server", a.URL)
		_, next, _ := strings.Cut(got.stdout, "Next:")
		if !strings.Contains(next, row.want) || strings.Contains(next, row.bans) {
			t.Errorf("%+v: %+v", row.report, got)
		}
	}
}

func TestOneServerDownDoesNotKeepTheOthersSealed(t *testing.T) {
	a, b := newFakeServer(t, "store-1", 1), newFakeServer(t, "store-1", 1)
	b.Close()
	env := home(t)
	got := call(env, shares[0], "unseal", "--key-file", "-", "--server", b.URL, "--server", a.URL)
	if got.status != 1 || a.sealed || !strings.Contains(got.stdout, "unreachable") {
		t.Errorf("%+v", got)
	}
}

// TestUnsealWaitsForUsersAndGrants: until a server has loaded them, it refuses to say
// that it is unsealed.
func TestUnsealWaitsForUsersAndGrants(t *testing.T) {
	a := newFakeServer(t, "store-1", 1)
	a.loading = 2
	a.report = &wire.ServerReport{State: "unsealed", Restored: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)}
	got := call(home(t), shares[0], "unseal", "--key-file", "-", "--server", a.URL)
	if got.status != 0 || !strings.HasPrefix(got.stdout, "The store is unsealed. It was restored from a backup of 2026-11-29T00:00:00Z") || a.loading != 0 {
		t.Errorf("%+v", got)
	}
}

// TestNoErrorWidensTheTableOfServers: it is below the table.
func TestNoErrorWidensTheTableOfServers(t *testing.T) {
	a, b := newFakeServer(t, "store-1", 1), newFakeServer(t, "store-1", 1)
	b.Close()
	got := call(home(t), "", "status", "--server", b.URL, "--server", a.URL)
	lines := strings.Split(got.stdout, "\n")
	if len(lines) < 4 || !strings.HasPrefix(lines[0], "SERVER") || !strings.Contains(lines[1], "unreachable") || !strings.HasPrefix(lines[3], "Problem of "+b.URL+": ") {
		t.Fatalf("%+v", got)
	}
	for _, line := range lines[:3] {
		if strings.Contains(line, "refused") || len(line) > 100 {
			t.Errorf("%q", line)
		}
	}
}

// TestServerThatStaysSealedIsAFailure: the last status of the servers must not
// hide what one has refused.
func TestServerThatStaysSealedIsAFailure(t *testing.T) {
	a, b := newFakeServer(t, "store-1", 1), newFakeServer(t, "store-1", 1)
	b.refuse = true
	for _, servers := range []string{b.URL, a.URL + "," + b.URL} {
		got := call(home(t), shares[0], "unseal", "--key-file", "-", "--server", servers)
		if got.status != 5 || strings.Contains(got.stdout, "is unsealed") {
			t.Errorf("%s: %+v", servers, got)
		}
	}
}

// TestAnotherStoreIsRefused: no share reaches a store that has taken the place
// of the one known, until the operator says that this is meant.
func TestAnotherStoreIsRefused(t *testing.T) {
	a := newFakeServer(t, "store-1", 1)
	env := home(t)
	env["SECRETSTORE_SERVER"] = a.URL
	if got := call(env, "", "status"); got.status != 5 {
		t.Fatalf("%+v", got)
	}
	known := filepath.Join(env["HOME"], ".local/state/secretstore/known-stores")
	info, err := os.Stat(known)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	for _, uuid := range []string{"store-2", ""} {
		a.uuid = uuid
		for _, command := range []string{"unseal --key-file -", "status", "auto-unseal", "rekey --status", "rotate", "init --pgp-key " + publicKey(t)} {
			got := call(env, shares[0], strings.Fields(command)...)
			if got.status != 1 || !strings.Contains(got.stderr, "--new-store") || !strings.Contains(got.stderr, "store-1") {
				t.Errorf("%q with %q: %+v", command, uuid, got)
			}
		}
	}
	for _, request := range []string{unsealRequest, "PUT /secrets/v1/init/default", "PUT /secrets/v1/rotate/default"} {
		if a.said(request) {
			t.Errorf("%s was sent", request)
		}
	}
	if got := call(env, "", "seal"); !a.said("PUT /secrets/v1/seal/default") {
		t.Errorf("sealing was held up: %+v", got)
	}
	a.uuid = "store-2"
	for _, command := range []string{"unseal --new-store --key-file -", "status"} {
		if got := call(env, shares[0], strings.Fields(command)...); got.status != 0 || a.sealed {
			t.Errorf("%q: %+v", command, got)
		}
	}
}

// TestDamagedStoreIsNotCalledAnotherStore: the advice to accept a new store would be
// wrong, whether or not a store was known before.
func TestDamagedStoreIsNotCalledAnotherStore(t *testing.T) {
	for _, seen := range []bool{false, true} {
		a := newFakeServer(t, "store-1", 1)
		env := home(t)
		env["SECRETSTORE_SERVER"] = a.URL
		if got := call(env, "", "status"); seen && got.status != 5 {
			t.Fatalf("%+v", got)
		}
		a.damaged = true
		for _, command := range []string{"unseal --key-file -", "auto-unseal", "rekey --status", "rotate"} {
			got := call(env, shares[0], strings.Fields(command)...)
			if got.status != 1 || strings.Contains(got.stderr, "--new-store") || !strings.Contains(got.stderr, "secretstore status") {
				t.Errorf("%q, seen before: %v: %+v", command, seen, got)
			}
		}
		if a.said(unsealRequest) {
			t.Error("a share was sent")
		}
		got := call(env, "", "status")
		if got.status != 6 || !strings.Contains(got.stdout, "State:    damaged") || !strings.Contains(got.stdout, "no record") || strings.Contains(got.stderr, "--new-store") {
			t.Errorf("%+v", got)
		}
	}
}

// TestDevelopmentStoreIsNotRemembered, so that its user can delete it and start again
// without a warning. It does not replace a store that is remembered.
func TestDevelopmentStoreIsNotRemembered(t *testing.T) {
	a := newFakeServer(t, "store-1", 1)
	a.dev, a.sealed = true, false
	env := home(t)
	env["SECRETSTORE_SERVER"] = a.URL
	status := func(want int) {
		t.Helper()
		if got := call(env, "", "status"); got.status != want {
			t.Errorf("%+v, want status %d", got, want)
		}
	}
	status(0)
	a.uuid = "store-2"
	status(0)
	a.dev = false
	status(0) // remembered from now on
	a.dev, a.uuid = true, "store-3"
	status(1)
	if got := call(env, "", "status", "--new-store"); got.status != 0 {
		t.Errorf("%+v", got)
	}
	a.uuid = "store-4"
	status(0)
}

// TestServersFromTheStorageAreShownButNotContacted: anybody who can write to the storage
// could collect shares and tokens.
func TestServersFromTheStorageAreShownButNotContacted(t *testing.T) {
	a, stranger := newFakeServer(t, "store-1", 1), newFakeServer(t, "store-1", 1)
	a.driver = "zookeeper"
	a.nodes = []wire.Node{
		{ID: "1", Name: "own-name", Listen: []string{strings.TrimPrefix(a.URL, "http://")}, State: "sealed", Self: true},
		{ID: "2", Name: "the\x1b[2Jstranger\n", Listen: []string{stranger.URL}, State: "sealed", Version: "v1"},
	}
	env := home(t)
	env["SECRETSTORE_SERVER"] = a.URL
	for _, command := range []string{"status", "unseal --key-file -", "seal", "status --json"} {
		got := call(env, shares[0], strings.Fields(command)...)
		told := strings.Contains(got.stdout, "stranger") && strings.Contains(got.stdout, stranger.URL)
		want := 0
		if told {
			want = 5 // the server that is named is sealed again by then
		}
		if got.status != want || told != strings.HasPrefix(command, "status") || strings.Contains(got.stdout, "own-name") || strings.Contains(got.stdout, "\x1b") {
			t.Errorf("%s: %+v", command, got)
		}
	}
	if len(stranger.requests) > 0 {
		t.Errorf("the stranger was asked: %q", stranger.requests)
	}
}

// TestWaitingEndsForAStuckRotation: it cannot end until somebody has repaired or
// removed the damaged records.
func TestWaitingEndsForAStuckRotation(t *testing.T) {
	a := newFakeServer(t, "store-1", 1)
	env := home(t)
	env["SECRETSTORE_SERVER"] = a.URL
	for command, want := range map[string]int{"rotate --wait": 1, "rotate --status --wait": 1, "rotate": 0, "rotate --status": 0} {
		got := call(env, "", strings.Fields(command)...)
		if got.status != want || !strings.Contains(got.stdout+got.stderr, "stores/default/x") {
			t.Errorf("%s: %+v", command, got)
		}
	}
}

func TestServersOfDifferentStoresAreRefused(t *testing.T) {
	a, b := newFakeServer(t, "store-1", 1), newFakeServer(t, "store-2", 1)
	got := call(home(t), shares[0], "unseal", "--key-file", "-", "--server", a.URL+","+b.URL)
	if got.status != 1 || !strings.Contains(got.stderr, "different stores") || a.said(unsealRequest) || b.said(unsealRequest) {
		t.Errorf("%+v", got)
	}
}

func TestMalformedKnownStoresFileIsAnError(t *testing.T) {
	a := newFakeServer(t, "store-1", 1)
	env := home(t)
	env["XDG_STATE_HOME"] = t.TempDir()
	dir := filepath.Join(env["XDG_STATE_HOME"], "secretstore")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "known-stores"), []byte("half-a-line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := call(env, shares[0], "unseal", "--key-file", "-", "--server", a.URL)
	if got.status != 1 || !strings.Contains(got.stderr, "line 1") || len(a.requests) > 0 {
		t.Errorf("%+v", got)
	}
}

// TestHomeThatIsNoFolderStopsNoCommand: users of services have /dev/null.
func TestHomeThatIsNoFolderStopsNoCommand(t *testing.T) {
	a := newFakeServer(t, "store-1", 1)
	env := home(t)
	env["HOME"], env["SECRETSTORE_SERVER"] = "/dev/null", a.URL
	if got := call(env, shares[0], "unseal", "--key-file", "-"); got.status != 0 || a.sealed || !strings.Contains(got.stderr, "could not remember which store this is") {
		t.Errorf("%+v", got)
	}
	if got := call(env, "", "status"); got.status != 0 {
		t.Errorf("%+v", got)
	}
}

// TestPlainHTTPToAnotherMachineIsRefused; the address is of no machine.
func TestPlainHTTPToAnotherMachineIsRefused(t *testing.T) {
	for _, command := range []string{"init --pgp-key PUBLIC", "unseal --key-file KEY", "rekey --status", "rotate", "seal", "status", "auto-unseal", "keys doctor", "reinit --pgp-key PUBLIC"} {
		key := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(key, []byte(shares[0]), 0o600); err != nil {
			t.Fatal(err)
		}
		args := append(strings.Fields(strings.NewReplacer("KEY", key, "PUBLIC", publicKey(t)).Replace(command)), "--server", "http://127.0.0.1:1", "--server", "http://192.0.2.1:1", "--timeout", "10ms")
		if got := call(home(t), "", args...); got.status != 2 || !strings.Contains(got.stderr, "--insecure") {
			t.Errorf("%q: %+v", command, got)
		}
		want := 1
		if command == "status" {
			want = 6
		}
		if got := call(home(t), "", append(args, "--insecure")...); got.status != want {
			t.Errorf("%q: %+v", command, got)
		}
	}
}

// TestRotationShowsWhoIsLeftOutBeforeItBegins, and a conflict with something else is
// not reported as a rekey in progress.
func TestRotationShowsWhoIsLeftOutBeforeItBegins(t *testing.T) {
	f := newFakeServer(t, "store-1", 1)
	f.sealed = false
	f.leftOut = []wire.Peer{{ID: "2", Name: "two\x1b[2J", Problem: "it is old"}}
	env := home(t)
	env["SECRETSTORE_SERVER"] = f.URL
	public, share := publicKey(t), filepath.Join(t.TempDir(), "share")
	if err := os.WriteFile(share, []byte(shares[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	const start = "PUT /secrets/v1/rekey/default"
	got := call(env, "", "rekey", "--pgp-key", public, "--rotate")
	if got.status != 1 || !strings.Contains(got.stderr, "it is old") || !strings.Contains(got.stderr, "--leave-out") || strings.Contains(got.stderr, "\x1b") || f.said(start) {
		t.Errorf("%+v", got)
	}
	got = call(env, "", "rekey", "--pgp-key", public, "--rotate", "--leave-out", "--current-share-file", share)
	if got.status != 1 || !f.said(start) || !strings.Contains(got.stderr, "something else is in the way") || strings.Contains(got.stderr, "secretstore update") {
		t.Errorf("%+v", got) // the hint of a secret that exists is not for keys
	}
	got = call(env, "", "rekey", "--recipients", "--json")
	if got.status != 0 || !strings.Contains(got.stdout, `"left_out"`) {
		t.Errorf("%+v", got)
	}
}
