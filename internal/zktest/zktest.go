// Package zktest runs real ZooKeeper servers for tests: alone or as an
// ensemble, each in its own folder on free loopback ports, each stopped by
// its process id. It starts them with scripts/zookeeper, as people do, and it
// never skips: a test that cannot have its ZooKeeper fails.
//
// A server takes 2 to 3 seconds to start. Tests that do not stop or pause it use
// Shared.
package zktest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"secretstore/internal/porttest"
)

// startup is how long a server may take until it serves; much longer than it
// ever takes, for machines under load.
const startup = 90 * time.Second

// Server is one ZooKeeper server. Its methods fail the test if they cannot do
// what they are for. They are for one goroutine.
type Server struct {
	t       testing.TB
	host    Host
	dir     string
	args    []string // of scripts/zookeeper run, after DIR
	java    string   // more options of java
	port    int
	tlsPort int
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd has ended
}

// Host is a machine, or what looks like one, that a server runs on.
type Host struct {
	Address string   // an IP address of it
	Enter   []string // the command that runs a command there, such as ip netns exec NAME; may be empty
}

// here is where the test runs.
var here = Host{Address: "127.0.0.1"}

// Option changes how Start starts a server.
type Option func(*Server)

// Super makes a user who may do everything, in the form
// user:base64(sha1(user:password)).
func Super(digest string) Option {
	return func(s *Server) { s.args = append(s.args, "--super", digest) }
}

// Java gives more options to the Java machine, for example
// -Dzookeeper.enforceQuota=true.
func Java(options ...string) Option {
	return func(s *Server) { s.java = strings.Join(options, " ") }
}

// TLS opens another port, TLSAddr, with the key and certificate in the PEM
// file pem. With a ca, clients must show a certificate of it.
func TLS(pem, ca string) Option {
	return func(s *Server) {
		s.tlsPort = porttest.Free(s.t)
		s.args = append(s.args, "--tls-port", strconv.Itoa(s.tlsPort), "--tls-pem", pem)
		if ca != "" {
			s.args = append(s.args, "--tls-ca", ca)
		}
	}
}

// Start starts one server that stands alone, and stops it when the test ends.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := newServer(t, here, porttest.Free(t))
	for _, option := range options {
		option(s)
	}
	s.launch()
	s.await()
	return s
}

// StartEnsemble starts n servers that make up one ensemble.
func StartEnsemble(t testing.TB, n int) []*Server {
	t.Helper()
	return StartEnsembleOn(t, slices.Repeat([]Host{here}, n)...)
}

// StartEnsembleOn is StartEnsemble with a host for each server. The test must
// be able to reach them all.
func StartEnsembleOn(t testing.TB, hosts ...Host) []*Server {
	t.Helper()
	var peers []string
	for _, host := range hosts {
		peers = append(peers, fmt.Sprintf("%s:%d:%d", host.Address, porttest.Free(t), porttest.Free(t)))
	}
	var all []*Server
	for i, host := range hosts {
		s := newServer(t, host, porttest.Free(t))
		s.args = append(s.args, "--id", strconv.Itoa(i+1), "--peers", strings.Join(peers, ","))
		s.launch()
		all = append(all, s)
	}
	for _, s := range all {
		s.await()
	}
	return all
}

// Addrs returns the client addresses of servers.
func Addrs(servers []*Server) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.Addr())
	}
	return all
}

// Addr returns host:port for clients.
func (s *Server) Addr() string { return s.host.addr(s.port) }

// Dir returns the folder that holds everything the server has written: its
// transaction logs, snapshots and configuration.
func (s *Server) Dir() string { return s.dir }

// TLSAddr returns host:port for clients with TLS.
func (s *Server) TLSAddr() string { return here.addr(s.tlsPort) }

func (h Host) addr(port int) string { return net.JoinHostPort(h.Address, strconv.Itoa(port)) }

