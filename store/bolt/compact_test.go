package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"secretstore/store"
	"secretstore/store/bolt"
)

// leftover is the suffix of the file that Compact writes before it replaces the
// old one.
const leftover = ".compact-unfinished"

func mustApply(t *testing.T, b store.Backend, ops ...store.Op) []store.Version {
	t.Helper()
	v, err := b.Apply(t.Context(), ops...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantData(t *testing.T, b store.Backend, key, want string) {
	t.Helper()
	if n, err := b.Get(t.Context(), key, store.Latest); err != nil || string(n.Data) != want {
		t.Errorf("%s: %.40q, %v, want %.40q", key, n.Data, err, want)
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// wantAlone checks that the file is the only one in its folder.
func wantAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("files in the folder: %v, %v", entries, err)
	}
}

func TestCompactRemovesDeletedAndOverwrittenDataFromTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	deleted := bytes.Repeat([]byte("canary-deleted;"), 2000)
	overwritten := bytes.Repeat([]byte("canary-overwritten;"), 20)
	v := mustApply(t, b, store.Create("gone", deleted), store.Create("changed", overwritten), store.Create("kept", []byte("kept")))
	mustApply(t, b, store.Delete("gone", v[0]))
	changed := mustApply(t, b, store.Set("changed", []byte("new"), v[1]))
	for _, canary := range []string{"canary-deleted", "canary-overwritten"} {
		if !bytes.Contains(content(t, path), []byte(canary)) {
			t.Fatalf("%s is gone before Compact: this test proves nothing", canary)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if raw := content(t, path); bytes.Contains(raw, []byte("canary")) || !bytes.Contains(raw, []byte("kept")) {
		t.Error("the new file holds a canary, or lacks the kept record")
	}
	if mode := modeOf(t, path); mode != 0o600 {
		t.Errorf("mode %04o", mode)
	}
	wantAlone(t, path)
	if err := b.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	mustApply(t, b, store.Set("changed", []byte("newer"), changed[0]), store.Create("later", []byte("x")))
	_ = b.Close()
	b = openAt(t, path)
	for key, want := range map[string]string{"changed": "newer", "kept": "kept", "later": "x"} {
		wantData(t, b, key, want)
	}
	if len(b.Warnings()) != 0 {
		t.Errorf("warnings %q", b.Warnings())
	}
}

func TestCompactDoesNotReuseVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	kept := mustApply(t, b, store.Create("kept", []byte("x")))[0]
	last := mustApply(t, b, store.Create("a", []byte("x")))[0]
	mustApply(t, b, store.Delete("a", last))
	for range 3 {
		if err := b.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		v := mustApply(t, b, store.Create("a", []byte("x")), store.Check("kept", kept))[0]
		if v <= last {
			t.Fatalf("version %d after %d", v, last)
		}
		mustApply(t, b, store.Delete("a", v))
		last = v
	}
}

func TestCompactOfAnEmptyStorage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	for range 2 {
		if err := b.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_ = b.Close()
	mustApply(t, openAt(t, path), store.Create("a", []byte("x")))
}

// The copy takes several transactions, and values of many sizes.
func TestCompactKeepsEveryRecordOfALargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	want := map[string][]byte{}
	for i := range 40 {
		var ops []store.Op
		for j := range 20 {
			key := fmt.Sprintf("p%d/k%02d", i%7, i*20+j)
			want[key] = noise(1 + (i*20+j)*997%40_000)
			ops = append(ops, store.Create(key, want[key]))
		}
		mustApply(t, b, ops...)
	}
	if err := b.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for key, data := range want {
			wantData(t, b, key, string(data))
		}
		_ = b.Close()
		b = openAt(t, path)
	}
}

// TestCompactDoesNotDisturbReadersAndWriters: acknowledged writes stay, reads
// never go back in time, Ping does not report the new file as foreign, and no
// other process can lock the file in between.
func TestCompactDoesNotDisturbReadersAndWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	var stop atomic.Bool
	var wg sync.WaitGroup
	acknowledged := make([]int, 4)
	for w := range acknowledged {
		key := fmt.Sprintf("counter%d", w)
		version := mustApply(t, b, store.Create(key, []byte("0")))[0]
		var floor atomic.Int64
		wg.Go(func() {
			for i := 1; !stop.Load(); i++ {
				v, err := b.Apply(t.Context(), store.Set(key, fmt.Append(nil, i), version), store.Create(fmt.Sprintf("w%d/%d", w, i), []byte("x")))
				if err != nil {
					t.Error(err)
					return
				}
				version, acknowledged[w] = v[0], i
				floor.Store(int64(i))
			}
		})
		wg.Go(func() {
			for !stop.Load() {
				before := floor.Load()
				n, err := b.Get(t.Context(), key, store.Latest)
				var value int64
				if _, scan := fmt.Sscan(string(n.Data), &value); err != nil || scan != nil || value < before {
					t.Errorf("%s: %q, %v after %d", key, n.Data, err, before)
					return
				}
				if _, err := b.Children(t.Context(), "", store.Latest); err != nil {
					t.Error(err)
					return
				}
				if err := b.Ping(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				other, err := bolt.Open(ctx, path)
				cancel()
				if err == nil {
					_ = other.Close()
				}
				if !errors.Is(err, bolt.ErrInUse) && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a second Open: %v", err)
					return
				}
			}
		})
	}
	for range 40 {
		if err := b.Compact(t.Context()); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	_ = b.Close()
	wantAlone(t, path)
	b = openAt(t, path)
	for w, last := range acknowledged {
		wantData(t, b, fmt.Sprintf("counter%d", w), fmt.Sprint(last))
		names, err := b.Children(t.Context(), fmt.Sprintf("w%d", w), store.Latest)
		if err != nil || len(names.Names) != last || last == 0 {
			t.Errorf("writer %d: %d records, %v, want %d", w, len(names.Names), err, last)
		}
	}
}

