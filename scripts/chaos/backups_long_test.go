//go:build zookeeper && linux && long

package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/api/wire"
	"secretstore/iam/authority"
	"secretstore/iam/password"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/memory"
)

const (
	// goodBackups is how many backups the test makes unless $BACKUPS says otherwise.
	goodBackups = 12
	// unchanged is how many secrets are in the store that nobody writes again.
	unchanged = 1000
	// Of the clients, keepers write secrets, and the others groups of the IAM. Nobody
	// else writes what one of them owns.
	writers, keepers = 8, 6
	// owned is how many things each client has at a time.
	owned = 5
	// shortPause is the first of the pauses.
	shortPause = int64(100 * time.Millisecond)
	// nearLimit is a little less than the largest value.
	nearLimit = seal.DefaultMaxSecretSize - 1000
)

// TestBackupsUnderLoadAreOneState makes backups at random moments while clients write,
// and while members and servers are killed, or the data key is rotated. What is
// restored from each is one state that the log of the clients allows, secrets and
// identities together: with every write that had ended before the backup began, and
// none that began after it had ended. `make backups` makes 50.
func TestBackupsUnderLoadAreOneState(t *testing.T) {
	want, seed := goodBackups, seedOf(t, os.Getenv("BACKUPS") == "")
	if text := os.Getenv("BACKUPS"); text != "" {
		var err error
		want, err = strconv.Atoi(text)
		must(t, err)
	}
	t.Logf("SEED=%d BACKUPS=%d", seed, want)
	dir := t.TempDir()
	superusers := filepath.Join(dir, "superusers")
	must(t, os.WriteFile(superusers, []byte("admin:"+password.New([]byte("unused")).String()+"\n"), 0o600))
	l := newLab(t, 3, "--iam", "builtin", "--superuser-password-file", superusers)
	b := &backups{l: l, start: time.Now(), random: rand.New(rand.NewPCG(seed, 0)), dir: dir, chains: make(map[string]chain)}
	b.pause.Store(shortPause)
	b.fill()
	end := b.begin(seed)
	outcomes := make(map[string]int)
	for len(b.made) < want && !t.Failed() {
		during, disturb := b.disturbance()
		m, err := b.round(t, disturb)
		m.during = during
		outcomes[fmt.Sprintf("%s: %v", during, err)]++
		t.Logf("%v to %v, %s: %v", m.made.from.Round(time.Millisecond), m.made.to.Round(time.Millisecond), during, err)
		switch {
		case err == nil:
			b.made = append(b.made, m)
			b.pause.Store(max(shortPause, b.pause.Load()/2))
		case errors.Is(err, errFalse) || during == calm && !errors.Is(err, errTooManyWrites):
			t.Errorf("%s: %v", during, err)
		default:
			b.pause.Store(2 * b.pause.Load())
		}
	}
	end()
	writes := -len(b.chains)
	for _, c := range b.chains {
		writes += len(c)
	}
	t.Logf("%d writes to %d secrets and groups; of %d the outcome is unknown", writes, len(b.chains), b.unknown)
	for outcome, n := range outcomes {
		t.Logf("%3d backups, %s", n, outcome)
	}
	if writes-unchanged < 10*want {
		t.Error("too little was written")
	}
	for i, m := range b.made {
		if err := b.check(t.Context(), m); err != nil {
			t.Errorf("SEED=%d: backup %d, %s: %v", seed, i, m.during, err)
		}
	}
}

// backups is the state of the test.
type backups struct {
	l      *lab
	start  time.Time
	random *rand.Rand
	dir    string
	made   []madeBackup
	// pause is the longest between two writes of a client, in ns. It is doubled after
	// a backup for which too much was written: how much that is depends on the machine.
	pause atomic.Int64

	mu      sync.Mutex
	chains  map[string]chain // by path, or name of the group; guarded by mu
	unknown int              // writes of unknown outcome; guarded by mu
}

// madeBackup is a backup, and when it was made.
type madeBackup struct {
	file   string
	made   window
	during string // what happened meanwhile
}

func (b *backups) now() time.Duration { return time.Since(b.start) }

// calm is a backup during which nothing happens but writes.
const calm = "no fault"

// disturbance chooses what happens during the next backup.
func (b *backups) disturbance() (name string, run func() error) {
	f := fault{target: b.random.IntN(3), lasts: span(b.random, 0, 3*time.Second)}
	switch b.random.IntN(6) {
	case 0, 1:
		return calm, func() error { return nil }
	case 2:
		return "rotation", func() error { return b.rotate(b.l.stores[f.target]) }
	case 3:
		f.what, f.leader = killMember, true
	case 4:
		f.what = killMember
	case 5:
		f.what = killServer
	}
	if f.leader {
		f.target = b.l.leader()
	}
	return f.String(), func() error {
		end, err := (&nemesis{l: b.l}).begin(f)
		if err != nil {
			return err
		}
		time.Sleep(f.lasts)
		return end()
	}
}

