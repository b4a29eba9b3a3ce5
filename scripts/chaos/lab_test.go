//go:build zookeeper && linux

package chaos

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"secretstore/acl/token"
	"secretstore/internal/zktest"
)

const (
	// patience bounds waits, for a machine under heavy load.
	patience = 90 * time.Second
	authKey  = "0123456789abcdef0123456789abcdef"
	zkUser   = "admin:secret"
	root     = "/dcos/secrets"
)

// lab is an ensemble and the Secret Store servers on it, each on a node of its
// own.
type lab struct {
	t       testing.TB
	net     *network
	members []*zktest.Server
	zkNodes []node
	stores  []*server
}

// newLab starts three members and n servers, and waits until they serve.
func newLab(t testing.TB, n int, flags ...string) *lab {
	t.Helper()
	w := newNetwork(t)
	l := &lab{t: t, net: w, zkNodes: w.nodes[:3]}
	binary, err := program()
	must(t, err)
	var hosts []zktest.Host
	for _, n := range l.zkNodes {
		hosts = append(hosts, n.host())
	}
	l.members = zktest.StartEnsembleOn(t, hosts...)
	t.Cleanup(func() {
		for i, m := range l.members {
			if t.Failed() { // for example why no leader was elected
				t.Logf("log of member %d:\n%s", i, m.LogTail())
			}
		}
	})
	dir := t.TempDir()
	for name, content := range map[string]string{"key": authKey, "zk-auth": zkUser} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content+"\n"), 0o600))
	}
	for i, at := range w.nodes[3 : 3+n] {
		s := &server{t: t, node: at, log: filepath.Join(dir, at.name+".log"), url: "http://" + at.address + ":1337"}
		s.command = append(at.host().Enter, binary, "server", "--listen", at.address+":1337",
			"--storage", "zk://"+strings.Join(zktest.Addrs(l.members), ",")+root,
			"--zk-auth-file", filepath.Join(dir, "zk-auth"), "--auth-secret-file", filepath.Join(dir, "key"), "--superuser", "root")
		s.command = append(s.command, flags...)
		must(t, s.start())
		t.Cleanup(s.end)
		l.stores = append(l.stores, s)
		if i == 0 {
			s.await() // it bootstraps; the others find the store
		}
	}
	for _, s := range l.stores {
		s.await()
	}
	return l
}

// program builds the server, with the race detector.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("/run", "secretstore") // removed with the namespace
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "secretstore")
	out, err := exec.Command("go", "build", "-race", "-o", path, "secretstore/cmd/secretstore").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return path, nil
})

// leader waits until a member leads, and returns it.
func (l *lab) leader() int {
	l.t.Helper()
	at := -1
	l.eventually("a leader", func() bool {
		at = slices.IndexFunc(l.members, (*zktest.Server).Leader)
		return at >= 0
	})
	return at
}

func (l *lab) eventually(what string, done func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// server is one Secret Store process.
type server struct {
	t       testing.TB
	node    node
	command []string
	log     string
	url     string

	// touched counts the beginnings and ends of faults of the process: it is
	// odd during one.
	touched atomic.Int64
	// settled: the process has answered since it was started.
	settled atomic.Bool

	mu    sync.Mutex
	cmd   *exec.Cmd     // guarded by mu
	ended chan struct{} // closed when cmd has ended; guarded by mu
}

func (s *server) start() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // a signal ended it
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd, s.ended = cmd, ended
	return nil
}

func (s *server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.cmd.Process.Signal(sig) // it may have ended
}

// kill ends the process at once.
func (s *server) kill() {
	s.signal(syscall.SIGKILL)
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	<-ended
}

func (s *server) pause()  { s.signal(syscall.SIGSTOP) }
func (s *server) resume() { s.signal(syscall.SIGCONT) }

// end kills the server at the end of a test and searches its log for races and
// panics.
func (s *server) end() {
	s.kill()
	log, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Error(err)
		return
	}
	for _, word := range []string{"DATA RACE", "panic", "fatal error"} {
		if at := bytes.Index(log, []byte(word)); at >= 0 {
			s.t.Errorf("%s: %s", s.node.name, log[max(0, at-200):min(len(log), at+4000)])
		}
	}
	if keep := os.Getenv("CHAOSLOGS"); keep != "" {
		must(s.t, os.WriteFile(filepath.Join(keep, s.node.name+".log"), log, 0o600))
	}
	if s.t.Failed() {
		s.t.Logf("log of %s:\n%s", s.node.name, log[max(0, len(log)-6000):])
	}
}

// await waits until the server serves secrets.
func (s *server) await() {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for s.get("/ready").status != http.StatusOK {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(s.log)
			s.t.Fatalf("%s is not ready after %v: %s\n%s", s.node.name, patience, s.get("/ready"), log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// bearer is the token of the superuser.
var bearer = sync.OnceValues(func() (string, error) {
	raw, err := token.Sign("root", time.Time{}, "", []byte(authKey))
	return "token=" + raw, err
})
