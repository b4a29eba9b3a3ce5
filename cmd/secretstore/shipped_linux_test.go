package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	t.Run("its server cannot be dumped", func(t *testing.T) { serverCannotBeDumped(t, program) })
	t.Run("its server outlives the readers of its output", func(t *testing.T) { serverOutlivesItsReaders(t, program) })
	t.Run("output that nobody reads holds up nothing", func(t *testing.T) { outputThatNobodyReadsHoldsUpNothing(t, program) })
	t.Run("its log is readable on a terminal", func(t *testing.T) { logIsReadableOnATerminal(t, program) })
}

// serverCannotBeDumped runs a server as a user without privileges. The folder
// of a process in /proc belongs to its user only while it can be dumped.
func serverCannotBeDumped(t *testing.T, program string) {
	dir, err := os.MkdirTemp("", "secretstore-") // another user may enter it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", program, dir+"/program").CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	server := exec.Command(dir+"/program", "server", "--storage", "memory:", "--bootstrap=false", "--listen", "127.0.0.1:0")
	server.Dir = dir
	if os.Geteuid() == 0 {
		const nobody = 65534
		server.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(patience, func() { server.Process.Kill() })
	defer timeout.Stop()
	defer server.Wait()
	defer server.Process.Kill()
	if url, text := untilListening(log); url == "" {
		t.Fatalf("the server does not listen:\n%s", text)
	}
	proc := fmt.Sprintf("/proc/%d/", server.Process.Pid)
	var folder unix.Stat_t
	if err := unix.Stat(proc+"maps", &folder); err != nil || folder.Uid != 0 {
		t.Errorf("%smaps belongs to uid %d, %v", proc, folder.Uid, err)
	}
	limits, err := os.ReadFile(proc + "limits")
	core := regexp.MustCompile(`Max core file size +0 +0 `)
	if err != nil || !core.Match(limits) {
		t.Errorf("limits: %s, %v", limits, err)
	}
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
