package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"secretstore/store"
)

// TestWriteOnAFullDiskHasNoEffect makes the kernel refuse to extend the file, by
// the limit of the process on file sizes.
func TestWriteOnAFullDiskHasNoEffect(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	v, err := b.Apply(t.Context(), store.Create("small", []byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	restore := limitFileSize(t, 6<<20)
	defer restore()

	big := bytes.Repeat([]byte("b"), store.MaxData)
	fits := 0
	for ; err == nil && fits < 100; fits++ {
		_, err = b.Apply(t.Context(), store.Create(fmt.Sprintf("big%d", fits), big))
	}
	last := fmt.Sprintf("big%d", fits-1)
	for range 3 {
		if !errors.Is(err, store.ErrFull) || !errors.Is(b.WriteFault(), store.ErrFull) {
			t.Fatalf("Apply on a full disk: %v, fault %v", err, b.WriteFault())
		}
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "file too large") {
			t.Fatalf("Apply on a full disk: %v", err)
		}
		_, err = b.Apply(t.Context(), store.Create(last, big), store.Set("small", []byte("y"), v[0]))
	}
	if _, err := b.Get(t.Context(), last, store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after a refused write: %v", err)
	}
	if n, err := b.Get(t.Context(), "small", store.Latest); err != nil || string(n.Data) != "x" {
		t.Errorf("Get of an older record: %q, %v", n.Data, err)
	}
	restore()
	if _, err := b.Apply(t.Context(), store.Create(last, big), store.Set("small", []byte("y"), v[0])); err != nil {
		t.Errorf("Apply once there is room: %v", err)
	}
	if err := b.WriteFault(); err != nil {
		t.Errorf("a fault after a write that succeeded: %v", err)
	}
	_ = b.Close()
	b = openAt(t, path)
	if n, err := b.Get(t.Context(), last, store.Latest); err != nil || !bytes.Equal(n.Data, big) {
		t.Errorf("after opening again: %d bytes, %v", len(n.Data), err)
	}
}

func TestCompactOnAFullDiskLeavesTheOldFileInUse(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	big := bytes.Repeat([]byte("b"), store.MaxData)
	for i := range 12 {
		mustApply(t, b, store.Create(fmt.Sprintf("big%d", i), big))
	}
	before := content(t, path)
	for _, limit := range []uint64{1 << 20, 3 << 20, 5 << 20} {
		restore := limitFileSize(t, limit)
		err := b.Compact(t.Context())
		restore()
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "file too large") {
			t.Errorf("Compact with room for %d bytes: %v", limit, err)
		}
		wantAlone(t, path)
		if !bytes.Equal(content(t, path), before) {
			t.Error("the file was changed")
		}
	}
	mustApply(t, b, store.Create("small", []byte("x")))
	if err := b.Compact(t.Context()); err != nil {
		t.Errorf("Compact once there is room: %v", err)
	}
	wantData(t, b, "big11", string(big))
	wantData(t, b, "small", "x")
}

// inOwnProcess runs the test alone in another process, and returns true in that
// process. A limit of this process would also hit files of the test framework.
func inOwnProcess(t *testing.T) bool {
	t.Helper()
	const env = "BOLT_TEST_OWN_PROCESS"
	if os.Getenv(env) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// limitFileSize makes this process's writes fail if they extend a file beyond
// size bytes.
func limitFileSize(t *testing.T, size uint64) (restore func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ) // the write fails without it
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	}
}

func TestRemovedOrReplacedFileIsNotWrittenTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	v, err := b.Apply(t.Context(), store.Create("a", []byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	aside := path + ".aside"
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	wantRefused := func(when string) {
		t.Helper()
		_, err := b.Apply(t.Context(), store.Set("a", []byte("y"), v[0]))
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: Apply: %v", when, err)
		}
		if err := b.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: Ping: %v", when, err)
		}
	}
	wantRefused("removed")
	if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused("replaced")
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), store.Set("a", []byte("z"), v[0])); err != nil {
		t.Errorf("put back: Apply: %v", err)
	}
	if err := b.Ping(t.Context()); err != nil {
		t.Errorf("put back: Ping: %v", err)
	}
}

// TestTruncatedFileIsAnErrorNotACrash: `cp backup secrets.db` under a running
// server truncates the file first. Any access to the mapping then faults, which
// must become an error.
func TestTruncatedFileIsAnErrorNotACrash(t *testing.T) {
	for _, left := range []int64{0, 1, 2 * int64(os.Getpagesize())} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secrets.db")
			b := openAt(t, path)
			for i := range 50 {
				if _, err := b.Apply(t.Context(), store.Create(fmt.Sprintf("k%d", i), bytes.Repeat([]byte("x"), 2000))); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Truncate(path, left); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Get(t.Context(), "k7", store.Latest); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Get: %v", err)
			}
			if _, err := b.Children(t.Context(), "", store.Latest); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Children: %v", err)
			}
			if _, err := b.Apply(t.Context(), store.Create("new", []byte("x"))); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Apply: %v", err)
			}
			if err := b.Ping(t.Context()); err == nil {
				t.Error("Ping succeeds")
			}
			_ = b.Close()
			if info, err := os.Stat(path); err != nil || info.Size() != left {
				t.Errorf("the file was written to: %v, %v", info.Size(), err)
			}
		})
	}
}

// TestTruncatedFileHangsNoCall: the first call that faults may do so while it
// holds locks of bbolt. Other calls must not wait for these forever.
func TestTruncatedFileHangsNoCall(t *testing.T) {
	for range 10 {
		path := filepath.Join(t.TempDir(), "secrets.db")
		b := openAt(t, path)
		if _, err := b.Apply(t.Context(), store.Create("k", bytes.Repeat([]byte("x"), 2000))); err != nil {
			t.Fatal(err)
		}
		var wg, begun sync.WaitGroup
		for range 16 {
			begun.Add(1)
			wg.Go(func() {
				_, err := b.Get(t.Context(), "k", store.Latest)
				begun.Done()
				for err == nil {
					_, err = b.Get(t.Context(), "k", store.Latest)
				}
			})
		}
		begun.Wait()
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		_ = b.Close()
	}
}
