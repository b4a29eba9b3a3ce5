// Package frames checks each frame that a ZooKeeper server sends, before the
// client library decodes it.
//
// The library trusts what it decodes: a transaction's reply that ends too soon
// makes it panic, and a count of two billion makes it allocate as many
// elements. The port is plain TCP unless TLS is configured, so both are in the
// hands of anyone on the way. A frame that a [Checker] accepts is decoded
// without a panic, without a read beyond its end, and with memory for at most
// 16 times the bytes of request and reply together; the fuzz targets hold the
// library to it.
//
// The package knows lengths, counts and nesting. It does not know whether a
// path, a version or a number of results fits the request. Beyond that it
// reads two fields of a request, xid and operation, because a reply does not
// say what it answers. It keeps nothing of a frame's content, and its errors
// hold names of operations and numbers only.
package frames

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/cryptobyte"
)

// MaxOutstanding is how many requests of a connection may wait for their
// replies, and so bounds the memory of a Checker: some 32 bytes for each.
const MaxOutstanding = 4096

// The xids of frames that answer no request.
const (
	xidWatchEvent = -1
	xidPing       = -2
)

var (
	errOrder       = errors.New("an answer before the connect request")
	errOutstanding = fmt.Errorf("more than %d requests without a reply", MaxOutstanding)
	errRequest     = errors.New("malformed request to ZooKeeper")
)

// Checker checks the frames of one connection. The zero value is ready for the
// connect request. Sent and Received may run at the same time, each in one
// goroutine. After an error the connection must be closed and the Checker not
// be used again.
//
// A frame is what follows the four bytes of its length. How long it may be is
// for the caller to limit.
type Checker struct {
	answered bool // the connect response has come; for Received alone

	mu        sync.Mutex
	connected bool              // the connect request was sent; guarded by mu
	waiting   map[int32]request // by xid; guarded by mu
}

// request is what a reply is checked by.
type request struct {
	op   int32
	size int // of its frame
}

// Sent notes a request. It must return before the request's first byte leaves:
// a reply that overtakes it would be refused. A request of an operation that
// the package does not know is an error, as its reply could not be checked.
func (c *Checker) Sent(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		c.connected = true // ConnectRequest, which has no RequestHeader
		return nil
	}
	r := reader{cryptobyte.String(frame)}
	var xid, op int32
	if !r.int(&xid) || !r.int(&op) {
		return errRequest
	}
	if op == opPing && xid == xidPing {
		return nil // the library does not wait for the answer
	}
	if _, known := operations[op]; !known || xid < 0 {
		return fmt.Errorf("request %d to ZooKeeper is of the unknown operation %d", xid, op)
	}
	if _, taken := c.waiting[xid]; taken {
		return fmt.Errorf("request %d to ZooKeeper was sent twice", xid)
	}
	if len(c.waiting) == MaxOutstanding {
		return errOutstanding
	}
	if c.waiting == nil {
		c.waiting = make(map[int32]request)
	}
	c.waiting[xid] = request{op, len(frame)}
	return nil
}

// Received checks a frame of the server: the connect response, a reply, the
// answer to a ping, or a watch event. It returns nil only if the library can
// decode the frame safely. A reply that nobody waits for is an error, although
// the library would drop it: a genuine server sends none.
func (c *Checker) Received(frame []byte) error {
	r := reader{cryptobyte.String(frame)}
	if !c.answered {
		c.answered = true
		return c.connectResponse(r, len(frame))
	}
	var xid, code int32
	if !r.replyHeader(&xid, &code) {
		return malformed("reply", len(frame))
	}
	switch xid {
	case xidWatchEvent: // decoded whatever its code
		if !r.watcherEvent() || !r.Empty() {
			return malformed("watch event", len(frame))
		}
		return nil
	case xidPing:
		if !r.Empty() {
			return malformed("answer to a ping", len(frame))
		}
		return nil
	}
	req, ok := c.take(xid)
	if !ok {
		return fmt.Errorf("an answer to request %d, which does not wait for one", xid)
	}
	if code != 0 {
		return nil // the library looks at nothing else then
	}
	op := operations[req.op]
	if !op.reply(&r, req) || !r.Empty() {
		return malformed("reply to "+op.name, len(frame))
	}
	return nil
}

func (c *Checker) connectResponse(r reader, size int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		return errOrder
	}
	if !r.connectResponse() || !r.Empty() {
		return malformed("connect response", size)
	}
	return nil
}

// take returns, and forgets, the request with this xid.
func (c *Checker) take(xid int32) (request, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	req, ok := c.waiting[xid]
	delete(c.waiting, xid)
	return req, ok
}

func malformed(what string, size int) error {
	return fmt.Errorf("malformed %s of %d bytes", what, size)
}
