//go:build long && zookeeper && gpg

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/internal/zktest"
	"secretstore/seal"
	"secretstore/store/zk"
)

// earlierCommit is an earlier release, whose servers may share a storage with
// those of this one while an operator upgrades one after another, or goes back.
const earlierCommit = "255cc1f72704abd5261cf028d4b1b33e8b8e8f01"

// buildEarlier builds the program of the earlier release from the git history,
// which takes half a minute of a CPU.
func buildEarlier(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sources, program := filepath.Join(dir, "sources.tar"), filepath.Join(dir, "earlier")
	run := func(in, name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Dir = in
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("the server of commit %.7s cannot be built. This test needs a git checkout with that commit (git fetch --unshallow) "+
				"and its modules: %s %q: %v\n%s", earlierCommit, name, args, err, out)
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	run(root, "git", "archive", "-o", sources, earlierCommit)
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	run(tree, "tar", "-xf", sources)
	run(tree, "go", "build", "-o", program, "./cmd/secretstore")
	return program
}

// mixed is a server of the earlier release and one of this, on one storage.
type mixed struct {
	old, now *crashing
	n        int // of names used so far
}

// TestServersOfAnEarlierReleaseShareTheStorage: whatever either server does, no
// secret is lost and none is sealed by surprise.
func TestServersOfAnEarlierReleaseShareTheStorage(t *testing.T) {
	zookeeper := zktest.Start(t)
	program := buildEarlier(t)
	people := newPeople(t, "alice", "bob", "carol", "dave")
	start := func(t *testing.T, root string, bootstrap bool) *mixed {
		storage := fmt.Sprintf("zk://%s/%s", zookeeper.Addr(), root)
		m := &mixed{old: newServer(t, people, storage, program), now: newServer(t, people, storage, "secretstore")}
		m.old.bootstrap, m.now.bootstrap = bootstrap, bootstrap
		m.old.start(t)
		return m
	}
	t.Run("with holders", func(t *testing.T) {
		t.Parallel()
		m := start(t, "holders", false)
		m.old.fill(t)
		m.now.start(t)
		m.now.unseal(t)
		m.serve(t)
		for _, by := range m.both() {
			for _, order := range [][]*crashing{{m.old, m.now}, {m.now, m.old}} {
				m.seal(t, by)
				for _, s := range order {
					s.unseal(t)
				}
				m.serve(t)
			}
		}
		for _, s := range m.both() {
			s.server.kill()
			s.start(t)
			s.unseal(t)
			m.serve(t)
		}
		m.refuseKeyChanges(t)
		m.serve(t)
		m.changeKeysOnTheOld(t)
		m.leaveTheOld(t)
		m.goBack(t)
	})
	t.Run("with a bootstrap key", func(t *testing.T) {
		t.Parallel()
		m := start(t, "bootstrap", true)
		m.await(t, false, m.old) // until it has made the key
		m.old.put(t)
		m.now.start(t)
		m.await(t, false, m.now)
		m.serve(t)
		for _, s := range m.both() {
			s.server.kill()
			s.start(t)
			m.await(t, false, s)
			m.serve(t)
		}
		for _, by := range m.both() {
			for _, s := range m.both() {
				m.seal(t, by)
				s.server.kill()
				s.start(t) // sealed on purpose
				m.await(t, true, m.both()...)
				if _, err := by.api.AutoUnseal(t.Context(), ""); err != nil {
					t.Fatal(err)
				}
				m.await(t, false, m.both()...)
				m.serve(t)
			}
		}
		m.now.server.kill()
		m.old.server.kill()
		m.old.filled = true
		m.old.recovers(t)
	})
	t.Run("a restored store", func(t *testing.T) {
		t.Parallel()
		at := "zk://" + zookeeper.Addr()
		first := newServer(t, people, at+"/backed-up", "secretstore")
		first.start(t)
		first.fill(t)
		first.restoreTo(t, zookeeper.Addr(), "/restored")
		m := &mixed{old: newServer(t, people, at+"/restored", program), now: newServer(t, people, at+"/restored", "secretstore")}
		m.old.start(t)
		m.old.unseal(t)
		if err := m.old.api.CreateText(t.Context(), "by-the-old", wire.SecretWrite{Value: "x"}); err != nil {
			t.Fatal(err)
		}
		m.old.server.kill()
		m.now.start(t)
		m.now.unseal(t)
		st, err := m.now.api.SealStatus(t.Context())
		if err != nil || !strings.Contains(strings.Join(st.Warnings, "\n"), "a server of an earlier release has served it") {
			t.Errorf("%q, %v: nothing is said of the secret that the restore did not write", st.Warnings, err)
		}
		m.old.start(t)
		m.old.unseal(t)
		m.serve(t)
	})
}

// restoreTo backs the store up, ends its server, and restores the backup at another
// place in ZooKeeper.
func (s *crashing) restoreTo(t *testing.T, addr, root string) {
	t.Helper()
	var file bytes.Buffer
	if err := s.api.Backup(t.Context(), &file, client.BackupOptions{}); err != nil {
		t.Fatal(err)
	}
	s.server.kill()
	backup, err := seal.OpenBackup(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	to, err := zk.Open(t.Context(), zk.Config{Servers: []string{addr}, Root: root, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := backup.Restore(t.Context(), to, seal.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (m *mixed) both() []*crashing { return []*crashing{m.old, m.now} }

// await waits until servers are sealed, or until they are not.
func (m *mixed) await(t *testing.T, sealed bool, servers ...*crashing) {
	t.Helper()
	for _, s := range servers {
		eventually(t, fmt.Sprintf("%s: sealed is %v", filepath.Base(s.program), sealed), func() bool {
			st, err := s.api.SealStatus(t.Context())
			return err == nil && st.Sealed == sealed
		})
	}
}

// serve has each server read and change what the other wrote, for longer than it
// takes either to follow a change of the life cycle.
func (m *mixed) serve(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	reads := func(s *crashing, name string, want []byte) {
		t.Helper()
		if got, err := s.api.Get(ctx, name, client.GetOptions{Latest: true}); err != nil || !bytes.Equal(got.Value, want) {
			t.Fatalf("%s reads %s: %d bytes, %v", filepath.Base(s.program), name, len(got.Value), err)
		}
	}
	for range 5 {
		for _, pair := range [][2]*crashing{{m.old, m.now}, {m.now, m.old}} {
			m.n++
			name := fmt.Sprintf("mixed/%d", m.n)
			if err := pair[0].api.CreateBinary(ctx, name, []byte(name)); err != nil {
				t.Fatalf("%s creates: %v", filepath.Base(pair[0].program), err)
			}
			reads(pair[1], name, []byte(name))
			if err := pair[1].api.UpdateBinary(ctx, name, secrets[large]); err != nil {
				t.Fatalf("%s updates: %v", filepath.Base(pair[1].program), err)
			}
			reads(pair[0], name, secrets[large])
			deleted := pair[0].api.Delete(ctx, name)
			_, undeleted := pair[1].api.Undelete(ctx, name)
			if err := errors.Join(deleted, undeleted, pair[1].api.Delete(ctx, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, s := range m.both() {
		for name, value := range secrets {
			reads(s, name, value)
		}
	}
}

// seal seals on one server, and waits until the other has heard of it.
func (m *mixed) seal(t *testing.T, by *crashing) {
	t.Helper()
	if _, err := by.api.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.await(t, true, m.both()...)
}

// refuseKeyChanges: while the old server lives, the new one changes no key, and
// names it.
func (m *mixed) refuseKeyChanges(t *testing.T) {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error) {
		t.Helper()
		var answer *client.Error
		if !errors.As(err, &answer) || answer.Status != 409 || !strings.Contains(answer.Description, host) ||
			!strings.Contains(answer.Description, "earlier release") {
			t.Errorf("%s: %v; want a 409 that names the old server on %s", what, err, host)
		}
	}
	refused("rekey", m.now.rekey(t, false))
	refused("rekey with rotation", m.now.rekey(t, true))
	_, err = m.now.api.Rotate(t.Context())
	refused("rotation", err)
}

// changeKeysOnTheOld rotates and rekeys on the old server, which knows nothing of
// this: the new one serves on, and asks for attention.
func (m *mixed) changeKeysOnTheOld(t *testing.T) {
	t.Helper()
	if err := m.old.rotate(t); err != nil {
		t.Fatal(err)
	}
	m.serve(t)
	if err := m.old.rekey(t, false); err != nil {
		t.Fatal(err)
	}
	m.serve(t)
	eventually(t, "the new server says that the record of the holders has lost its MAC", func() bool {
		keys, err := m.now.api.Keys(t.Context())
		return err == nil && keys.ConfigWarning != ""
	})
	m.seal(t, m.now)
	m.old.unseal(t)
	m.now.unseal(t)
	m.serve(t)
}

// leaveTheOld stops the old server. A restart of the new one makes the record of
// the holders good again, and keys can be changed.
func (m *mixed) leaveTheOld(t *testing.T) {
	t.Helper()
	for _, s := range m.both() {
		s.server.kill()
	}
	m.now.start(t)
	m.now.unseal(t)
	if keys, err := m.now.api.Keys(t.Context()); err != nil || keys.ConfigWarning != "" {
		t.Fatalf("%+v, %v", keys, err)
	}
	eventually(t, "the old server is not announced any more", func() bool {
		nodes, err := m.now.api.Nodes(t.Context())
		return err == nil && len(nodes.Array) == 1
	})
	if err := m.now.rekey(t, true); err != nil {
		t.Fatal(err)
	}
}

// goBack runs the old server alone: it opens the store, and can rekey it.
func (m *mixed) goBack(t *testing.T) {
	t.Helper()
	m.now.server.kill()
	m.old.recovers(t)
	if err := m.old.rekey(t, false); err != nil {
		t.Fatal(err)
	}
}
