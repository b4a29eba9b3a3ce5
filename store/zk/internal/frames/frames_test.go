package frames

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
)

// The encoding of jute, written anew so that it does not share a mistake with
// the reader.

func i32(v int32) []byte     { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
func i64(v int64) []byte     { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
func str(s string) []byte    { return append(i32(int32(len(s))), s...) }
func cat(p ...[]byte) []byte { return slices.Concat(p...) }

// someStat is a Stat.
var someStat = cat(i64(5), i64(6), i64(1700000000000), i64(1700000000001), i32(1), i32(0), i32(0), i64(0), i32(3), i32(0), i64(5))

// header is a ReplyHeader.
func header(xid, code int32) []byte { return cat(i32(xid), i64(77), i32(code)) }

// result is the MultiHeader of a result of op.
func result(op int32) []byte { return cat(i32(op), []byte{0}, i32(0)) }

// done is the MultiHeader at the end.
var done = cat(i32(-1), []byte{1}, i32(-1))

func connectRequest() []byte {
	return cat(i32(0), i64(0), i32(10000), i64(0), i32(16), make([]byte, 16))
}

func connectResponse(timeOut int32, session int64) []byte {
	return cat(i32(0), i32(timeOut), i64(session), i32(16), make([]byte, 16), []byte{0})
}

// connected is a Checker of a connection that is established.
func connected(t testing.TB) *Checker {
	t.Helper()
	c := new(Checker)
	if err := c.Sent(connectRequest()); err != nil {
		t.Fatal(err)
	}
	if err := c.Received(connectResponse(10000, 1)); err != nil {
		t.Fatal(err)
	}
	return c
}

// multiOf is the body of a transaction of n operations, the shortest but for
// their paths.
func multiOf(n int) []byte {
	var ops []byte
	for range n {
		ops = cat(ops, i32(opDelete), []byte{0}, i32(-1), str("/a"), i32(-1))
	}
	return cat(ops, done)
}

// bodyOf is a request's body of about the right size.
func bodyOf(op int32) []byte {
	if op == opMulti {
		return multiOf(4)
	}
	return cat(str("/a"), []byte{0})
}

// reply has a connection send a request of op and receive a frame.
func reply(t testing.TB, op int32, frame []byte) error {
	t.Helper()
	c := connected(t)
	if err := c.Sent(cat(i32(1), i32(op), bodyOf(op))); err != nil {
		t.Fatal(err)
	}
	return c.Received(frame)
}

var wellFormed = []struct {
	name string
	op   int32
	body []byte
}{
	{"create", opCreate, str("/a")},
	{"container of old servers", opCreateContainer, str("/a")},
	{"container", opCreateContainer, cat(str("/a"), someStat)},
	{"TTL", opCreateTTL, cat(str("/a"), someStat)},
	{"delete", opDelete, nil},
	{"exists", opExists, someStat},
	{"data", opGetData, cat(str("value"), someStat)},
	{"empty data", opGetData, cat(i32(0), someStat)},
	{"no data", opGetData, cat(i32(-1), someStat)},
	{"set", opSetData, someStat},
	{"ACL", opGetACL, cat(i32(2), i32(31), str("world"), str("anyone"), i32(1), str("auth"), str(""), someStat)},
	{"empty ACL", opGetACL, cat(i32(0), someStat)},
	{"set ACL", opSetACL, someStat},
	{"children", opGetChildren2, cat(i32(2), str("b"), str("c"), someStat)},
	{"no children", opGetChildren2, cat(i32(0), someStat)},
	{"sync", opSync, str("/")},
	{"reconfig", opReconfig, cat(str("server.1=..."), someStat)},
	{"close", opClose, nil},
	{"auth", opAuth, nil},
	{"watches", opSetWatches, nil},
	{"empty multi", opMulti, done},
	{"multi", opMulti, cat(result(opCreate), str("/a"), result(opSetData), someStat, result(opDelete), result(opCheck), done)},
	{"refused multi", opMulti, cat(result(opError), i32(0), result(opError), i32(-101), result(opError), i32(-2), done)},
}

func TestWellFormedRepliesPass(t *testing.T) {
	seen := make(map[int32]bool)
	for _, c := range wellFormed {
		seen[c.op] = true
		if err := reply(t, c.op, cat(header(1, 0), c.body)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := reply(t, c.op, header(1, -101)); err != nil {
			t.Errorf("%s, refused: %v", c.name, err)
		}
	}
	for op, o := range operations {
		if !seen[op] {
			t.Errorf("no reply to %s was tried", o.name)
		}
	}
}

// TestEveryTruncationIsRefused also adds a byte. An error's code leaves nothing
// for the library to decode.
func TestEveryTruncationIsRefused(t *testing.T) {
	for _, c := range wellFormed {
		frame := cat(header(1, 0), c.body)
		for n := range frame {
			// The path of a container is all of the reply of an old server.
			if prefix := frame[:n]; reply(t, c.op, prefix) == nil && (c.op != opCreateContainer && c.op != opCreateTTL || n != 16+4+2) {
				t.Errorf("%s: %d of %d bytes pass", c.name, n, len(frame))
			}
		}
		if reply(t, c.op, append(frame, 0)) == nil {
			t.Errorf("%s: a byte too many passes", c.name)
		}
	}
}

func TestMalformedRepliesAreRefused(t *testing.T) {
	const many = math.MaxInt32
	for _, c := range []struct {
		name string
		op   int32
		body []byte
	}{
		{"multi of four bytes", opMulti, i32(opCreate)},
		{"multi without an end", opMulti, cat(result(opDelete), result(opCheck))},
		{"multi that ends in its header", opMulti, cat(result(opDelete), i32(-1), []byte{1})},
		{"multi that ends before done", opMulti, cat(result(opDelete), i32(-1))},
		{"multi whose done is 2", opMulti, cat(i32(-1), []byte{2}, i32(-1))},
		{"multi within a multi", opMulti, cat(result(opMulti), done, done)},
		{"an empty multi within a multi", opMulti, cat(result(opMulti), done)},
		{"multi with a read", opMulti, cat(result(opGetData), str("x"), someStat, done)},
		{"multi with an unknown result", opMulti, cat(result(99), done)},
		{"multi with an error without its code", opMulti, cat(result(opError), done[:3])},
		{"multi with a long path", opMulti, cat(result(opCreate), i32(many), done)},
		{"multi with no path", opMulti, cat(result(opCreate), i32(-1), done)},
		{"multi with half a stat", opMulti, cat(result(opSetData), someStat[:34], done)},
		{"multi with more results than operations", opMulti, cat(bytes.Repeat(result(opDelete), 5), done)},
		{"multi with something after its end", opMulti, cat(done, done)},
		{"two billion children", opGetChildren2, cat(i32(many), someStat)},
		{"as many children as bytes", opGetChildren2, cat(i32(int32(len(someStat))), someStat)},
		{"one child too many", opGetChildren2, cat(i32(3), str("b"), str("c"), someStat)},
		{"children -1", opGetChildren2, cat(i32(-1), someStat)},
		{"children -2", opGetChildren2, cat(i32(-2), someStat)},
		{"fewest children", opGetChildren2, cat(i32(math.MinInt32), someStat)},
		{"a child longer than the frame", opGetChildren2, cat(i32(1), i32(many), someStat)},
		{"a child -1", opGetChildren2, cat(i32(1), i32(-1), someStat)},
		{"two billion ACLs", opGetACL, cat(i32(many), someStat)},
		{"as many ACLs as strings fit", opGetACL, cat(i32(int32(len(someStat)/4)), someStat)},
		{"ACL -1", opGetACL, cat(i32(-1), someStat)},
		{"a scheme longer than the frame", opGetACL, cat(i32(1), i32(31), i32(many), str("anyone"), someStat)},
		{"an id longer than the frame", opGetACL, cat(i32(1), i32(31), str("world"), i32(many), someStat)},
		{"data longer than the frame", opGetData, cat(i32(many), someStat)},
		{"data that takes a byte of the stat", opGetData, cat(i32(6), []byte("value"), someStat)},
		{"data -2", opGetData, cat(i32(-2), someStat)},
		{"a path longer than the frame", opCreate, cat(i32(3), []byte("/a"))},
		{"a path -1", opCreate, i32(-1)},
		{"fewest bytes of path", opCreate, i32(math.MinInt32)},
		{"a path -1 of sync", opSync, i32(-1)},
		{"a container's path and half a stat", opCreateContainer, cat(str("/a"), someStat[:34])},
	} {
		if err := reply(t, c.op, cat(header(1, 0), c.body)); err == nil {
			t.Errorf("%s passes", c.name)
		}
	}
}

func TestFramesThatAnswerNothing(t *testing.T) {
	event := cat(i32(3), i32(3), str("/a"))
	for _, c := range []struct {
		name  string
		frame []byte
		ok    bool
	}{
		{"event", cat(header(-1, 0), event), true},
		{"event with a code", cat(header(-1, -101), event), true},
		{"event of the session", cat(header(-1, 0), i32(-1), i32(3), i32(0)), true},
		{"ping", header(-2, 0), true},

		{"nothing", nil, false},
		{"header of 15 bytes", header(-2, 0)[:15], false},
		{"event of half", cat(header(-1, 0), event[:8]), false},
		{"event with a code and no content", header(-1, -101), false},
		{"event with a long path", cat(header(-1, 0), i32(3), i32(3), i32(math.MaxInt32), str("/a")), false},
		{"event with no path", cat(header(-1, 0), i32(3), i32(3), i32(-1)), false},
		{"event with a byte too many", cat(header(-1, 0), event, []byte{0}), false},
		{"ping with a byte too many", cat(header(-2, 0), []byte{0}), false},
		{"auth as the Java client numbers it", header(-4, 0), false},
		{"watches as the Java client numbers them", header(-8, 0), false},
		{"a reply to nothing", cat(header(2, 0), someStat), false},
		{"an error of nothing", header(2, -101), false},
	} {
		if err := reply(t, opExists, c.frame); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestARequestIsAnsweredOnceAndByItsOperation(t *testing.T) {
	c := connected(t)
	for xid, op := range []int32{opExists, opGetData, opCreate} {
		if err := c.Sent(cat(i32(int32(xid)), i32(op), bodyOf(op))); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Sent(cat(i32(2), i32(opExists), bodyOf(opExists))); err == nil {
		t.Error("an xid was taken twice")
	}
	if err := c.Received(cat(header(2, 0), str("/a"))); err != nil {
		t.Error(err)
	}
	if err := c.Received(cat(header(2, 0), str("/a"))); err == nil {
		t.Error("a second reply passes")
	}
	if err := c.Received(cat(header(0, 0), someStat)); err != nil {
		t.Error(err)
	}
	if err := c.Received(cat(header(1, 0), someStat)); err == nil {
		t.Error("the reply of another operation passes")
	}
	if err := c.Sent(cat(i32(2), i32(opExists), bodyOf(opExists))); err != nil {
		t.Errorf("an xid is not taken again after its reply: %v", err)
	}
}

func TestUnknownRequestsAreRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"nothing", nil},
		{"seven bytes", cat(i32(1), i32(opExists))[:7]},
		{"operation 0", cat(i32(1), i32(0))},
		{"check by itself", cat(i32(1), i32(opCheck), str("/a"), i32(1))},
		{"SASL", cat(i32(1), i32(102))},
		{"a read in a transaction", cat(i32(1), i32(22))},
		{"an error", cat(i32(1), i32(opError))},
		{"a ping with a number", cat(i32(1), i32(opPing))},
		{"a request without a number", cat(i32(-2), i32(opExists))},
		{"auth as the Java client numbers it", cat(i32(-4), i32(opAuth))},
	} {
		if err := connected(t).Sent(c.frame); err == nil {
			t.Errorf("%s passes", c.name)
		}
	}
	if err := connected(t).Sent(cat(i32(-2), i32(opPing))); err != nil {
		t.Errorf("ping: %v", err)
	}
}

func TestConnectResponses(t *testing.T) {
	response := connectResponse(10000, 1)
	for _, c := range []struct {
		name  string
		frame []byte
		ok    bool
	}{
		{"since 3.4", response, true},
		{"before", response[:len(response)-1], true},
		{"no such session", connectResponse(0, 0), true},
		{"no password", cat(response[:16], i32(-1)), true},

		{"nothing", nil, false},
		{"no password, not even its length", response[:16], false},
		{"half a password", response[:28], false},
		{"a password of two gigabytes", cat(response[:16], i32(math.MaxInt32), make([]byte, 16)), false},
		{"a password of -2", cat(response[:16], i32(-2)), false},
		{"a byte too many", append(slices.Clone(response), 0), false},
		{"readOnly is 2", append(response[:36:36], 2), false},
		{"no time-out", connectResponse(0, 1), false},
		{"a time-out below 0", connectResponse(-1, 1), false},
	} {
		checker := new(Checker)
		if err := checker.Sent(connectRequest()); err != nil {
			t.Fatal(err)
		}
		if err := checker.Received(c.frame); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := new(Checker).Received(response); err == nil {
		t.Error("a response to no request passes")
	}
}

// TestResultsAreBoundedByTheRequest: each costs the library more than twenty
// times its nine bytes.
func TestResultsAreBoundedByTheRequest(t *testing.T) {
	for ops := range 200 {
		request := cat(i32(1), i32(opMulti), multiOf(ops))
		for _, results := range []int{0, ops, 2 * ops} {
			c := connected(t)
			if err := c.Sent(request); err != nil {
				t.Fatal(err)
			}
			err := c.Received(cat(header(1, 0), bytes.Repeat(result(opDelete), results), done))
			if (err == nil) != (results <= ops || results == 0) {
				t.Errorf("%d results of %d operations: %v", results, ops, err)
			}
		}
	}
}

func TestWaitingRequestsAreBounded(t *testing.T) {
	c := connected(t)
	for xid := range int32(MaxOutstanding) {
		if err := c.Sent(cat(i32(xid), i32(opDelete), str("/a"), i32(-1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Sent(cat(i32(-2), i32(opPing))); err != nil {
		t.Errorf("a ping, which is not counted: %v", err)
	}
	if err := c.Received(header(5, 0)); err != nil {
		t.Fatal(err)
	}
	if err := c.Sent(cat(i32(MaxOutstanding), i32(opDelete), str("/a"), i32(-1))); err != nil {
		t.Errorf("after a reply: %v", err)
	}
	if err := c.Sent(cat(i32(MaxOutstanding+1), i32(opDelete), str("/a"), i32(-1))); err == nil {
		t.Error("one more passes")
	}
}

// TestErrorsHoldNothingOfAFrame: they are logged.
func TestErrorsHoldNothingOfAFrame(t *testing.T) {
	const canary = "CANARY"
	c := connected(t)
	for _, err := range []error{
		c.Sent(cat(i32(1), i32(99), str(canary))),
		reply(t, opCreate, cat(header(1, 0), str(canary), []byte(canary))),
		reply(t, opExists, cat(header(-1, 0), i32(3), i32(3), str(canary), []byte(canary))),
		reply(t, opExists, cat(header(9, 0), []byte(canary))),
	} {
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("error %v", err)
		}
	}
}

// TestRequestsAndRepliesAtOnce is for the race detector.
func TestRequestsAndRepliesAtOnce(t *testing.T) {
	c := connected(t)
	sent := make(chan int32, 16)
	go func() {
		defer close(sent)
		for xid := range int32(1000) {
			if err := c.Sent(cat(i32(xid), i32(opDelete), str("/a"), i32(-1))); err != nil {
				t.Error(err)
			}
			sent <- xid
		}
	}()
	for xid := range sent {
		if err := c.Received(header(xid, 0)); err != nil {
			t.Error(err)
		}
	}
}
