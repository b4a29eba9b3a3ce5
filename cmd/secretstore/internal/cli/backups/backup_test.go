package backups

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/seal"
)

// run runs backup with args, and returns what it prints.
func run(args ...string) ([]byte, error) {
	var out bytes.Buffer
	p := &base.Process{Stdin: bytes.NewReader(nil), Stdout: &out, Stderr: io.Discard, Getenv: func(string) string { return "" }}
	cmd := backupCommand(p)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.Execute()
	return out.Bytes(), err
}

// stream runs backup -o - against a server that answers with body and ends the
// answer well, as a proxy may.
func stream(t *testing.T, body []byte) ([]byte, error) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }))
	defer srv.Close()
	return run("-o", "-", "--server", srv.URL)
}

// TestABackupThatFailsMidwayLeavesNoFile has the server end it with a reason, well and
// badly.
func TestABackupThatFailsMidwayLeavesNoFile(t *testing.T) {
	var query atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query.Store(r.URL.RawQuery)
		io.WriteString(w, "secretstore backup 1\n"+strings.Repeat("x", 1<<20)+wire.BackupFailed+`{"title":"503 Service Unavailable","description":"too many writes"}`+"\n")
		if r.URL.Query().Get("pause") == "" {
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	for _, pause := range []string{"--pause=false", "--pause"} {
		for _, to := range []string{dir, dir + "/store.backup", "-"} {
			_, err := run("-o", to, "--server", srv.URL, pause)
			if !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), "too many writes") || base.Report(io.Discard, &cobra.Command{}, err) != base.ExitFailure {
				t.Errorf("-o %s %s: %v", to, pause, err)
			}
			if want := map[string]string{"--pause": "pause=true", "--pause=false": ""}[pause]; query.Load() != want {
				t.Errorf("%s: the query %q", pause, query.Load())
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
				t.Errorf("-o %s %s: it left %v, %v", to, pause, files, err)
			}
		}
	}
}

func TestAStreamThatEndsTooEarlyIsAnError(t *testing.T) {
	s := newStore(t)
	var whole bytes.Buffer
	if _, err := s.Backup(t.Context(), &whole, seal.BackupOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := stream(t, whole.Bytes()); err != nil || !bytes.Equal(got, whole.Bytes()) {
		t.Errorf("%d bytes of %d, %v", len(got), whole.Len(), err)
	}
	for _, cut := range []int{0, 1, 63, 64, 65, whole.Len() / 2, whole.Len() - 1} {
		if _, err := stream(t, whole.Bytes()[:cut]); err == nil {
			t.Errorf("%d bytes of %d: no error", cut, whole.Len())
		}
	}
}