// rotate makes a new data key, and waits until everything is encrypted with it.
func (b *backups) rotate(s *server) error {
	a := s.request("PUT", api+"/rotate/default", "")
	for deadline := time.Now().Add(patience); a.err == nil && a.status == http.StatusOK; a = s.get(api + "/rotate/default") {
		if strings.Contains(a.body, `"state":"idle"`) {
			return nil
		}
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("rotate: %v", a)
}

// round makes one backup, and a disturbance at about the same time.
func (b *backups) round(t *testing.T, disturb func() error) (madeBackup, error) {
	t.Helper()
	b.l.steady()
	for _, s := range b.l.stores {
		s.await()
	}
	s := b.l.stores[b.random.IntN(3)]
	wait, ahead := span(b.random, 0, time.Second), span(b.random, -time.Second, time.Second)
	disturbed := make(chan error, 1)
	go func() {
		time.Sleep(wait + max(0, ahead))
		disturbed <- disturb()
	}()
	time.Sleep(wait - min(0, ahead))
	m := madeBackup{file: filepath.Join(b.dir, fmt.Sprint(len(b.made)))}
	m.made.from = b.now()
	err := s.backUp(m.file, b.random.IntN(2) == 0)
	m.made.to = b.now()
	must(t, <-disturbed)
	return m, err
}

var (
	errTooManyWrites = errors.New("too many writes")
	errBrokeOff      = errors.New("the answer broke off")
	errFalse         = errors.New("a file is not what the answer says")
)

// backUp writes a backup with the bootstrap key to a file, and may have writes held
// back. If there is an error, the file is not a whole backup.
func (s *server) backUp(file string, pause bool) error {
	auth, err := bearer()
	if err != nil {
		return err
	}
	req, err := http.NewRequest("GET", s.url+api+"/backup/default?bootstrap_key=true&pause="+strconv.FormatBool(pause), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", auth)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return errors.New("no answer")
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		if strings.Contains(string(content), errTooManyWrites.Error()) {
			return errTooManyWrites
		}
		return fmt.Errorf("%s: %s", resp.Status, content)
	}
	_, broken := seal.OpenBackup(bytes.NewReader(content), int64(len(content)))
	switch {
	case err != nil && broken == nil:
		return fmt.Errorf("%w: it broke off (%w), but is a whole backup", errFalse, err)
	case err != nil && bytes.Contains(content[max(0, len(content)-1000):], []byte(wire.BackupFailed+`{"title":"503 Service Unavailable","description":"`+errTooManyWrites.Error())):
		return errTooManyWrites
	case err != nil:
		return errBrokeOff
	case broken != nil:
		return fmt.Errorf("%w: it has ended, but is %w", errFalse, broken)
	}
	return os.WriteFile(file, content, 0o600)
}

// fill makes the secrets that nobody writes again.
func (b *backups) fill() {
	var working sync.WaitGroup
	for i := range writers {
		working.Go(func() {
			for n := i; n < unchanged; n += writers {
				name := fmt.Sprintf("unchanged/%d/%d", n%10, n)
				for b.write(b.l.stores[n%3], name, "PUT", fmt.Sprint("u", n)) && !b.last(name).live {
				}
			}
		})
	}
	working.Wait()
}

// begin starts the clients and returns a function that ends them.
func (b *backups) begin(seed uint64) (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for id := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(1+id)))
		working.Go(func() { b.work(ctx, id, random) })
	}
	return func() {
		stop()
		working.Wait()
	}
}

// work writes to what this client owns: secrets, through any server, or groups, which
// other servers know a moment later, through one. If the outcome of a write is unknown,
// so is what is there: it is left alone from then on.
func (b *backups) work(ctx context.Context, id int, random *rand.Rand) {
	var names [owned]string
	for n := 0; ctx.Err() == nil; n++ {
		i, s, value := random.IntN(owned), b.l.stores[random.IntN(3)], fmt.Sprintf("c%dw%d", id, n)
		if names[i] == "" {
			names[i] = fmt.Sprintf("%d/%d/%d", id, i, n)
			if id >= keepers {
				names[i] = fmt.Sprintf("%s%d-%d", groupPrefix, id, n)
			}
		}
		method := "PUT"
		switch {
		case id >= keepers:
			if s = b.l.stores[id%3]; b.last(names[i]).live {
				method = "PATCH"
			}
		case b.last(names[i]).live && random.IntN(4) == 0:
			method = "DELETE"
		case b.last(names[i]).live:
			method = "PATCH"
		}
		if random.IntN(20) == 0 && method != "DELETE" && id < keepers {
			value += "L"
		}
		if !b.write(s, names[i], method, value) {
			names[i] = ""
		}
		time.Sleep(span(random, 0, time.Duration(b.pause.Load())))
	}
}

// groupPrefix is that of groups. Paths begin with a number, or as in fill.
const groupPrefix = "group"

// last returns what the log says of a secret or a group.
func (b *backups) last(name string) state {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.chains[name]
	if len(c) == 0 {
		return state{}
	}
	return c[len(c)-1].state
}