// Stop ends the server as an operator does, and waits for it.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server at once, and waits for it.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Pause makes the server hang: its connections stay open and nothing answers,
// from when it returns.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(startup); !stopped(s.cmd.Process.Pid) && !s.hasEnded(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Error("zktest: ZooKeeper does not stop")
			return
		}
	}
}

// Resume undoes Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// Restart starts a stopped or killed server again on its data and ports, and
// waits until it serves.
func (s *Server) Restart() {
	s.t.Helper()
	s.Launch()
	s.await()
}

// Launch is Restart without the wait.
func (s *Server) Launch() {
	s.t.Helper()
	if !s.hasEnded() {
		s.t.Fatal("zktest: Restart of a running server")
	}
	s.launch()
}

// Serves says whether the server answers clients.
func (s *Server) Serves() bool { return s.Status().Mode != "" }

// Leader says whether the server leads its ensemble.
func (s *Server) Leader() bool { return s.Status().Mode == "leader" }

func newServer(t testing.TB, host Host, port int) *Server {
	t.Helper()
	s := serverIn(t, t.TempDir(), host, port)
	t.Cleanup(func() {
		if s.cmd != nil && !s.hasEnded() {
			s.end(syscall.SIGKILL)
		}
	})
	return s
}

func serverIn(t testing.TB, dir string, host Host, port int) *Server {
	return &Server{t: t, host: host, dir: dir, port: port, args: []string{"--port", strconv.Itoa(port), "--address", host.Address}}
}

func (s *Server) launch() {
	s.t.Helper()
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	args := slices.Concat(s.host.Enter, []string{script(s.t), "run", s.dir}, s.args)
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Env = append(os.Environ(), "ZOOKEEPER_OPTS="+os.Getenv("ZOOKEEPER_OPTS")+" "+s.java)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = dieWithParent()
	started, ended := make(chan error), make(chan struct{})
	s.ended = ended
	cmd := s.cmd
	go func() {
		defer close(ended)
		// The kernel takes the end of the starting thread for that of the
		// parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the signal that ended it
		}
	}()
	if err := <-started; err != nil {
		s.t.Fatalf("zktest: %v", err)
	}
}

// script finds scripts/zookeeper from the folder of the test, upwards.
func script(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "scripts", "zookeeper")
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("zktest: not within the module")
		}
		dir = filepath.Dir(dir)
	}
}

func (s *Server) await() {
	s.t.Helper()
	for deadline := time.Now().Add(startup); !s.Serves(); time.Sleep(20 * time.Millisecond) {
		if s.hasEnded() {
			s.t.Fatalf("zktest: ZooKeeper did not start:\n%s", s.LogTail())
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("zktest: ZooKeeper does not serve after %v:\n%s", startup, s.LogTail())
		}
	}
}

// Status is what a server says of itself. One that was paused or cut off
// goes on saying what it was until it notices.
type Status struct {
	Mode string // standalone, leader or follower; empty if it does not serve
	Zxid uint64 // of the last transaction that it has applied; the upper half is the epoch of a leader
}

// Status asks the server. (One that is about to serve may keep the connection
// open for ever.)
func (s *Server) Status() Status {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return Status{}
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("srvr")); err != nil {
		return Status{}
	}
	var status Status
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
		case "Mode":
			status.Mode = value
		case "Zxid":
			status.Zxid, _ = strconv.ParseUint(value, 0, 64) // none is 0
		}
	}
	return status
}

// LogTail returns the end of the server's log.
func (s *Server) LogTail() string {
	log, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-4000):])
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

func (s *Server) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("zktest: %v", err)
	}
}

func (s *Server) end(sig syscall.Signal) {
	s.t.Helper()
	s.signal(sig)
	select {
	case <-s.ended:
	case <-time.After(startup):
		s.t.Errorf("zktest: ZooKeeper does not end:\n%s", s.LogTail())
	}
}
