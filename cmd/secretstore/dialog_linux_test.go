package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/ptytest"
)

// screen is what a program has printed so far. It may be used by several
// goroutines.
type screen struct {
	mu      sync.Mutex
	printed strings.Builder // guarded by mu
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.printed.Write(p)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.printed.String()
}

// dialog is a program on a terminal.
type dialog struct {
	t        *testing.T
	cmd      *exec.Cmd
	terminal *os.File
	screen   screen
	read     chan struct{} // closed when everything has been read
	from     int           // where the next answer looks for its question
}

func onScreen(t *testing.T, environment []string, name string, args ...string) *dialog {
	t.Helper()
	d := &dialog{t: t, cmd: exec.Command(name, args...), read: make(chan struct{})}
	d.cmd.Env = environment
	d.terminal = ptytest.Start(t, d.cmd)
	go func() {
		defer close(d.read)
		buf := make([]byte, 4096)
		for {
			n, err := d.terminal.Read(buf)
			d.screen.Write(buf[:n])
			if err != nil {
				return // EIO once the program has ended
			}
		}
	}()
	return d
}

var escapes = regexp.MustCompile(`\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78])`)

// answer waits for the question and types an answer to it, and Enter.
func (d *dialog) answer(question, answer string) {
	d.t.Helper()
	d.types(question, answer+"\r")
}

// types waits for the question and types keys.
func (d *dialog) types(question, keys string) {
	d.t.Helper()
	if !d.shows(question, patience) {
		d.cmd.Process.Kill()
		d.t.Fatalf("no %q on the screen:\n%q", question, d.screen.text())
	}
	if _, err := d.terminal.WriteString(keys); err != nil {
		d.t.Fatal(err)
	}
}

// shows reports whether the question comes in time.
func (d *dialog) shows(question string, in time.Duration) bool {
	for deadline := time.Now().Add(in); ; time.Sleep(20 * time.Millisecond) {
		text := escapes.ReplaceAllString(d.screen.text(), "")
		if i := strings.Index(text[min(d.from, len(text)):], question); i >= 0 {
			d.from += i + len(question)
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// ends waits for the program, and wants the status, the text, and the terminal as
// it was before.
func (d *dialog) ends(status int, text string) {
	d.t.Helper()
	timer := time.AfterFunc(patience, func() { d.cmd.Process.Kill() })
	defer timer.Stop()
	d.cmd.Wait() // the state says more
	if modes, err := unix.IoctlGetTermios(int(d.terminal.Fd()), unix.TCGETS); err != nil || modes.Lflag&unix.ECHO == 0 || modes.Lflag&unix.ICANON == 0 {
		d.t.Errorf("the terminal was not restored: %v", err)
	}
	// What the program printed last is still to be read. An agent that it started
	// may keep the terminal open.
	select {
	case <-d.read:
	case <-time.After(time.Minute):
	}
	d.terminal.Close()
	<-d.read
	if d.cmd.ProcessState.ExitCode() != status || !strings.Contains(d.screen.text(), text) {
		d.t.Fatalf("%v, want status %d and %q:\n%s", d.cmd.ProcessState, status, text, d.screen.text())
	}
}

// memoryServer starts a server that keeps its secrets in memory. It and the commands
// have the environment; what is returned is that of commands that talk to it as
// root.
func memoryServer(t *testing.T, environment []string, flags ...string) []string {
	t.Helper()
	dir := t.TempDir()
	key, token := filepath.Join(dir, "key"), filepath.Join(dir, "token")
	if err := errors.Join(os.WriteFile(key, []byte(fixture.Key+"\n"), 0o600), sign("root", token)); err != nil {
		t.Fatal(err)
	}
	environment = append(slices.Clone(environment), "HOME="+dir, "XDG_STATE_HOME="+dir, "SECRETSTORE_TOKEN_FILE="+token, "SECRETSTORE_LISTEN=127.0.0.1:0",
		"GORACE=atexit_sleep_ms=0")
	server := exec.Command("secretstore", append([]string{"server", "--storage", "memory:", "--auth-secret-file", key, "--superuser", "root"}, flags...)...)
	server.Env = environment
	log := &screen{}
	server.Stderr = log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	var url []string
	eventually(t, "the server listens", func() bool { url = listening.FindStringSubmatch(log.text()); return url != nil })
	return append(environment, "SECRETSTORE_SERVER="+url[1])
}
