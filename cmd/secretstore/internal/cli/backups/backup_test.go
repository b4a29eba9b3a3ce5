package backups

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/seal"
	"secretstore/seal/sealtest"
	"secretstore/store/memory"
)

// stream runs backup -o - against a server that answers with body and ends the
// answer well, as a proxy may.
func stream(t *testing.T, body []byte) ([]byte, error) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }))
	defer srv.Close()
	var out bytes.Buffer
	p := &base.Process{Stdin: bytes.NewReader(nil), Stdout: &out, Stderr: io.Discard, Getenv: func(string) string { return "" }}
	cmd := backupCommand(p)
	cmd.SetArgs([]string{"-o", "-", "--server", srv.URL})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.Execute()
	return out.Bytes(), err
}

func TestAStreamThatEndsTooEarlyIsAnError(t *testing.T) {
	b := memory.New()
	defer b.Close()
	s, err := seal.Open(t.Context(), seal.Options{Backend: b, Bootstrap: true, GenerateKey: sealtest.GenerateKey, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
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