// descriptors returns how many file descriptors of this process refer to path. It
// returns 2 on systems without /proc.
func descriptors(t *testing.T, path string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(all) == 0 {
		return 2
	}
	n := 0
	for _, fd := range all {
		if target, err := os.Readlink(fd); err == nil && target == path {
			n++
		}
	}
	return n
}

// TestOpenThatWaitedForTheLockGetsTheNewFile: while Open waits, it has the old
// file open. That file has no name by the time its lock is free, so every write
// to it would be lost.
func TestOpenThatWaitedForTheLockGetsTheNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	type opened struct {
		b   *bolt.Backend
		err error
	}
	result := make(chan opened, 1)
	go func() {
		other, err := bolt.Open(t.Context(), path)
		result <- opened{other, err}
	}()
	// Until the other Open has the file and waits for its lock, or has given up.
	for descriptors(t, path) < 2 && len(result) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := b.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustApply(t, b, store.Create("after", []byte("x")))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	got := <-result
	if errors.Is(got.err, bolt.ErrInUse) { // the machine is slow: Open has given up
		got.b, got.err = bolt.Open(t.Context(), path)
	}
	if got.err != nil {
		t.Fatal(got.err)
	}
	defer got.b.Close()
	wantData(t, got.b, "after", "x")
	mustApply(t, got.b, store.Create("more", []byte("x")))
}

func TestCompactKeepsASymbolicLink(t *testing.T) {
	folder, real := t.TempDir(), filepath.Join(t.TempDir(), "real.db")
	link := filepath.Join(folder, "secrets.db")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	b := openAt(t, link)
	mustApply(t, b, store.Create("a", []byte("x")))
	if err := b.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != real {
		t.Errorf("the link is %q, %v", to, err)
	}
	_ = b.Close()
	wantData(t, openAt(t, real), "a", "x")
}

func TestLeftoverOfAnInterruptedCompactIsRemovedAndReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	_ = openAt(t, path).Close()
	if err := os.WriteFile(path+leftover, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := openAt(t, path)
	wantAlone(t, path)
	if w := b.Warnings(); len(w) != 1 || !strings.Contains(w[0], path+leftover) {
		t.Errorf("warnings %q", w)
	}
}

func TestFailedCompactLeavesTheOldFileInUse(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, obstruct := range map[string]func(t *testing.T, path string) context.Context{
		"ended context": func(*testing.T, string) context.Context { return ended },
		"name taken by a folder": func(t *testing.T, path string) context.Context {
			if err := os.Mkdir(path+leftover, 0o700); err != nil {
				t.Fatal(err)
			}
			return t.Context()
		},
		"name taken by a link": func(t *testing.T, path string) context.Context {
			if err := os.Symlink(path, path+leftover); err != nil {
				t.Fatal(err)
			}
			return t.Context()
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secrets.db")
			b := openAt(t, path)
			v := mustApply(t, b, store.Create("a", []byte("x")))
			ctx := obstruct(t, path)
			err := b.Compact(ctx)
			if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) || !strings.Contains(err.Error(), path) && ctx.Err() == nil {
				t.Errorf("Compact: %v", err)
			}
			mustApply(t, b, store.Set("a", []byte("y"), v[0]))
			_ = b.Close()
			wantData(t, openAt(t, path), "a", "y")
		})
	}
}

// TestCompactDoesNotReplaceAForeignFile: an operator may have restored a backup
// under the name of the file.
func TestCompactDoesNotReplaceAForeignFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("removed: %v", err)
	}
	if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("replaced: %v", err)
	}
	if got := content(t, path); string(got) != "another" {
		t.Errorf("the file is now %.20q", got)
	}
}

func TestCompactOfADamagedFileIsRefused(t *testing.T) {
	valid := validFile(t)
	page := os.Getpagesize()
	refused := 0
	for at := 2 * page; at < len(valid); at += page {
		damaged := slices.Clone(valid)
		copy(damaged[at:], noise(64))
		path := filepath.Join(t.TempDir(), "secrets.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := bolt.Open(t.Context(), path)
		if err != nil {
			continue
		}
		if err := b.Compact(t.Context()); err != nil {
			refused++
			if !bytes.Equal(content(t, path), damaged) {
				t.Errorf("page %d: the file was changed", at/page)
			}
			wantAlone(t, path)
		}
		_ = b.Close()
	}
	if refused == 0 {
		t.Error("no damage was noticed: this test proves nothing")
	}
}

// TestKillDuringCompactLosesNothing kills a helper process that writes and
// compacts in a loop. All writes that it acknowledged must be in the file.
func TestKillDuringCompactLosesNothing(t *testing.T) {
	for round := range 8 {
		path := filepath.Join(t.TempDir(), "secrets.db")
		t.Setenv("BOLT_TEST_COMPACTS", "1")
		child, lines := helper(t, path)
		readLine(t, lines, "ready")
		const count = 12
		for i := range count + round {
			readLine(t, lines, fmt.Sprint(i))
		}
		time.Sleep(time.Duration(round) * 700 * time.Microsecond) // to hit different steps
		_ = child.Process.Signal(syscall.SIGKILL)
		_ = child.Wait() // it has the lock until it has ended
		b := openAt(t, path)
		for i := range count + round {
			wantData(t, b, fmt.Sprintf("k%d", i), "x")
		}
		wantAlone(t, path)
		_ = b.Close()
	}
}
