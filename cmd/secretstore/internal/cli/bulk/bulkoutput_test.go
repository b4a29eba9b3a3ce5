package bulk

import (
	"os"
	"path/filepath"
	"testing"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/internal/atomicfile"
)

// TestFailedOutputReplacesNothing closes the file too early. A
// full disk, too, may show only at the end.
func TestFailedOutputReplacesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := openOutput(&base.Process{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.f.Finish(atomicfile.Keep, atomicfile.Keep, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := out.commit(); err == nil {
		t.Error("a failed write is not an error")
	}
	out.discard()
	got, err := os.ReadFile(path)
	left, err2 := os.ReadDir(filepath.Dir(path))
	if err != nil || err2 != nil || string(got) != "old" || len(left) != 1 {
		t.Errorf("the file holds %q, %v; %d files, %v", got, err, len(left), err2)
	}
}
