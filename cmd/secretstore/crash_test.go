//go:build zookeeper && gpg

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/fixture"
)

// resumed is the write of a rotation after whose crash its end is awaited, which
// takes another server some time.
const resumed = 3

// crashOp is what a server does when it is killed.
type crashOp struct {
	name string
	run  func(*crashing, *testing.T) error
}

var (
	crashInit        = crashOp{"init", (*crashing).init}
	crashRekey       = crashOp{"rekey", func(s *crashing, t *testing.T) error { return s.rekey(t, false) }}
	crashRekeyRotate = crashOp{"rekey with rotation", func(s *crashing, t *testing.T) error { return s.rekey(t, true) }}
	crashRotate      = crashOp{"rotation", (*crashing).rotate}
)

// crashDuringRekey kills a real server after one of its writes to a real
// ZooKeeper while it rekeys: another one goes on, the holders of the key in force
// can unseal with their gpg, and every secret reads. All writes and operations are
// in TestCrashAtEveryWriteOnZooKeeper.
func crashDuringRekey(t *testing.T, zookeeper string) {
	people := newPeople(t, "alice", "bob", "carol", "dave")
	if !crashRekeyRotate.crash(t, zookeeper, people, resumed, true, true) {
		t.Errorf("there were fewer than %d writes", resumed)
	}
}

// crash kills a server at the n-th write of the operation, and checks that another
// one recovers; with resumes, that it ends the rotation as well. crashed is false
// if the operation ended before: it has fewer writes.
func (op crashOp) crash(t *testing.T, zookeeper string, people *holders, n int, after, resumes bool) (crashed bool) {
	t.Helper()
	proxy := newCrashProxy(t, zookeeper)
	storage := fmt.Sprintf("zk://%s/crash/%s-%v-%d", proxy.addr(), strings.ReplaceAll(op.name, " ", "-"), after, n)
	s := newCrashing(t, people, storage)
	if op.name != crashInit.name {
		s.fill(t)
	}
	proxy.arm(n, after, s.server.kill)
	err := op.run(s, t)
	crashed = proxy.disarm() >= n
	if !crashed {
		if err != nil {
			t.Fatalf("it failed by itself: %v", err)
		}
		s.server.kill()
	}
	<-s.server.ended
	s.recovers(t)
	if crashed && n == resumed && resumes {
		if err := s.rotated(t); err != nil {
			t.Errorf("the rotation is not resumed: %v", err)
		}
	}
	s.server.kill()
	return crashed
}

// crashing is a store whose server gets killed.
type crashing struct {
	people    *holders
	dir       string
	program   string // of the server
	storage   string
	bootstrap bool // have the server bootstrap
	filled    bool // with secrets, before the crash
	server    *child
	api       *client.Client
}

func newCrashing(t *testing.T, people *holders, storage string) *crashing {
	t.Helper()
	s := newServer(t, people, storage, "secretstore")
	s.start(t)
	return s
}

