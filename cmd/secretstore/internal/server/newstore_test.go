package server

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"secretstore/cmd/secretstore/internal/fixture"
)

// TestLostFileIsWarnedAbout: a database that was lost must not look like a first
// start.
func TestLostFileIsWarnedAbout(t *testing.T) {
	for name, tt := range map[string]struct {
		lose func(path string) error
		want []string
	}{
		"the first start": {func(path string) error { os.Remove(path + ".bootstrap.key"); return os.Remove(path) }, nil},
		"still there":     {func(string) error { return nil }, nil},
		"removed":         {os.Remove, []string{"beside the bootstrap key of another"}},
		"emptied":         {func(path string) error { return os.Truncate(path, 0) }, []string{"the file of the storage is empty", "beside the bootstrap key of another"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.db")
			if err := fixture.Bootstrapped(path); err != nil {
				t.Fatal(err)
			}
			if err := tt.lose(path); err != nil {
				t.Fatal(err)
			}
			r := startWith(t, Outside{Stdout: io.Discard}, "--listen", "127.0.0.1:0", "--storage", "bolt:"+path, "--bootstrap=false")
			r.stop()
			<-r.log.done
			all := strings.Join(r.log.all, "\n")
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("no %q in:\n%s", want, all)
				}
			}
			if len(tt.want) == 0 && strings.Contains(all, "restore the file from a backup") {
				t.Errorf("a warning in:\n%s", all)
			}
		})
	}
}
