//go:build long && zookeeper && gpg

package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/zktest"
)

// TestCrashAtEveryWriteOnZooKeeper kills a real server at each of its writes to a
// real ZooKeeper while it initializes, rekeys and rotates, after the write and for
// the short ones before it as well, and proves that the holders of the key in force
// can then unseal with their gpg and that every secret reads. (The storage holds
// the same before a write as after the one before.)
func TestCrashAtEveryWriteOnZooKeeper(t *testing.T) {
	zookeeper := zktest.Start(t)
	people := newPeople(t, "alice", "bob", "carol", "dave")
	for _, row := range []struct {
		op    crashOp
		least int // writes that there must be
		most  int // writes at which it is killed; after those comes what another one does as well. 0: all
		after []bool
	}{
		{crashInit, 1, 0, []bool{false, true}},
		{crashRekey, 2, 0, []bool{false, true}},
		{crashRekeyRotate, 5, 14, []bool{true}},
		{crashRotate, 3, 0, []bool{true}},
	} {
		for _, after := range row.after {
			t.Run(fmt.Sprintf("%s, after the write %v", row.op.name, after), func(t *testing.T) {
				t.Parallel()
				for n := 1; row.most == 0 || n <= row.most; n++ {
					if crashed := row.op.crash(t, zookeeper.Addr(), people, n, after, row.least > n); !crashed {
						if n-1 < row.least {
							t.Fatalf("only %d writes were seen", n-1)
						}
						t.Logf("%d writes", n-1)
						break
					}
				}
			})
		}
	}
}

// TestCrashAtManyMomentsOnBolt kills a server on a bbolt file at moments spread over the time
// that the operation takes.
func TestCrashAtManyMomentsOnBolt(t *testing.T) {
	people := newPeople(t, "alice", "bob", "carol", "dave")
	const moments = 8
	for _, row := range []struct {
		name         string
		bootstrapped bool
		op           crashOp
	}{
		{"reinit", true, crashRekeyRotate},
		{"rekey with rotation", false, crashRekeyRotate},
		{"rotation", false, crashRotate},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			whole := time.Duration(0)
			for n := range moments {
				file := filepath.Join(t.TempDir(), "s.db")
				if row.bootstrapped {
					if err := fixture.Bootstrapped(file); err != nil {
						t.Fatal(err)
					}
				}
				s := newCrashing(t, people, "bolt:"+file)
				s.fill(t)
				began := time.Now()
				if n > 0 {
					timer := time.AfterFunc(whole*time.Duration(n)/moments, s.server.kill)
					defer timer.Stop()
				}
				err := row.op.run(s, t)
				if n == 0 {
					if err != nil {
						t.Fatal(err)
					}
					whole = time.Since(began)
				}
				s.server.kill()
				s.recovers(t)
				s.server.kill()
			}
		})
	}
}