// newServer returns a server that is to be started.
func newServer(t *testing.T, people *holders, storage, program string) *crashing {
	t.Helper()
	s := &crashing{people: people, dir: t.TempDir(), program: program, storage: storage}
	if err := os.WriteFile(filepath.Join(s.dir, "key"), []byte(fixture.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// bootstrapped says whether the store is made with a bootstrap key, or was made
// with one that is kept beside its file.
func (s *crashing) bootstrapped() bool {
	if s.bootstrap {
		return true
	}
	_, err := os.Stat(strings.TrimPrefix(s.storage, "bolt:") + ".bootstrap.key")
	return err == nil
}

// start starts a server on the storage, which answers for it when start returns:
// the server listens before it has a session.
func (s *crashing) start(t *testing.T) {
	t.Helper()
	name := filepath.Join(s.dir, "log")
	log, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{ended: make(chan struct{}), cmd: exec.Command(s.program, "server", "--storage", s.storage, "--bootstrap="+strconv.FormatBool(s.bootstrapped()),
		"--auth-secret-file", filepath.Join(s.dir, "key"), "--superuser", "root", "--listen", "127.0.0.1:0")}
	c.cmd.Env, c.cmd.Stderr = append(os.Environ(), "GORACE=atexit_sleep_ms=0"), log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log.Close()
	go func() {
		c.cmd.Wait() // killed, mostly
		close(c.ended)
	}()
	t.Cleanup(c.kill)
	s.server = c
	eventually(t, "the server listens", func() bool {
		text, err := os.ReadFile(name)
		m := listening.FindSubmatch(text)
		if err != nil || m == nil {
			return false
		}
		s.api = connect(t, string(m[1]))
		return true
	})
	eventually(t, "the storage is known", func() bool {
		_, err := s.api.Status(t.Context())
		return err == nil
	})
}

// kill ends the process at once, and returns when it is gone.
func (c *child) kill() {
	c.cmd.Process.Kill() // fails if it has ended
	<-c.ended
}

func connect(t *testing.T, url string) *client.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := sign("root", file); err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Server: url, SingleUse: true,
		Token: func(context.Context) (string, error) { return strings.TrimSpace(string(token)), nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

const large = "f/g/large"

// secrets of every size that is kept in another way.
var secrets = map[string][]byte{
	"a": []byte("value"), "f/b": []byte("another"), large: bytes.Repeat([]byte("0123456789abcdef"), 25<<10), "f": {},
}

// fill initializes the store for alice and bob, of whom both are needed, unless
// it is bootstrapped, and puts the secrets there.
func (s *crashing) fill(t *testing.T) {
	t.Helper()
	if !s.bootstrapped() {
		if err := s.init(t); err != nil {
			t.Fatal(err)
		}
		s.unseal(t)
	}
	s.put(t)
	s.filled = true
}

// earlier is the first value of each secret; deleted is one that can be undeleted.
const earlier, deleted = "earlier value", "deleted/large"

func (s *crashing) put(t *testing.T) {
	t.Helper()
	for name, value := range secrets {
		if err := errors.Join(s.api.CreateBinary(t.Context(), name, []byte(earlier)), s.api.UpdateBinary(t.Context(), name, value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.api.CreateBinary(t.Context(), deleted, secrets[large]), s.api.Delete(t.Context(), deleted)); err != nil {
		t.Fatal(err)
	}
}

func (s *crashing) init(t *testing.T) error {
	_, err := s.api.Init(t.Context(), wire.InitRequest{Shares: 2, Threshold: 2, PGPKeys: s.people.public[:2]})
	return err
}

// unseal has the holders of the key in force unseal.
func (s *crashing) unseal(t *testing.T) {
	t.Helper()
	info, err := s.api.InitInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st := wire.SealStatus{Sealed: true}
	for _, key := range info.Keys {
		if st.Sealed {
			if st, err = s.api.Unseal(t.Context(), s.people.open(t, key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if st.Sealed {
		t.Fatalf("the holders cannot unseal: %+v", st)
	}
}

// rekey hands the store over to three holders of whom two are needed, and waits
// for the end of the rotation, if any. An error is mostly the crash.
func (s *crashing) rekey(t *testing.T, rotate bool) error {
	info, err := s.api.InitInfo(t.Context())
	if err != nil {
		return err
	}
	var current []string
	if len(info.Keys) > 1 {
		for _, key := range info.Keys {
			current = append(current, s.people.open(t, key))
		}
	}
	state, err := s.api.StartRekey(t.Context(), wire.RekeyRequest{Shares: 3, Threshold: 2, PGPKeys: s.people.public[1:], Current: wire.Shares(current), Rotate: rotate})
	for i := 0; err == nil && state.Active; i++ {
		state, err = s.api.VerifyRekey(t.Context(), state.Nonce, s.people.open(t, state.Keys[i]))
	}
	if err != nil || !rotate {
		return err
	}
	return s.rotated(t)
}

func (s *crashing) rotate(t *testing.T) error {
	if _, err := s.api.Rotate(t.Context()); err != nil {
		return err
	}
	return s.rotated(t)
}

// rotated waits until the store has one data key.
func (s *crashing) rotated(t *testing.T) error {
	for {
		info, err := s.api.RotationStatus(t.Context())
		if err != nil || info.Terms == 1 && info.State == "idle" {
			return err
		}
		select {
		case <-s.server.ended:
			return errors.New("the server has ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// recovers starts a server after the crash, has the holders unseal it, and reads
// every secret.
func (s *crashing) recovers(t *testing.T) {
	t.Helper()
	s.start(t)
	status, err := s.api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !status.Initialized && !s.filled { // killed before the one write of init
		if err := s.init(t); err != nil {
			t.Fatal(err)
		}
	}
	if status.Sealed { // else the bootstrap key is in force still
		s.unseal(t)
	}
	if !s.filled {
		s.put(t)
	}
	if names, err := s.api.List(t.Context(), ""); err != nil || len(names) != len(secrets) {
		t.Errorf("%q are left, %v", names, err)
	}
	reads := func(name string, version uint64, value []byte) {
		if got, err := s.api.Get(t.Context(), name, client.GetOptions{Version: version}); err != nil || !bytes.Equal(got.Value, value) {
			t.Errorf("%s, version %d, is lost: %d bytes, %v", name, version, len(got.Value), err)
		}
	}
	for name, value := range secrets {
		reads(name, 0, value)
		if name != large { // which has no earlier values beside it
			reads(name, 1, []byte(earlier))
		}
	}
	if _, err := s.api.Undelete(t.Context(), deleted); err != nil {
		t.Errorf("the deleted secret is lost: %v", err)
	}
	reads(deleted, 0, secrets[large])
	if err := s.api.CreateBinary(t.Context(), "new", []byte("x")); err != nil {
		t.Errorf("nothing can be written any more: %v", err)
	}
}

// holders are people with PGP keys, all in one keyring.
type holders struct {
	home   string
	public []string // base64
}

func newPeople(t *testing.T, names ...string) *holders {
	t.Helper()
	home, err := newKeyring(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	h := &holders{home: home}
	for _, name := range names {
		h.gpg(t, nil, "--passphrase", "", "--quick-gen-key", name+"@example.com", "future-default", "default", "never")
		h.public = append(h.public, base64.StdEncoding.EncodeToString(h.gpg(t, nil, "--export", name+"@example.com")))
	}
	return h
}

func (h *holders) gpg(t *testing.T, in []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("gpg", append([]string{"--batch", "--quiet"}, args...)...)
	cmd.Env, cmd.Stdin = append(os.Environ(), "GNUPGHOME="+h.home), bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg %q: %v", args, err)
	}
	return out
}

// open decrypts a share.
func (h *holders) open(t *testing.T, wrapped string) string {
	t.Helper()
	message, err := hex.DecodeString(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(h.gpg(t, message, "--decrypt")))
}
