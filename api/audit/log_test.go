package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustOpen(t *testing.T, path string) *Log {
	t.Helper()
	l, reserveErr, err := Open(path)
	if err != nil || reserveErr != nil {
		t.Fatal(err, reserveErr)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func entry(id string) *Entry {
	return &Entry{Time: time.Unix(1, 0), RequestID: id, UID: "alice", Outcome: Allowed, Status: 200}
}

// lines reads the file and demands that each of its lines is one JSON object.
func lines(t *testing.T, path string) []map[string]any {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	for line := range bytes.Lines(raw) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, m)
	}
	return all
}

func TestEveryAppendedLineIsInTheFileOnceWhenAppendReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := mustOpen(t, path)
	const workers, each = 16, 200
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
				if err := l.Append(entry(id)); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					if raw, _ := os.ReadFile(path); !bytes.Contains(raw, []byte(`"`+id+`"`)) {
						t.Errorf("line %s is not in the file though Append has returned", id)
					}
				}
			}
		})
	}
	wg.Wait()
	seen := map[any]int{}
	for _, m := range lines(t, path) {
		seen[m["request_id"]]++
	}
	if len(seen) != workers*each {
		t.Errorf("%d different lines, want %d", len(seen), workers*each)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("line %v is there %d times", id, n)
		}
	}
}

func TestFileIsPrivateAndAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for range 2 {
		l := mustOpen(t, path)
		if err := l.Append(entry("x")); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(lines(t, path)); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestControlCharactersCannotForgeALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := mustOpen(t, path)
	evil := "a\"}\n{\"uid\":\"root\"}\r\u2028\x1b[2K\x00\xff\u202e😀\\"
	e := entry(evil)
	e.UID, e.Resource, e.Remote, e.Reason = evil, evil, evil, evil
	if err := l.Append(e); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(path)
	if bytes.Count(raw, []byte("\n")) != 1 {
		t.Errorf("more than one line: %q", raw)
	}
	for _, c := range bytes.TrimSuffix(raw, []byte("\n")) {
		if c < ' ' || c > '~' {
			t.Errorf("byte %#x is in the line unescaped", c)
		}
	}
	got := lines(t, path)[0]["uid"]
	if want := strings.ToValidUTF8(evil, "\ufffd"); got != want {
		t.Errorf("uid reads back as %q, want %q", got, want)
	}
}

func TestAnOversizeFieldIsCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := mustOpen(t, path)
	if err := l.Append(entry(strings.Repeat("x", 1<<20))); err != nil {
		t.Fatal(err)
	}
	if n := len(lines(t, path)[0]["request_id"].(string)); n != maxField {
		t.Errorf("%d bytes were kept", n)
	}
}

func TestRotatedOrRemovedFileIsReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := mustOpen(t, path)
	if err := l.Append(entry("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.checked = time.Time{} // a second has passed
	if err := l.Append(entry("new")); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, path); len(got) != 1 || got[0]["request_id"] != "new" {
		t.Errorf("the new file holds %v", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l.checked = time.Time{}
	if err := l.Append(entry("newer")); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, path); len(got) != 1 || got[0]["request_id"] != "newer" {
		t.Errorf("the newer file holds %v", got)
	}
}

func TestRefusesOtherThanRegularFiles(t *testing.T) {
	dir := t.TempDir()
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, fifo, dir, "/dev/null", filepath.Join(dir, "missing", "audit.log")} {
		if l, _, err := Open(path); err == nil {
			l.Close()
			t.Errorf("%s was opened", path)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("the symbolic link was followed")
	}
}

func TestSymlinkInPlaceOfTheFileIsAnError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	l := mustOpen(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	l.checked = time.Time{}
	if err := l.Append(entry("x")); err == nil {
		t.Error("the line went through a symbolic link")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := l.Probe(); err != nil {
		t.Errorf("no recovery: %v", err)
	}
	if err := l.Append(entry("y")); err != nil {
		t.Errorf("no recovery: %v", err)
	}
}

func TestFailedWriteIsReportedToItsCallerAndRecovers(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	l := &Log{file: full}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if l.Append(entry("x")) == nil {
				t.Error("a line that was not written was reported as written")
			}
		})
	}
	wg.Wait()
	if l.Probe() == nil {
		t.Error("Probe trusts a log that is full")
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	l.path, l.checked = path, time.Time{}
	if err := l.Probe(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(entry("y")); err != nil {
		t.Fatal(err)
	}
	if n := len(lines(t, path)); n != 2 {
		t.Errorf("%d lines, want the one of Probe and one more", n)
	}
}

func TestLineAfterATornOneStandsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"time":"half a li`), 0o600); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, path)
	if err := l.Append(entry("x")); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(path)
	_, second, _ := bytes.Cut(raw, []byte("\n"))
	if !json.Valid(second) {
		t.Errorf("file is %q", raw)
	}
}

func TestClosedLogRefuses(t *testing.T) {
	l := mustOpen(t, filepath.Join(t.TempDir(), "audit.log"))
	l.Close()
	if l.Append(entry("x")) == nil || l.Probe() == nil {
		t.Error("a closed log takes lines")
	}
}

func BenchmarkAppend(b *testing.B) {
	l, _, err := Open(filepath.Join(b.TempDir(), "audit.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	e := entry("0123456789abcdef")
	e.Resource = "dcos:secrets:default:/group/app/password"
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Append(e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestTimesHaveMicroseconds(t *testing.T) {
	for _, at := range []time.Time{time.Unix(0, 0), time.Unix(1, 999_999_999), time.Unix(1_700_000_000, 1_000), time.Unix(1_700_000_000, 50_000_000).In(time.FixedZone("", 3600))} {
		if got, want := string(appendTime(nil, at)), at.UTC().Format("2006-01-02T15:04:05.000000Z"); got != want {
			t.Errorf("%v: %q, want %q", at, got, want)
		}
	}
}
