package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"secretstore/acl/token"
	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/seal"
	"secretstore/seal/envelope"
	"secretstore/seal/sealtest"
	"secretstore/seal/shares"
	"secretstore/store"
	"secretstore/store/bolt"
)

// TestSealForgetsKeys scans the memory of the program as it is shipped. The same
// with GOEXPERIMENT=runtimesecret is TestSealForgetsKeysWithRuntimeSecret.
func TestSealForgetsKeys(t *testing.T) {
	t.Parallel()
	sealForgetsKeys(t)
}

// sealForgetsKeys builds the program with more in the environment.
func sealForgetsKeys(t *testing.T, env ...string) {
	program := filepath.Join(t.TempDir(), "program")
	build := exec.Command("make", "--no-print-directory", "-C", "../..", "build", "OUT="+program)
	build.Env = append(os.Environ(), env...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	t.Run("several holders, and a rekey", func(t *testing.T) { holdersSeal(t, program, false) })
	t.Run("several holders, over TLS", func(t *testing.T) { holdersSeal(t, program, true) })
	t.Run("bootstrap key", func(t *testing.T) { bootstrapSeals(t, program) })
}

// holdersSeal has two holders unseal, rekey and seal.
func holdersSeal(t *testing.T, program string, secure bool) {
	ctx := t.Context()
	s := newScanned(t)
	b, err := bolt.Open(ctx, s.path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := seal.Open(ctx, seal.Options{Backend: b, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	people := []int{sealtest.Holder, sealtest.Other}
	var public []string
	for _, holder := range people {
		key, err := sealtest.Key(holder).Public(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		text, err := key.Export()
		if err != nil {
			t.Fatal(err)
		}
		public = append(public, text)
	}
	info, err := st.Init(ctx, seal.InitParams{Shares: 2, Threshold: 2, PGPKeys: public})
	if err != nil {
		t.Fatal(err)
	}
	old := decrypt(t, people, info.Keys)
	s.look.keysOf(t, "old", b, old)
	if err := errors.Join(st.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}

	s.start(t, program, secure, "--bootstrap=false")
	bystander := s.connect(t)
	if _, err := bystander.Status(ctx); err != nil {
		t.Fatal(err)
	}
	others := s.sockets(t)
	api := s.connect(t)
	if _, err := api.Unseal(ctx, old[0]); err != nil {
		t.Fatal(err)
	}
	s.wantFound(t, "old share 0")
	if _, err := api.Unseal(ctx, old[1]); err != nil {
		t.Fatal(err)
	}
	s.wantFound(t, "old root key", "old data key 0", "old name key")
	s.useSecrets(t, api)
	rekey, err := api.StartRekey(ctx, wire.RekeyRequest{Shares: 2, Threshold: 2, PGPKeys: public, Current: wire.Shares(old), Rotate: true})
	if err != nil {
		t.Fatal(err)
	}
	next := decrypt(t, people, rekey.Keys)
	for _, share := range next {
		if _, err := api.VerifyRekey(ctx, rekey.Nonce, share); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the rotation ends", func() bool {
		state, err := api.RotationStatus(ctx)
		return err == nil && state.State == "idle"
	})
	s.addCopy(t, "new", next)
	s.wantFound(t, "new root key", "new data key 0", "new name key")
	eventually(t, "the connections that had shares are closed", func() bool { return s.sockets(t) <= others+1 })
	if _, err := api.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	s.wantForgotten(t)
	if _, err := bystander.Status(ctx); err != nil {
		t.Error(err)
	}
}

// bootstrapSeals seals a store that the server has unsealed by itself.
func bootstrapSeals(t *testing.T, program string) {
	ctx := t.Context()
	s := newScanned(t)
	if err := fixture.Bootstrapped(s.path); err != nil {
		t.Fatal(err)
	}
	b, err := bolt.Open(ctx, s.path)
	if err != nil {
		t.Fatal(err)
	}
	share := decrypt(t, []int{sealtest.Bootstrap}, configOf(t, b).Keys)
	s.look.keysOf(t, "the", b, share)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s.start(t, program, false)
	api := s.connect(t)
	eventually(t, "the server has unsealed", func() bool {
		st, err := api.Status(ctx)
		return err == nil && !st.Sealed
	})
	s.wantFound(t, "the root key", "the data key 0", "the name key")
	s.useSecrets(t, api)
	s.wantFound(t, garbage)
	if _, err := api.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	s.wantForgotten(t)
}

// scanned is a server whose memory is scanned.
type scanned struct {
	path string // of the store
	look needles
	pid  int
	url  string
	cert string // its file; "" without TLS
}

func newScanned(t *testing.T) *scanned {
	s := &scanned{path: filepath.Join(t.TempDir(), "store.db"), look: needles{garbage + ", raw": overwritten}}
	if err := os.WriteFile(s.path+".key", []byte(fixture.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// start starts the server. Only root may read the memory of a process that is
// not dumpable, or who has made the user namespace that it runs in.
func (s *scanned) start(t *testing.T, program string, secure bool, more ...string) {
	t.Helper()
	args := append([]string{"server", "--storage", "bolt:" + s.path, "--auth-secret-file", s.path + ".key", "--superuser", "root"}, more...)
	if secure {
		s.cert = s.path + ".cert"
		if err := fixture.Certificate(s.cert, s.path+".certkey"); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--listen", "", "--tls-listen", "127.0.0.1:0", "--tls-cert-file", s.cert, "--tls-key-file", s.path+".certkey")
	} else {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	server := exec.Command(program, args...)
	if os.Geteuid() != 0 {
		server.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
	}
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		t.Fatal("scanning the memory of the server needs root, or user namespaces")
	} else if err != nil {
		t.Fatal(err)
	}
	s.pid = server.Process.Pid
	timeout := time.AfterFunc(4*patience, func() { server.Process.Kill() })
	url, text := untilListening(log)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		io.Copy(io.Discard, log)
	}()
	t.Cleanup(func() {
		server.Process.Kill()
		<-drained
		server.Wait()
		timeout.Stop()
	})
	if url == "" {
		t.Fatalf("the server does not listen:\n%s", text)
	}
	s.url = url
}

// connect returns a client whose connection stays open.
func (s *scanned) connect(t *testing.T) *client.Client {
	t.Helper()
	raw, err := token.Sign("root", time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		t.Fatal(err)
	}
	cfg := client.Config{Server: s.url, Token: func(context.Context) (string, error) { return raw, nil }}
	if s.cert != "" {
		cfg.TLS = &tls.Config{InsecureSkipVerify: true}
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

const (
	manyValues = 64
	valueText  = "a value of the scan, number "
	// buffersHold is how many values the buffers of the open connections may
	// hold: there are two, which have three buffers each. The largest has 4 KiB,
	// and a value nearly 2.
	buffersHold = 2 * 3 * 2
)

// useSecrets writes and reads secrets.
func (s *scanned) useSecrets(t *testing.T, api *client.Client) {
	t.Helper()
	for i := range manyValues {
		name, value := fmt.Sprint("folder/", i), wire.SecretWrite{Value: fmt.Sprint(valueText, i, strings.Repeat(" ", 1800))}
		err := errors.Join(api.CreateText(t.Context(), name, value), api.UpdateText(t.Context(), name, value))
		_, errGet := api.Get(t.Context(), name, client.GetOptions{})
		if err := errors.Join(err, errGet); err != nil {
			t.Fatal(err)
		}
	}
}

// addCopy looks for the keys of the store as it is now.
func (s *scanned) addCopy(t *testing.T, name string, texts []string) {
	t.Helper()
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := bolt.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	s.look.keysOf(t, name, b, texts)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s *scanned) wantFound(t *testing.T, names ...string) {
	t.Helper()
	found, _ := s.scan(t)
	for _, name := range names {
		if found[name+", raw"] == 0 {
			t.Errorf("the scan does not find %s while it is in use; it finds %v", name, found)
		}
	}
}

func (s *scanned) wantForgotten(t *testing.T) {
	t.Helper()
	found, values := s.scan(t)
	delete(found, garbage+", raw")
	for _, name := range slices.Sorted(maps.Keys(found)) {
		t.Errorf("after the seal: %s is in memory %d times", name, found[name])
	}
	if len(values) > buffersHold {
		t.Errorf("after the seal, %d values are in memory: %v", len(values), slices.Sorted(maps.Keys(values)))
	}
}

// A collection overwrites garbage with overwritten, if the program is built as
// the Makefile does: see clobberfree in the documentation of package runtime.
const garbage = "garbage that was overwritten"

var overwritten = bytes.Repeat([]byte{0xef, 0xbe, 0xad, 0xde}, 8)

// needles are what a scan looks for, by name.
type needles map[string][]byte

// add adds a key in the forms in which a program may have it: also as HMAC
// combines it with constants.
func (n needles) add(name string, key []byte) {
	n[name+", raw"] = key
	n[name+", hex"] = hex.AppendEncode(nil, key)
	n[name+", upper-case hex"] = bytes.ToUpper(hex.AppendEncode(nil, key))
	n[name+", base64"] = base64.StdEncoding.AppendEncode(nil, key[:len(key)/3*3]) // the last digits depend on what follows
	n[name+", inner HMAC key"] = xor(key, 0x36)
	n[name+", outer HMAC key"] = xor(key, 0x5c)
}

func xor(key []byte, with byte) []byte {
	out := bytes.Clone(key)
	for i := range out {
		out[i] ^= with
	}
	return out
}

type storedConfig struct {
	UUID        string
	Keys        []string
	Shares      int
	Threshold   int
	Commitments []string
}

func record(t *testing.T, b store.Backend, key store.Key) []byte {
	t.Helper()
	node, err := b.Get(t.Context(), key, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	return node.Data
}

func configOf(t *testing.T, b store.Backend) (c storedConfig) {
	t.Helper()
	if err := json.Unmarshal(record(t, b, "stores/default/config"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// decrypt decrypts the shares of holders.
func decrypt(t *testing.T, people []int, messages []string) (texts []string) {
	t.Helper()
	for i, holder := range people {
		raw, err := hex.DecodeString(messages[i])
		if err != nil {
			t.Fatal(err)
		}
		text, err := sealtest.Key(holder).Unwrap(raw)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

// keysOf adds the keys of a store that the shares open, and the shares.
func (n needles) keysOf(t *testing.T, name string, b store.Backend, texts []string) {
	t.Helper()
	config := configOf(t, b)
	scheme := shares.Scheme{Shares: config.Shares, Threshold: config.Threshold, Commitments: config.Commitments}
	var all []shares.Share
	for i, text := range texts {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		n.add(fmt.Sprint(name, " share ", i), raw[len(raw)-32:])
		share, err := shares.Parse(scheme, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, share)
	}
	unseal, err := shares.Combine(scheme, all)
	if err != nil {
		t.Fatal(err)
	}
	open := func(key *envelope.Key, kind envelope.Kind, path store.Key) []byte {
		plain, _, err := envelope.Open(key, envelope.Place{Store: config.UUID, Kind: kind, Path: path}, record(t, b, path))
		if err != nil {
			t.Fatal(err)
		}
		return plain
	}
	root, err := envelope.KeyFromBytes(open(unseal, envelope.KindRoot, "stores/default/root"))
	if err != nil {
		t.Fatal(err)
	}
	var ring struct {
		Name  []byte `json:"name_key"`
		Terms []struct{ Key []byte }
	}
	if err := json.Unmarshal(open(root, envelope.KindKeyring, "stores/default/keyring"), &ring); err != nil {
		t.Fatal(err)
	}
	n.add(name+" unseal key", unseal.Bytes())
	n.add(name+" root key", root.Bytes())
	n.add(name+" name key", ring.Name)
	for i, term := range ring.Terms {
		n.add(fmt.Sprint(name, " data key ", i), term.Key)
	}
}

var scannedValue = regexp.MustCompile(valueText + `\d+ `)

// sockets returns how many sockets the server has open.
func (s *scanned) sockets(t *testing.T) (n int) {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if to, err := os.Readlink(name); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// scan returns how often the memory of the server has what is looked for, and
// the values that it has.
func (s *scanned) scan(t *testing.T) (found map[string]int, values map[string]bool) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", s.pid)
	regions, err := os.ReadFile(proc + "maps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open(proc + "mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	const window, overlap = 1 << 20, 100
	read, zeros := make([]byte, overlap+window), make([]byte, overlap+window)
	found, values = make(map[string]int), make(map[string]bool)
	for line := range strings.Lines(string(regions)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || mode[:2] != "rw" {
			continue // the vsyscall page has no signed address
		}
		for at := from; at < to; at += window {
			data := read[:min(overlap+window, to-at)]
			if _, err := memory.ReadAt(data, at); errors.Is(err, syscall.EIO) {
				break // unmapped since
			} else if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(data, zeros[:len(data)]) {
				continue
			}
			for name, what := range s.look {
				found[name] += bytes.Count(data, what)
			}
			for _, value := range scannedValue.FindAll(data, -1) {
				values[string(value)] = true
			}
		}
	}
	maps.DeleteFunc(found, func(_ string, n int) bool { return n == 0 })
	return found, values
}
