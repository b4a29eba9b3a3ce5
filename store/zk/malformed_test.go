//go:build zookeeper

package zk_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"secretstore/internal/zktest"
	"secretstore/store"
)

// The operations of ZooKeeper's protocol that are forged.
const (
	opGetData      = 4
	opGetChildren2 = 12
	opMulti        = 14
)

// forger stands between a backend and ZooKeeper and answers some requests
// itself, wrongly.
type forger struct {
	t       testing.TB
	listen  net.Listener
	server  string
	running sync.WaitGroup

	mu     sync.Mutex
	forged map[int32][]byte // what replies to an operation hold after their header; guarded by mu
	greet  []byte           // what answers a connect request, nil for what ZooKeeper says; guarded by mu
	count  int              // forged replies so far; guarded by mu
	conns  []net.Conn       // guarded by mu
	closed bool             // guarded by mu
}

func newForger(t testing.TB, server string) *forger {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{t: t, listen: l, server: server, forged: make(map[int32][]byte)}
	f.running.Go(f.accept)
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		f.closed = true
		for _, conn := range f.conns {
			conn.Close()
		}
		f.mu.Unlock()
		f.running.Wait()
	})
	return f
}

func (f *forger) Addr() string { return f.listen.Addr().String() }

// Forge replaces all replies to op; nil ends that.
func (f *forger) Forge(op int32, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forged[op] = body
}

// Greet replaces all connect responses; nil ends that.
func (f *forger) Greet(response []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.greet = response
}

// Count returns how many replies were forged.
func (f *forger) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// forgery returns what to answer to op, nil for nothing.
func (f *forger) forgery(op int32) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	body := f.forged[op]
	if body != nil {
		f.count++
	}
	return body
}

func (f *forger) greeting() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.greet != nil {
		f.count++
	}
	return f.greet
}

func (f *forger) accept() {
	for {
		client, err := f.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", f.server)
		if err != nil {
			client.Close()
			continue
		}
		f.mu.Lock()
		f.conns = append(f.conns, client, server)
		if f.closed {
			client.Close()
			server.Close()
		}
		f.mu.Unlock()
		f.running.Go(func() { f.serve(client, server) })
	}
}

// serve passes frames on in both directions until one end closes.
func (f *forger) serve(client, server net.Conn) {
	var writing sync.Mutex // to the client
	answer := func(frame []byte) error {
		writing.Lock()
		defer writing.Unlock()
		return writeFrame(client, frame)
	}
	var replies sync.WaitGroup
	replies.Go(func() {
		defer client.Close()
		for first := true; ; first = false {
			frame, err := readFrame(server)
			if err != nil {
				return
			}
			if greeting := f.greeting(); first && greeting != nil {
				frame = greeting
			}
			if answer(frame) != nil {
				return
			}
		}
	})
	defer replies.Wait()
	defer server.Close()
	for first := true; ; first = false {
		frame, err := readFrame(client)
		if err != nil {
			return
		}
		if !first {
			if body := f.forgery(int32(binary.BigEndian.Uint32(frame[4:]))); body != nil {
				if answer(slices.Concat(frame[:4], make([]byte, 12), body)) != nil {
					return
				}
				continue
			}
		}
		if writeFrame(server, frame) != nil {
			return
		}
	}
}

func readFrame(conn net.Conn) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err := io.ReadFull(conn, frame)
	return frame, err
}

func writeFrame(conn net.Conn, frame []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

// TestAMalformedReplyEndsItsConnectionOnly: the client library panics on the
// one of four bytes, and on a time-out of 0, and allocates 32 GB for a count of
// two billion.
func TestAMalformedReplyEndsItsConnectionOnly(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	f := newForger(t, server.Addr())
	cfg := config(t, f.Addr())
	core, logged := observer.New(zap.WarnLevel)
	cfg.Log = zap.New(core)
	b := openReady(t, cfg)
	version := create(t, b, "f/k", "x")
	huge := slices.Concat([]byte{0x7f, 0xff, 0xff, 0xff}, make([]byte, 100))
	set := func(ctx context.Context) error {
		versions, err := b.Apply(ctx, store.Set("f/k", []byte("y"), version))
		if err == nil {
			version = versions[0]
		}
		return err
	}
	list := func(ctx context.Context) error {
		_, err := b.Children(ctx, "f", store.Latest)
		return err
	}
	read := func(ctx context.Context) error { // of a record that is never in memory
		_, err := b.Get(ctx, "f/none", store.Latest)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}
	for _, c := range []struct {
		name string
		op   int32
		body []byte
		call func(context.Context) error
	}{
		{"a transaction of four bytes", opMulti, []byte{0, 0, 0, 1}, set},
		{"a transaction without an end", opMulti, []byte{0, 0, 0, 2, 0, 0, 0, 0, 0}, set},
		{"a transaction with a transaction in it", opMulti, []byte{0, 0, 0, 14, 0, 0, 0, 0, 0, 255, 255, 255, 255, 1, 255, 255, 255, 255}, set},
		{"a transaction without results", opMulti, []byte{255, 255, 255, 255, 1, 255, 255, 255, 255}, set},
		{"two billion children", opGetChildren2, huge, list},
		{"data longer than the reply", opGetData, huge, read},
	} {
		before := f.Count()
		f.Forge(c.op, c.body)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := c.call(ctx); !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("%s: %v", c.name, err)
		}
		cancel()
		if f.Count() == before {
			t.Errorf("%s: no reply was forged", c.name)
		}
		f.Forge(c.op, nil)
		eventually(t, c.name+": a connection afterwards", func() bool { return c.call(t.Context()) == nil })
	}
	for _, reply := range []string{"multi", "getChildren2"} {
		if !slices.ContainsFunc(logged.All(), func(line observer.LoggedEntry) bool {
			text, _ := line.ContextMap()["error"].(string)
			return strings.Contains(text, "malformed reply to "+reply)
		}) {
			t.Errorf("the malformed reply to %s was not logged: %v", reply, logged.All())
		}
	}
}

// TestAMalformedConnectResponseEndsItsConnectionOnly, also one of a backend
// that starts.
func TestAMalformedConnectResponseEndsItsConnectionOnly(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	for name, response := range map[string][]byte{
		"a time-out of 0":           slices.Concat(make([]byte, 15), []byte{1, 0, 0, 0, 16}, make([]byte, 17)),
		"a password longer than it": slices.Concat([]byte{0, 0, 0, 0, 0, 0, 39, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff}, make([]byte, 17)),
	} {
		f := newForger(t, server.Addr())
		f.Greet(response)
		b := open(t, config(t, f.Addr()))
		eventually(t, name, func() bool { return f.Count() >= 3 }) // it tries again
		if _, err := b.Get(t.Context(), "k", store.Latest); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		f.Greet(nil)
		create(t, b, "k", "x")
	}
}
