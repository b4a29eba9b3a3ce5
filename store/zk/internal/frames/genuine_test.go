//go:build zookeeper

package frames

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"secretstore/internal/zktest"
)

// observed checks what a client and a genuine server say to each other.
type observed struct {
	net.Conn
	checker Checker
	seen    *seen

	rest []byte // what has come of a frame; for the reader alone
}

// seen is what all connections of a test have carried.
type seen struct {
	t testing.TB

	mu      sync.Mutex
	sent    map[int32]int32 // xid to operation; guarded by mu
	replies map[int32]int   // without an error, by operation; guarded by mu
	errors  map[int32]int   // guarded by mu
	others  map[int32]int   // by xid; guarded by mu
	conns   []net.Conn      // guarded by mu
}

func (o *observed) Write(p []byte) (int, error) {
	frame := p[4:]
	if int(binary.BigEndian.Uint32(p)) != len(frame) {
		o.seen.t.Errorf("the library writes %d bytes for a frame of %d", len(p), binary.BigEndian.Uint32(p))
	}
	if err := o.checker.Sent(frame); err != nil {
		o.seen.t.Error(err)
	}
	o.seen.mu.Lock()
	if len(frame) >= 8 {
		o.seen.sent[int32(binary.BigEndian.Uint32(frame))] = int32(binary.BigEndian.Uint32(frame[4:]))
	}
	o.seen.mu.Unlock()
	return o.Conn.Write(p)
}

func (o *observed) Read(p []byte) (int, error) {
	n, err := o.Conn.Read(p)
	o.rest = append(o.rest, p[:n]...)
	for len(o.rest) >= 4 && len(o.rest)-4 >= int(binary.BigEndian.Uint32(o.rest)) {
		size := 4 + int(binary.BigEndian.Uint32(o.rest))
		frame := o.rest[4:size]
		first := !o.checker.answered
		if err := o.checker.Received(frame); err != nil {
			o.seen.t.Errorf("%v: %x", err, frame)
		} else if !first {
			o.seen.note(frame)
		}
		o.rest = o.rest[size:]
	}
	return n, err
}

func (s *seen) note(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	xid := int32(binary.BigEndian.Uint32(frame))
	switch {
	case xid < 0:
		s.others[xid]++
	case binary.BigEndian.Uint32(frame[12:]) != 0:
		s.errors[s.sent[xid]]++
	default:
		s.replies[s.sent[xid]]++
	}
}

func (s *seen) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, timeout)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	return &observed{Conn: conn, seen: s}, nil
}

// cut closes the connections so far; the library makes another.
func (s *seen) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		conn.Close()
	}
}

