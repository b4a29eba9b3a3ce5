package server

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
)

// TestServerEndsWhileItCreatesTheBootstrapKey: making the key never ends here, and
// the server does not wait for it.
func TestServerEndsWhileItCreatesTheBootstrapKey(t *testing.T) {
	dir := t.TempDir()
	r, w := io.Pipe()
	go io.Copy(io.Discard, r)
	begun, never := make(chan struct{}), make(chan struct{})
	defer close(never)
	s, err := build(t, Outside{Stdout: io.Discard, Stderr: w, TestOnlyGenerateKey: func() (*pgp.PrivateKey, error) {
		close(begun)
		<-never
		return sealtest.GenerateKey()
	}}, "--listen", "127.0.0.1:0", "--storage", "bolt:"+filepath.Join(dir, "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	<-begun
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "s.db.bootstrap.key")); err == nil {
		t.Error("there is a key file")
	}
}

// TestSlowBootstrapKeyIsReportedAndKept: the server answers while it makes the key, and
// needs only one.
func TestSlowBootstrapKeyIsReportedAndKept(t *testing.T) {
	dir := t.TempDir()
	begun, finish := make(chan struct{}, 100), make(chan struct{})
	r := startWith(t, Outside{Stdout: io.Discard, TestOnlyGenerateKey: func() (*pgp.PrivateKey, error) {
		begun <- struct{}{}
		<-finish
		return sealtest.GenerateKey()
	}}, "--listen", "127.0.0.1:0", "--storage", "bolt:"+filepath.Join(dir, "s.db"), "--superuser", "root",
		"--auth-secret-file", write(t, dir, "key", fixture.Key+"\n"))
	if status, text := r.request(t, "root", "GET", "/secrets/v1/seal-status/default", ""); status != http.StatusOK || !strings.Contains(text, `"creating_bootstrap_key":true`) {
		t.Errorf("%d %s", status, text)
	}
	status, text := r.request(t, "root", "PUT", "/secrets/v1/secret/default/a", `{"value":"x"}`)
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "not initialized") || !strings.Contains(text, "creating the bootstrap key") {
		t.Errorf("%d %s", status, text)
	}
	close(finish)
	r.log.until(t, "initialized with a new bootstrap key")
	r.log.until(t, "unsealed")
	if status, text := r.request(t, "root", "PUT", "/secrets/v1/secret/default/a", `{"value":"x"}`); status != http.StatusCreated {
		t.Errorf("%d %s", status, text)
	}
	if n := len(begun); n != 1 {
		t.Errorf("%d keys were made", n)
	}
}
