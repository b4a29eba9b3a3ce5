package watchfile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"secretstore/internal/filetrust"
	"secretstore/internal/watchfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// poll runs Poll until the test ends and returns what it reports, one text a call.
func poll(t *testing.T, path string) <-chan string {
	calls := make(chan string, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		watchfile.Poll(ctx, path, 2*time.Millisecond, func(content []byte, err error) {
			if err != nil {
				calls <- "error: " + err.Error()
				return
			}
			calls <- string(content)
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return calls
}

func next(t *testing.T, calls <-chan string) string {
	t.Helper()
	select {
	case s := <-calls:
		return s
	case <-time.After(time.Minute):
		t.Fatal("no call")
		return ""
	}
}

func expect(t *testing.T, calls <-chan string, want string) {
	t.Helper()
	if got := next(t, calls); got != want {
		t.Fatalf("got %q; want %q", got, want)
	}
}

// replace puts content in place in one step, as careful writers do.
func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestPollReportsChangesOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	replace(t, path, "one")
	calls := poll(t, path)
	expect(t, calls, "one")
	replace(t, path, "one") // the same content in a new file is not a change
	replace(t, path, "two")
	expect(t, calls, "two")
	replace(t, path, "")
	expect(t, calls, "")
	replace(t, path, "two")
	expect(t, calls, "two")
}

func TestPollReportsAFailureOnceAndTheRecovery(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	calls := poll(t, path)
	missing := fmt.Sprintf("error: open %s: %v", path, syscall.ENOENT)
	expect(t, calls, missing)
	replace(t, path, "one")
	expect(t, calls, "one")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect(t, calls, missing)
	replace(t, path, "one")
	expect(t, calls, "one") // the same content again: the caller must learn that it is back
}

// A file that is written slowly is reported when it is whole.
func TestPollDoesNotReportHalfAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "f")
		replace(t, path, "old")
		ctx, cancel := context.WithCancel(t.Context())
		var calls []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			watchfile.Poll(ctx, path, time.Second, func(content []byte, err error) { calls = append(calls, fmt.Sprint(string(content), err)) })
		}()
		time.Sleep(920 * time.Millisecond) // so that no read coincides with a write
		var whole string
		for i := range 40 { // from before the first read to well after it, never 100 ms without a change
			whole += fmt.Sprint(i, ",")
			if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(37 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		cancel()
		<-done
		if want := fmt.Sprint([]string{"old<nil>", whole + "<nil>"}); fmt.Sprint(calls) != want {
			t.Errorf("calls %q; want %q", calls, want)
		}
	})
}

// Kubernetes replaces files by moving a symbolic link.
func TestPollFollowsALink(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"v1", "v2"} {
		if err := os.WriteFile(filepath.Join(dir, v), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "f")
	if err := os.Symlink("v1", path); err != nil {
		t.Fatal(err)
	}
	calls := poll(t, path)
	expect(t, calls, "v1")
	if err := os.Symlink("v2", path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	expect(t, calls, "v2")
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for size, want := range map[int]error{0: nil, 1: nil, watchfile.MaxSize: nil, watchfile.MaxSize + 1: watchfile.ErrTooLarge} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		content, err := watchfile.Read(path)
		if !errors.Is(err, want) || want == nil && len(content) != size || want != nil && content != nil {
			t.Errorf("%d bytes: %d, %v; want %v", size, len(content), err, want)
		}
	}
	if _, err := watchfile.Read(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, fifo, "/dev/zero"} {
		if _, err := watchfile.Read(p); !errors.Is(err, watchfile.ErrNotRegular) {
			t.Errorf("%s: %v; want ErrNotRegular", p, err)
		}
	}
}

// TestFileThatOthersCanChangeIsNotRead: its content may be that of an attacker. It is
// read again once it is repaired.
func TestFileThatOthersCanChangeIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	replace(t, path, "one")
	calls := poll(t, path)
	expect(t, calls, "one")
	if err := os.Chmod(path, 0o606); err != nil {
		t.Fatal(err)
	}
	if got := next(t, calls); !strings.Contains(got, "chmod o-w "+path) {
		t.Errorf("got %q", got)
	}
	if content, err := watchfile.Read(path); !errors.Is(err, filetrust.ErrUntrusted) || content != nil {
		t.Errorf("%q, %v", content, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, calls, "one")
}
