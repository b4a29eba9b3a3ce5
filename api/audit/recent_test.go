package audit_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"secretstore/api/audit"
)

func TestTheNewestLinesAreKeptInMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, _, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := l.Recent(); len(got) != 0 || l.Path() != path {
		t.Fatalf("a new log has %d lines in memory, of %s", len(got), l.Path())
	}
	const written, kept = 2500, 1000
	for i := range written {
		// The lines of a request come at once; some are long.
		e := &audit.Entry{UID: "alice", Resource: "r" + strconv.Itoa(i) + strings.Repeat("x", i%7*100)}
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
		if i+1 == 2 {
			if got := l.Recent(); len(got) != 2 || !strings.Contains(string(got[0]), `"r1`) || !strings.Contains(string(got[1]), `"r0`) {
				t.Fatalf("after two lines: %s", got)
			}
		}
	}
	got := l.Recent()
	if len(got) != kept {
		t.Fatalf("%d lines in memory", len(got))
	}
	for i, line := range got {
		n := written - 1 - i
		if want := `"resource":"r` + strconv.Itoa(n) + strings.Repeat("x", n%7*100) + `"`; !strings.Contains(string(line), want) {
			t.Fatalf("line %d is %s, not %s", i, line, want)
		}
	}
	got[0][0] = 'X'
	if again := l.Recent(); again[0][0] != '{' {
		t.Error("the caller has the lines themselves")
	}
}

// TestPathOfTheLogIsNotRelative: people need not know the working directory of the
// server to find it.
func TestPathOfTheLogIsNotRelative(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	l, _, err := audit.Open("audit.log")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got, want := l.Path(), filepath.Join(dir, "audit.log"); got != want {
		t.Errorf("it is at %s, want %s", got, want)
	}
}