// write creates, updates or deletes a secret or a group, and notes that. It reports
// whether the outcome is known. No other client writes there, so a refusal is none.
func (b *backups) write(s *server, name, method, value string) bool {
	before := b.last(name)
	after := state{live: true, values: append(slices.Clip(before.values), value)}
	path, body := secrets+name, `{"value":"`+lengthen(value)+`"}`
	group := strings.HasPrefix(name, groupPrefix)
	switch {
	case group:
		path, body = "/acs/api/v1/groups/"+name, `{"description":"`+value+`"}`
	case method == "PUT":
		after.values = []string{value}
	case method == "DELETE":
		after, body = state{values: before.values}, ""
	}
	if after.written = len(after.values); group {
		after.written = 0
	}
	e := entry{begin: b.now(), state: after}
	a := s.request(method, path, body, "Content-Type: application/json")
	e.end = b.now()
	known := true
	switch {
	case a.unsent() || a.status == http.StatusServiceUnavailable && !strings.Contains(a.body, "outcome unknown"):
		return true // nothing has happened
	case a.err != nil || a.status == http.StatusServiceUnavailable:
		e.end, known = never, false
	case a.status != http.StatusCreated && a.status != http.StatusNoContent:
		b.l.t.Errorf("%s %s, of which the log says %v: %v", method, name, before, a)
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.chains[name] == nil {
		b.chains[name] = newChain()
	}
	b.chains[name] = append(b.chains[name], e)
	if !known {
		b.unknown++
	}
	return known
}

// lengthen and shorten are expand and shrink for values near the limit.
func lengthen(value string) string {
	if !strings.HasSuffix(value, "L") {
		return value
	}
	return strings.Repeat(value+".", nearLimit/(len(value)+1))
}

func shorten(stored []byte) string {
	name, _, _ := strings.Cut(string(stored), ".")
	if lengthen(name) != string(stored) {
		return fmt.Sprintf("torn: %.60s", stored)
	}
	return name
}

// check restores a backup, and compares what is in it with the log.
func (b *backups) check(ctx context.Context, m madeBackup) error {
	content, err := os.ReadFile(m.file)
	if err != nil {
		return err
	}
	file, err := seal.OpenBackup(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return err
	}
	to := memory.New()
	defer to.Close()
	if err := file.Restore(ctx, to, seal.RestoreOptions{}); err != nil {
		return err
	}
	st, err := seal.Open(ctx, seal.Options{Backend: to, Bootstrap: true, KeepVersions: seal.DefaultKeepVersions, Mode: seal.ModeDisabled, Log: zap.NewNop()})
	if err != nil {
		return err
	}
	defer st.Close()
	people, err := authority.New(authority.Config{Storage: st.Identities(), Log: zap.NewNop()})
	if err != nil {
		return err
	}
	defer people.Close()
	if _, err := st.AutoUnseal(ctx, ""); err != nil {
		return err
	}
	if !st.Made(file) {
		return errors.New("its MAC is wrong")
	}
	copied, err := restored(ctx, st, people)
	if err != nil {
		return err
	}
	if damage := st.Damage(); len(damage.First) > 0 {
		return fmt.Errorf("damaged records: %+v", damage)
	}
	return oneState(m.made, b.chains, copied)
}

// restored reads all secrets with their versions, and deleted ones after undeleting
// them, and all groups.
func restored(ctx context.Context, st *seal.Store, people *authority.Authority) (map[string]state, error) {
	copied := make(map[string]state)
	take := func(live bool, names []string) error {
		for _, name := range names {
			p, err := acl.ParsePath(name)
			if err != nil {
				return err
			}
			if _, there := copied[name]; there {
				continue // it was deleted, and created again
			}
			if !live {
				if _, err := st.Undelete(ctx, p); err != nil {
					return fmt.Errorf("undelete %s: %w", name, err)
				}
			}
			kept, err := st.Versions(ctx, p, store.Latest)
			if err != nil {
				return fmt.Errorf("versions of %s: %w", name, err)
			}
			s := state{live: live, written: int(kept.Versions[0].Version)}
			for _, v := range slices.Backward(kept.Versions) {
				secret, err := st.GetVersion(ctx, p, v.Version, store.Latest)
				if err != nil {
					return fmt.Errorf("version %d of %s: %w", v.Version, name, err)
				}
				s.values = append(s.values, shorten(secret.Value))
			}
			copied[name] = s
		}
		return nil
	}
	all, err := st.List(ctx, acl.Path{}, seal.Page{}, store.Latest)
	if err != nil {
		return nil, err
	}
	if err := take(true, all.Names); err != nil {
		return nil, err
	}
	deleted, err := st.ListDeleted(ctx, acl.Path{}, seal.Page{Limit: seal.MaxDeletedPage}, store.Latest)
	if err != nil {
		return nil, err
	}
	if err := take(false, deleted.Names); err != nil {
		return nil, err
	}
	groups, err := people.Directory()
	if err != nil {
		return nil, err
	}
	for _, g := range groups.Groups() {
		if strings.HasPrefix(string(g.GID), groupPrefix) {
			copied[string(g.GID)] = state{live: true, values: []string{g.Description}}
		}
	}
	return copied, nil
}
