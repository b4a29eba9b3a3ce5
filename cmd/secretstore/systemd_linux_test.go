package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"secretstore/cmd/secretstore/internal/fixture"
)

// unit is a server that is started as systemd starts it.
type unit struct {
	cmd    *exec.Cmd
	log    *bytes.Buffer // to be read after ended
	states chan string   // that the server reports
	ended  chan error
}

// startUnit runs a server with the sockets and environment that systemd would
// give it. Socket i has the name names[i].
func startUnit(t *testing.T, environment []string, sockets []*net.TCPListener, names []string, args ...string) *unit {
	t.Helper()
	dir, err := os.MkdirTemp("", "u") // a socket has a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "notify")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notify.Close() })
	u := &unit{log: new(bytes.Buffer), states: make(chan string, 1000), ended: make(chan error, 1)}
	// The shell has the pid that the server will have.
	script := `exec "$0" "$@"`
	if len(names) > 0 {
		script = "export LISTEN_PID=$$; " + script
	}
	u.cmd = exec.Command("sh", append([]string{"-c", script, "secretstore", "server"}, args...)...)
	u.cmd.Dir, u.cmd.Stderr = t.TempDir(), u.log
	u.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0", "NOTIFY_SOCKET="+filepath.Join(dir, "notify")), environment...)
	if len(names) > 0 {
		u.cmd.Env = append(u.cmd.Env, "LISTEN_FDS="+string(rune('0'+len(names))), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	for _, l := range sockets {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		u.cmd.ExtraFiles = append(u.cmd.ExtraFiles, f)
	}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { u.ended <- u.cmd.Wait() }()
	t.Cleanup(func() {
		u.cmd.Process.Kill() // fails if it has ended
		u.ended <- <-u.ended
	})
	go func() {
		defer close(u.states)
		for buffer := make([]byte, 4096); ; {
			n, err := notify.Read(buffer)
			if err != nil {
				return // closed by the end of the test
			}
			u.states <- string(buffer[:n])
		}
	}()
	return u
}

// says waits until the server reports a state, and returns those before.
func (u *unit) says(t *testing.T, want string) (before []string) {
	t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case state := <-u.states:
			if state == want {
				return before
			}
			before = append(before, state)
		case err := <-u.ended:
			u.ended <- err
			t.Fatalf("the server ended, and did not say %s: %v\n%s", want, err, u.log)
		case <-timeout:
			t.Fatalf("the server does not say %s, but %q", want, before)
		}
	}
}

// end waits for the end of the server.
func (u *unit) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-u.ended:
		u.ended <- err
		return err
	case <-time.After(patience):
		t.Fatal("the server does not end")
		return nil
	}
}

