//go:build zookeeper

package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

// TestOldUnsealKeyAndZooKeepersFilesOpenNothingNew: three servers rotate the root
// key twice. The old unseal key, with all that ZooKeeper has left on its disk, opens
// no value that was written afterwards.
func TestOldUnsealKeyAndZooKeepersFilesOpenNothingNew(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := zktest.Start(t)
	backend := func() store.Backend {
		b, err := zk.Open(ctx, zk.Config{Servers: []string{server.Addr()}, Root: "/secrets", Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}
	first, _ := openNamed(t, backend(), "one", nil)
	await(t, first, func(st State) bool { return st == StateUninitialized })
	info, err := first.Init(ctx, sameHolder(t, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	key := sharesOf(t, info.Keys)[0]
	servers := []*Store{first}
	for _, name := range []string{"two", "three"} {
		s, _ := openNamed(t, backend(), name, nil)
		servers = append(servers, s)
	}
	for _, s := range servers {
		await(t, s, func(st State) bool { return st == StateSealed })
		if _, err := s.Unseal(ctx, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := first.Create(ctx, path(t, "old"), text("written before")); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		awaitRecipients(t, first, 3)
		_, done, err := rotateRoot(t, first, false)
		if err != nil || len(done.Peers.Recipients) != 3 {
			t.Fatalf("%+v, %v", done, err)
		}
		settleRotation(t, first)
		// The files then have a snapshot with the handover record in it.
		server.Stop()
		server.Restart()
		for i, s := range servers {
			p := path(t, []string{"new/one", "new/two", "new/three"}[i])
			write := s.Update
			if round == 0 {
				write = s.Create
			}
			// The connection may not be back yet.
			err := store.ErrUnavailable
			for errors.Is(err, store.ErrUnavailable) {
				_, err = write(ctx, p, text("written after"))
			}
			if err != nil && !errors.Is(err, ErrExists) {
				t.Fatalf("round %d, server %d: %+v, %v", round, i, s.Status(), err)
			}
		}
	}
	server.Stop()
	thief := newThief(t, first.Status().UUID, key, recordsIn(t, server.Dir()))
	if !thief.opens(t, "old") {
		t.Error("the old key does not open what was written before: the test is wrong")
	}
	for _, p := range []string{"new/one", "new/two", "new/three"} {
		if thief.opens(t, p) {
			t.Errorf("the old unseal key opens %s", p)
		}
	}
}

// recordsIn returns whatever looks like an envelope in the files below dir, where
// ZooKeeper writes data behind its length.
func recordsIn(t *testing.T, dir string) (all [][]byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for i := 0; ; i++ {
			next := bytes.Index(data[i:], []byte{0x93, 'S'})
			if next < 0 {
				return nil
			}
			if i += next; i < 4 {
				continue
			}
			if size := int(binary.BigEndian.Uint32(data[i-4:])); size <= len(data)-i {
				all = append(all, data[i:i+size])
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no records in the files of ZooKeeper")
	}
	return all
}