// TestGenuineRepliesPass makes all calls of the library, and wants each
// operation but reconfig to have succeeded, and most to have been refused too.
func TestGenuineRepliesPass(t *testing.T) {
	t.Parallel()
	sum := sha1.Sum([]byte("super:secret"))
	server := zktest.Start(t,
		zktest.Super("super:"+base64.StdEncoding.EncodeToString(sum[:])),
		zktest.Java("-Dzookeeper.extendedTypesEnabled=true -Dzookeeper.reconfigEnabled=true"))
	s := &seen{t: t, sent: map[int32]int32{}, replies: map[int32]int{}, errors: map[int32]int{}, others: map[int32]int{}}
	// On a busy machine ZooKeeper takes seconds for a large transaction.
	c, events, err := zk.Connect([]string{server.Addr()}, 15*time.Second, zk.WithDialer(s.dial), zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	session := func() {
		t.Helper()
		for ev := range events {
			if ev.State == zk.StateHasSession {
				return
			}
		}
		t.Fatal("no session")
	}
	session()
	acl := zk.WorldACL(zk.PermAll)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	refused := func(err error) {
		t.Helper()
		if err == nil || errors.Is(err, zk.ErrConnectionClosed) {
			t.Errorf("not refused: %v", err)
		}
	}
	ignore := func(_ any, err error) error { return err }
	ignore2 := func(_, _ any, err error) error { return err }

	must(c.AddAuth("digest", []byte("super:secret")))
	must(ignore(c.Create("/a", []byte("value"), 0, acl)))
	must(ignore(c.Create("/a/s-", nil, zk.FlagEphemeral|zk.FlagSequence, acl)))
	must(ignore(c.CreateContainer("/c", nil, zk.FlagContainer, acl)))
	must(ignore(c.CreateTTL("/t", nil, zk.FlagTTL, acl, time.Hour)))
	refused(ignore(c.Create("/a", nil, 0, acl)))
	refused(ignore(c.CreateContainer("/c", nil, zk.FlagContainer, acl)))
	refused(ignore(c.CreateTTL("/t", nil, zk.FlagTTL, acl, time.Hour)))

	exists, _, changed, err := c.ExistsW("/a")
	must(err)
	absent, _, created, err := c.ExistsW("/b")
	must(err)
	if !exists || absent {
		t.Errorf("/a: %v, /b: %v", exists, absent)
	}
	_, _, dataChanged, err := c.GetW("/a")
	must(err)
	_, _, childAdded, err := c.ChildrenW("/a")
	must(err)
	must(ignore(c.Set("/a", make([]byte, 100_000), 0)))
	must(ignore(c.Create("/b", nil, 0, acl)))
	must(ignore(c.Create("/a/b", nil, 0, acl)))
	for _, fired := range []<-chan zk.Event{changed, created, dataChanged, childAdded} {
		<-fired
	}
	must(ignore2(c.Get("/a")))
	must(ignore2(c.Get("/b")))
	must(ignore2(c.Get("/zookeeper/config")))
	must(ignore2(c.Children("/")))
	must(ignore2(c.Children("/b")))
	must(ignore2(c.GetACL("/a")))
	must(ignore2(c.GetACL("/zookeeper/config")))
	must(ignore(c.SetACL("/a", append(zk.DigestACL(zk.PermRead, "u", "p"), acl...), -1)))
	must(ignore2(c.GetACL("/a")))
	must(ignore(c.Sync("/")))
	must(ignore(c.Sync("/none")))
	refused(ignore2(c.Get("/none")))
	refused(ignore2(c.Children("/none")))
	refused(ignore2(c.GetACL("/none")))
	refused(ignore(c.SetACL("/none", acl, -1)))
	refused(ignore(c.Set("/a", nil, 77)))
	refused(c.Delete("/none", -1))
	// Only a member of an ensemble takes part in one.
	refused(ignore(c.IncrementalReconfig([]string{"server.9=127.0.0.1:1:2;3"}, nil, -1)))

	many := strings.Repeat("n", 100)
	var ops []any
	for i := range 500 {
		ops = append(ops, &zk.CreateRequest{Path: "/b/" + many + string(rune('a'+i%26)) + strings.Repeat("x", i/26), Acl: acl})
	}
	must(ignore(c.Multi(ops...)))
	must(ignore2(c.Children("/b")))
	must(ignore(c.Multi()))
	must(ignore(c.Multi(
		&zk.CreateRequest{Path: "/m", Acl: acl}, &zk.CreateRequest{Path: "/a/q-", Acl: acl, Flags: zk.FlagSequence},
		&zk.SetDataRequest{Path: "/m", Data: []byte("x"), Version: -1},
		&zk.CheckVersionRequest{Path: "/a", Version: -1}, &zk.DeleteRequest{Path: "/m", Version: -1},
	)))
	var deletes []any // of the shortest paths
	for _, letter := range "defghijklmnop" {
		must(ignore(c.Create("/"+string(letter), nil, 0, acl)))
		deletes = append(deletes, &zk.DeleteRequest{Path: "/" + string(letter), Version: -1})
	}
	must(ignore(c.Multi(deletes...)))
	results, err := c.Multi(&zk.CreateRequest{Path: "/m", Acl: acl}, &zk.CheckVersionRequest{Path: "/a", Version: 77}, &zk.DeleteRequest{Path: "/a", Version: -1})
	refused(err)
	if len(results) != 3 {
		t.Errorf("results %v", results)
	}

	// A reconnection renews the watches, and the credentials.
	_, _, again, err := c.ChildrenW("/a")
	must(err)
	s.cut()
	session()
	must(c.Delete("/a/b", -1))
	<-again
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // until a ping is answered
		s.mu.Lock()
		pinged := s.others[xidPing] > 0 && s.replies[opSetWatches] > 0
		s.mu.Unlock()
		if pinged {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no answer to a ping, or none to setWatches")
		}
	}
	c.Close()
	for range events {
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for op, o := range operations {
		if s.replies[op] == 0 && op != opReconfig {
			t.Errorf("no reply to %s was seen", o.name)
		}
	}
	if s.others[xidWatchEvent] < 4 {
		t.Errorf("%d watch events", s.others[xidWatchEvent])
	}
	t.Logf("replies %v, errors %v, others %v", s.replies, s.errors, s.others)
}

// TestGenuineConnectResponsesPass also asks for a session that does not exist.
func TestGenuineConnectResponsesPass(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	for _, session := range []int64{0, 12345} {
		for _, end := range [][]byte{nil, {0}} { // readOnly
			conn, err := net.Dial("tcp", server.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c := new(Checker)
			request := cat(i32(0), i64(0), i32(10000), i64(session), i32(16), make([]byte, 16), end)
			if err := c.Sent(request); err != nil {
				t.Fatal(err)
			}
			writeFrame(t, conn, request)
			frame := readFrame(conn)
			if err := c.Received(frame); err != nil {
				t.Errorf("session %d: %v: %x", session, err, frame)
			}
		}
	}
}