func listenTCP(t *testing.T, address string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// TestSystemdHearsHowTheServerIsDoing runs a real server: it is ready when it
// listens, reloads, answers the watchdog, and says that it stops.
func TestSystemdHearsHowTheServerIsDoing(t *testing.T) {
	t.Parallel()
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("users: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	u := startUnit(t, []string{"WATCHDOG_USEC=300000"}, nil, nil, "--storage", "memory:", "--bootstrap=false", "--listen", address, "--policy-file", policy)
	if before := u.says(t, "READY=1"); len(before) > 0 {
		t.Errorf("before it is ready, it says %q", before)
	}
	resp, err := http.Get("http://" + address + "/live")
	if err != nil {
		t.Fatalf("it is ready, but: %v", err)
	}
	resp.Body.Close()
	for range 3 { // the store is sealed, which nobody may restart it for
		u.says(t, "WATCHDOG=1")
	}
	if err := u.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	u.says(t, "RELOADING=1")
	u.says(t, "READY=1")
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	u.says(t, "STOPPING=1")
	if err := u.end(t); err != nil {
		t.Errorf("%v\n%s", err, u.log)
	}
}

// TestWatchdogIsAnsweredWithoutZooKeeper: a restart would seal the store, and
// would not bring ZooKeeper back.
func TestWatchdogIsAnsweredWithoutZooKeeper(t *testing.T) {
	t.Parallel()
	nobody := freeAddress(t)
	u := startUnit(t, []string{"WATCHDOG_USEC=300000"}, nil, nil, "--storage", "zk://"+nobody+"/x", "--bootstrap=false", "--listen", "127.0.0.1:0")
	u.says(t, "READY=1")
	for range 5 {
		u.says(t, "WATCHDOG=1")
	}
}

// TestServerUsesTheSocketsOfSystemd serves both sockets, and with HTTPS only the
// one that is for it. A client that connected before the server started is served.
func TestServerUsesTheSocketsOfSystemd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")
	if err := fixture.Certificate(cert, key); err != nil {
		t.Fatal(err)
	}
	plain, encrypted := listenTCP(t, "127.0.0.1:0"), listenTCP(t, "127.0.0.1:0")
	early, err := net.Dial("tcp", plain.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	if _, err := io.WriteString(early, "GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	u := startUnit(t, nil, []*net.TCPListener{encrypted, plain}, []string{"https", "http"}, "--storage", "memory:", "--bootstrap=false",
		"--listen", plain.Addr().String(), "--tls-listen", encrypted.Addr().String(), "--tls-cert-file", cert, "--tls-key-file", key)
	u.says(t, "READY=1")
	if answer, err := io.ReadAll(early); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		t.Errorf("the client from before: %q, %v", answer, err)
	}
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	for _, url := range []string{"http://" + plain.Addr().String(), "https://" + encrypted.Addr().String()} {
		resp, err := insecure.Get(url + "/live")
		if err != nil {
			t.Error(err)
			continue
		}
		if resp.Body.Close(); resp.StatusCode != 200 {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}
}

// TestSocketsThatNoOptionNamesAreRefused: exit status 2, before anything is served.
func TestSocketsThatNoOptionNamesAreRefused(t *testing.T) {
	t.Parallel()
	everywhere := listenTCP(t, "0.0.0.0:0")
	_, port, _ := net.SplitHostPort(everywhere.Addr().String())
	loopback := listenTCP(t, "127.0.0.1:0")
	for _, row := range []struct {
		name    string
		sockets []*net.TCPListener
		names   []string
		listen  string
		want    string
	}{
		{"of another address", []*net.TCPListener{everywhere}, []string{"http"}, "127.0.0.1:" + port, "make both the same"},
		{"of another port", []*net.TCPListener{loopback}, []string{"http"}, "127.0.0.1:1", "make both the same"},
		{"for HTTPS, which is off", []*net.TCPListener{loopback}, []string{"https"}, loopback.Addr().String(), "--tls-listen"},
		{"for HTTP, which is off", []*net.TCPListener{loopback}, []string{"http"}, "", "--listen"},
		{"of no known name", []*net.TCPListener{loopback}, []string{"secretstore.socket"}, "127.0.0.1:0", "FileDescriptorName="},
		{"twice", []*net.TCPListener{loopback, everywhere}, []string{"http", "http"}, loopback.Addr().String(), "two of that name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := startUnit(t, nil, row.sockets, row.names, "--storage", "memory:", "--listen", row.listen)
			err := u.end(t)
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(u.log.String(), row.want) {
				t.Errorf("%v, want exit status 2 and %q\n%s", err, row.want, u.log)
			}
		})
	}
	t.Run("that do not listen", func(t *testing.T) {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(pair[0])
		f := os.NewFile(uintptr(pair[1]), "")
		defer f.Close()
		cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http exec secretstore server --storage memory:`)
		cmd.ExtraFiles = []*os.File{f}
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "it does not listen") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestSocketsOfAnotherProcessAreIgnored: LISTEN_PID says whose they are.
func TestSocketsOfAnotherProcessAreIgnored(t *testing.T) {
	t.Parallel()
	u := startUnit(t, []string{"LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=http"}, []*net.TCPListener{listenTCP(t, "127.0.0.1:0")}, nil,
		"--storage", "memory:", "--bootstrap=false", "--listen", "127.0.0.1:0")
	if before := u.says(t, "READY=1"); slices.Contains(before, "WATCHDOG=1") {
		t.Errorf("without a watchdog: %q", before)
	}
}

func listeners(all ...*net.TCPListener) []*net.TCPListener { return all }
