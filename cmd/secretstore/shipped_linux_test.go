package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// addressSpace is what "ulimit -v 1000000" allows. The Go runtime alone takes
// about 700 MB of it.
const addressSpace = 1_000_000 << 10

// TestShippedProgram builds the program as it is shipped. This test binary may
// have the race detector, which needs terabytes of address space.
func TestShippedProgram(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	out, err := exec.Command("make", "--no-print-directory", "-C", "../..", "build", "OUT="+program, "VERSION=v1.2.3-test").CombinedOutput()
	if err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	t.Run("says its version", func(t *testing.T) {
		out, err := exec.Command(program, "version").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "secretstore v1.2.3-test (") {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("serves with limited address space", func(t *testing.T) { servesLimited(t, program) })
}

func servesLimited(t *testing.T, program string) {
	dir := t.TempDir()
	// The shell sets the limit, so that no moment of the process is without it.
	limited := func(args ...string) *exec.Cmd {
		cmd := exec.Command("sh", append([]string{"-c", `ulimit -v 1000000 && exec "$0" "$@"`, program}, args...)...)
		cmd.Dir = dir
		return cmd
	}
	server := limited("server", "--dev", "--listen", "127.0.0.1:0")
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(patience, func() { server.Process.Kill() })
	defer timeout.Stop()
	url, text := untilListening(log)
	if url == "" {
		t.Fatalf("the server does not listen: %v\n%s", server.Wait(), text)
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(server.Process.Pid, unix.RLIMIT_AS, nil, &limit); err != nil || limit.Cur != addressSpace {
		t.Errorf("the limit is %d, %v", limit.Cur, err)
	}
	value := strings.Repeat("0123456789abcdef", 1<<20/16)
	run := func(stdin string, args ...string) (string, error) {
		cmd := limited(append(args, "--server", url, "--token-file", ".secretstore-dev/token")...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.Output()
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, e.Stderr)
		}
		return string(out), err
	}
	// A new key may take longer than the server waits for it before it listens.
	eventually(t, "the store is unsealed", func() bool {
		out, err := run("", "status")
		return err == nil && strings.Contains(out, " unsealed")
	})
	if _, err := run(value, "put", "a/b"); err != nil {
		t.Error(err)
	}
	if got, err := run("", "get", "a/b"); err != nil || got != value {
		t.Errorf("%d bytes, want %d, %v", len(got), len(value), err)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	rest, _ := io.ReadAll(log) // until it has ended
	if err := server.Wait(); err != nil {
		t.Errorf("the server, asked to end: %v\n%s", err, rest)
	}
}

// untilListening reads a log until the server says where it listens.
func untilListening(log io.Reader) (url, text string) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		text += lines.Text() + "\n"
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			return m[1], text
		}
	}
	return "", text
}
