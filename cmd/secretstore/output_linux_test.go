package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"secretstore/cmd/secretstore/internal/fixture"
)

// talkative is a server of the shipped program whose output a test reads, or not.
type talkative struct {
	cmd   *exec.Cmd
	url   string
	log   *os.File // the end of the log that a reader has
	audit *os.File // likewise, of standard output
}

// startTalkative starts a server that logs each request, and audits to standard
// output.
func startTalkative(t *testing.T, program string) *talkative {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(fixture.Key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sign("root", filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	s := &talkative{}
	var out, err *os.File
	for _, stream := range []struct{ reader, writer **os.File }{{&s.log, &err}, {&s.audit, &out}} {
		r, w, failure := os.Pipe()
		if failure != nil {
			t.Fatal(failure)
		}
		t.Cleanup(func() { r.Close() })
		*stream.reader, *stream.writer = r, w
	}
	s.cmd = exec.Command(program, "server", "--storage", "memory:", "--bootstrap=false", "--listen", "127.0.0.1:0", "--superuser", "root",
		"--auth-secret-file", "key", "--log-level", "debug", "--audit-log", "-")
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = dir, out, err
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	err.Close()
	timeout := time.AfterFunc(patience, func() { s.cmd.Process.Kill() })
	t.Cleanup(func() { timeout.Stop(); s.cmd.Process.Kill(); s.cmd.Wait() })
	var text string
	if s.url, text = untilListening(s.log); s.url == "" {
		t.Fatalf("the server does not listen:\n%s", text)
	}
	return s
}

func (s *talkative) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(s.cmd.Dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("GET", s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "token="+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

var linesLost = regexp.MustCompile(`(?m)^secretstore_log_lines_lost_total (\d+)$`)

// untilLost sends requests until lines of the log are lost.
func (s *talkative) untilLost(t *testing.T) {
	t.Helper()
	eventually(t, "lines are lost and counted", func() bool {
		for range 500 {
			if status, _ := s.get(t, "/live"); status != 200 {
				t.Fatalf("GET /live: %d", status)
			}
		}
		_, metrics := s.get(t, "/metrics")
		m := linesLost.FindStringSubmatch(metrics)
		if m == nil {
			t.Fatalf("no metric of lost lines in:\n%s", metrics)
		}
		n, err := strconv.Atoi(m[1])
		return err == nil && n > 0
	})
}

// endsCleanly sends SIGTERM and wants exit status 0.
func (s *talkative) endsCleanly(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// serverOutlivesItsReaders: a write to a pipe without a reader raises SIGPIPE,
// which ends a Go program if the pipe is its standard output or error.
func serverOutlivesItsReaders(t *testing.T, program string) {
	s := startTalkative(t, program)
	if status, _ := s.get(t, "/secrets/v1/store"); status != 200 {
		t.Errorf("with a reader: %d", status)
	}
	s.log.Close()
	s.audit.Close()
	s.untilLost(t)
	if status, body := s.get(t, "/secrets/v1/store"); status != 503 {
		t.Errorf("a request that cannot be audited: %d %s", status, body)
	}
	s.endsCleanly(t)
}

// outputThatNobodyReadsHoldsUpNothing fills both pipes, which have readers that do
// not read.
func outputThatNobodyReadsHoldsUpNothing(t *testing.T, program string) {
	s := startTalkative(t, program)
	s.untilLost(t)
	if err := shrink(s.audit); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a request that cannot be audited is refused", func() bool {
		status, _ := s.get(t, "/secrets/v1/store")
		return status == 503
	})
	if status, _ := s.get(t, "/live"); status != 200 {
		t.Errorf("GET /live: %d", status)
	}
	s.endsCleanly(t)
}

// shrink makes the pipe that r reads from as small as it can be: one page, which a
// few lines fill.
func shrink(r *os.File) error {
	_, err := unix.FcntlInt(r.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	return err
}

// logIsReadableOnATerminal: one line for each event, not JSON.
func logIsReadableOnATerminal(t *testing.T, program string) {
	controller, terminal := openTerminal(t)
	server := exec.Command(program, "server", "--storage", "memory:", "--bootstrap=false", "--listen", "127.0.0.1:0")
	server.Dir, server.Stderr = t.TempDir(), terminal
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	timeout := time.AfterFunc(patience, func() { server.Process.Kill() })
	defer timeout.Stop()
	defer server.Wait()
	defer server.Process.Kill()
	lines := bufio.NewScanner(controller)
	line := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3}\s+INFO\s+listening\s`)
	for lines.Scan() {
		if line.MatchString(lines.Text()) {
			return
		}
		if strings.HasPrefix(lines.Text(), "{") {
			t.Fatalf("JSON on a terminal: %s", lines.Text())
		}
	}
	t.Error("no line says where the server listens")
}

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (controller, terminal *os.File) {
	t.Helper()
	controller, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { controller.Close() })
	if err := unix.IoctlSetPointerInt(int(controller.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(controller.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return controller, terminal
}
