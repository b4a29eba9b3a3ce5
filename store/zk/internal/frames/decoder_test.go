package frames

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

// The fuzz targets hold the library to what the package comment promises. They
// send a frame that the Checker accepts to a real client of the library, over a
// pipe. A panic in one of its goroutines ends the test.

const (
	// largest bounds a frame of the fuzz targets, and the library's buffers.
	largest = 64 << 10
	// factor is what the package comment promises.
	factor = 16
	// spare is what else a process allocates while one call is made.
	spare = 128 << 10
	// patience is for machines under load.
	patience = 30 * time.Second
)

// errOnce refuses a second attempt to connect.
var errOnce = errors.New("one connection only")

// onlyOnce has the library connect to a pipe once.
type onlyOnce struct{ tried atomic.Bool }

func (o *onlyOnce) Init([]string) error { return nil }
func (o *onlyOnce) Len() int            { return 1 }
func (o *onlyOnce) Connected()          {}
func (o *onlyOnce) Next() (string, bool) {
	return "pipe", o.tried.Swap(true)
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// library connects a client of the library to a pipe and returns the server's
// end.
func library(t testing.TB) (*zk.Conn, <-chan zk.Event, net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	var dialed atomic.Bool
	conn, events, err := zk.Connect([]string{"pipe"}, time.Hour,
		zk.WithDialer(func(string, string, time.Duration) (net.Conn, error) {
			if dialed.Swap(true) {
				return nil, errOnce
			}
			return client, nil
		}),
		zk.WithHostProvider(new(onlyOnce)),
		zk.WithLogger(silent{}),
		zk.WithLogInfo(false),
		zk.WithMaxBufferSize(largest),
		zk.WithMaxConnBufferSize(largest),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	return conn, events, server
}

// readFrame returns nil at the end of the connection.
func readFrame(conn net.Conn) []byte {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(conn, frame); err != nil {
		return nil
	}
	return frame
}

func writeFrame(t testing.TB, conn net.Conn, frame []byte) {
	t.Helper()
	if _, err := conn.Write(str(string(frame))); err != nil {
		t.Fatalf("the library has closed the connection: %v", err)
	}
}

// allocated is how many bytes do has the process allocate.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// calls are all of the library's that decode a reply.
var calls = []func(*zk.Conn) error{
	func(c *zk.Conn) error { _, err := c.Create("/a", nil, 0, nil); return err },
	func(c *zk.Conn) error { _, err := c.CreateContainer("/a", nil, zk.FlagContainer, nil); return err },
	func(c *zk.Conn) error { _, err := c.CreateTTL("/a", nil, zk.FlagTTL, nil, time.Second); return err },
	func(c *zk.Conn) error { return c.Delete("/a", -1) },
	func(c *zk.Conn) error { _, _, err := c.Exists("/a"); return err },
	func(c *zk.Conn) error { _, _, err := c.Get("/a"); return err },
	func(c *zk.Conn) error { _, err := c.Set("/a", nil, -1); return err },
	func(c *zk.Conn) error { _, _, err := c.GetACL("/a"); return err },
	func(c *zk.Conn) error { _, err := c.SetACL("/a", nil, -1); return err },
	func(c *zk.Conn) error { _, _, err := c.Children("/a"); return err },
	func(c *zk.Conn) error { _, err := c.Sync("/a"); return err },
	func(c *zk.Conn) error {
		_, err := c.Multi(&zk.CreateRequest{Path: "/a"}, &zk.SetDataRequest{Path: "/a"}, &zk.DeleteRequest{Path: "/a"}, &zk.CheckVersionRequest{Path: "/a"})
		return err
	},
	func(c *zk.Conn) error { // the most operations for its bytes
		ops := make([]any, 1000)
		for i := range ops {
			ops[i] = &zk.DeleteRequest{}
		}
		_, err := c.Multi(ops...)
		return err
	},
	func(c *zk.Conn) error { _, err := c.IncrementalReconfig(nil, nil, -1); return err },
}

// peer is a client of the library that is used for one call after the other.
type peer struct {
	client *zk.Conn
	server net.Conn
}

func newPeer(t testing.TB) *peer {
	t.Helper()
	client, events, server := library(t)
	readFrame(server)
	// In the time until its first ping this test is over.
	writeFrame(t, server, connectResponse(1<<30, 1))
	for ev := range events {
		if ev.State == zk.StateHasSession {
			return &peer{client, server}
		}
	}
	t.Fatal("no session")
	return nil
}

// answer makes a call and has the server answer with a frame if the Checker
// accepts it, and in any case with an error in the end. In the frame an xid of
// 1 means that of the request.
func (p *peer) answer(t testing.TB, call func(*zk.Conn) error, frame []byte) (accepted bool) {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- call(p.client) }()
	request := readFrame(p.server)
	xid := request[:4]
	frame = bytes.Clone(frame)
	if bytes.HasPrefix(frame, i32(1)) {
		copy(frame, xid)
	}
	checker := connected(t)
	if err := checker.Sent(request); err != nil {
		t.Fatal(err)
	}
	accepted = checker.Received(frame) == nil
	var err error
	used := allocated(func() {
		if accepted {
			writeFrame(t, p.server, frame)
		}
		if !accepted || !bytes.HasPrefix(frame, xid) {
			writeFrame(t, p.server, cat(xid, i64(1), i32(-101)))
		}
		select {
		case err = <-result:
		case <-time.After(patience):
			t.Fatal("the library does not return")
		}
	})
	if errors.Is(err, zk.ErrShortBuffer) || errors.Is(err, zk.ErrConnectionClosed) {
		t.Errorf("the library cannot decode what was accepted: %v", err)
	}
	if most := factor*uint64(len(request)+len(frame)) + spare; used > most {
		t.Errorf("%d bytes allocated for a request of %d and a reply of %d", used, len(request), len(frame))
	}
	return accepted
}

func FuzzTheLibraryDecodesWhatIsAccepted(f *testing.F) {
	for _, seed := range wellFormed {
		for call := range calls {
			f.Add(uint8(call), cat(header(1, 0), seed.body))
		}
	}
	f.Add(uint8(0), header(1, -110))
	f.Add(uint8(5), header(-2, 0))
	f.Add(uint8(5), cat(header(-1, 0), i32(3), i32(3), str("/a")))
	f.Add(uint8(12), cat(header(1, 0), bytes.Repeat(result(opDelete), 1000), done))
	var p *peer // of this process
	f.Fuzz(func(t *testing.T, call uint8, frame []byte) {
		if len(frame) > largest {
			return
		}
		if p == nil {
			p = newPeer(t)
		}
		p.answer(t, calls[int(call)%len(calls)], frame)
	})
}

// TestMemoryIsInProportion tries what costs the library most for its bytes.
func TestMemoryIsInProportion(t *testing.T) {
	p := newPeer(t)
	const children, acl, multi = 9, 7, 12
	for _, c := range []struct {
		name string
		call int
		body []byte
	}{
		{"empty names", children, cat(i32(15000), make([]byte, 4*15000), someStat)},
		{"names of two bytes", children, cat(i32(10000), bytes.Repeat(str("ab"), 10000), someStat)},
		{"empty ACLs", acl, cat(i32(5000), make([]byte, 12*5000), someStat)},
		{"ACLs", acl, cat(i32(2500), bytes.Repeat(cat(i32(1), str("ab"), str("cd")), 2500), someStat)},
		{"results", multi, cat(bytes.Repeat(result(opDelete), 1000), done)},
		{"paths", multi, cat(bytes.Repeat(cat(result(opCreate), str("ab")), 1000), done)},
		{"stats", multi, cat(bytes.Repeat(cat(result(opSetData), someStat), 800), done)},
		{"errors", multi, cat(bytes.Repeat(cat(result(opError), i32(-1000)), 1000), done)},
	} {
		if !p.answer(t, calls[c.call], cat(header(1, 0), c.body)) {
			t.Errorf("%s: refused", c.name)
		}
	}
}

// FuzzTheLibraryConnectsWithWhatIsAccepted is for the connect response, of
// which the library takes more than its records: the time until its next ping.
func FuzzTheLibraryConnectsWithWhatIsAccepted(f *testing.F) {
	f.Add(connectResponse(10000, 1))
	f.Add(connectResponse(1, 1))
	f.Add(connectResponse(1<<31-1, -1))
	f.Add(connectResponse(0, 0))
	f.Add(connectResponse(0, 1))
	f.Add(connectResponse(-1, 1))
	f.Add(connectResponse(10000, 1)[:36])
	f.Fuzz(func(t *testing.T, frame []byte) {
		checker := new(Checker)
		if err := checker.Sent(connectRequest()); err != nil {
			t.Fatal(err)
		}
		if len(frame) > largest || checker.Received(frame) != nil {
			return
		}
		client, events, server := library(t)
		defer server.Close()
		readFrame(server)
		var state zk.State
		used := allocated(func() {
			writeFrame(t, server, frame)
			for ev := range events {
				if state = ev.State; state == zk.StateHasSession || state == zk.StateExpired || state == zk.StateDisconnected {
					break
				}
			}
		})
		if state == zk.StateDisconnected {
			t.Error("the library cannot decode what was accepted")
		}
		if most := uint64(factor*len(frame) + spare + 2*largest); used > most {
			t.Errorf("%d bytes allocated for %d", used, len(frame))
		}
		go client.Close()
		if state == zk.StateHasSession {
			// Its loops run once it sends a request. It may send pings before.
			for request := readFrame(server); request != nil; request = readFrame(server) {
				if binary.BigEndian.Uint32(request[4:]) == 0xfffffff5 { // opClose
					// With a time-out of milliseconds it may have closed before.
					_, _ = server.Write(str(string(cat(request[:4], i64(1), i32(0)))))
					break
				}
			}
			for range events {
			}
		}
	})
}
