// Package framing finds requests of HTTP/1 with both Transfer-Encoding and
// Content-Length. A proxy that goes by the other of them sees another end of the
// request: that is how requests are smuggled past it (RFC 9112, section 6.1).
//
// net/http goes by Transfer-Encoding and drops Content-Length before a handler
// sees the request. So this package reads along: its connections look at the names
// of header fields on the way to net/http. They do not parse requests. Where a body
// ends is what net/http says, so that both can never disagree about which bytes are
// a head: a connection hands out no byte after an empty line before net/http asks
// for it, which is after the handler has called Begin.
package framing

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
)

// The names that it looks for, in any case.
var transferEncoding, contentLength = []byte("Transfer-Encoding"), []byte("Content-Length")

// conn is a connection that net/http reads from. Only one Read runs at a time.
type conn struct {
	net.Conn
	held []byte // was read, but not handed out; belongs to Read

	mu   sync.Mutex
	body int64 // bytes of a body that are still to be handed out; guarded by mu
	head head  // guarded by mu
	// chunked: a body has begun whose end only net/http knows. No head behind it can be
	// looked at. Guarded by mu.
	chunked bool
}

// head is what has been seen of the head of a request.
type head struct {
	// name is the beginning of the current line up to a colon, without blanks in
	// front: if the line continues the one before, a proxy may not know that.
	name []byte
	// named: name is complete, or too long to matter.
	named            bool
	encoding, length bool
}

// bufferSize is that of the buffers of net/http. What is larger belongs to who reads
// a body.
const bufferSize = 4 << 10

// Read returns no byte behind the empty line that ends a head. It clears the rest
// of a buffer of net/http, which gives those of connections that have ended to
// others: the end of one may hold a secret for as long as no request is long enough
// to overwrite it.
func (c *conn) Read(p []byte) (n int, err error) {
	if len(p) <= bufferSize {
		defer func() { clear(p[n:]) }()
	}
	if len(c.held) > 0 {
		n = c.handOut(p[:copy(p, c.held)])
		clear(c.held[:n]) // it may be part of a secret
		c.held = c.held[n:]
		return n, nil
	}
	all, err := c.Conn.Read(p)
	n = c.handOut(p[:all])
	if n == all {
		return n, err
	}
	c.held = append(c.held[:0], p[n:all]...)
	clear(p[n:all])
	return n, nil // an error comes again
}

// handOut returns how many of the bytes net/http may get now.
func (c *conn) handOut(data []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chunked {
		return len(data)
	}
	n := int(min(c.body, int64(len(data))))
	c.body -= int64(n)
	for n < len(data) {
		size, empty := c.head.line(data[n:])
		n += size
		if empty {
			break
		}
	}
	return n
}

// line takes what is there of the current line, and says whether that ends an empty
// one.
func (h *head) line(data []byte) (size int, empty bool) {
	for i := 0; i < len(data) && !h.named; i++ {
		switch b := data[i]; {
		case b == '\n':
			empty = len(h.name) == 0 || len(h.name) == 1 && h.name[0] == '\r'
			h.name = h.name[:0]
			return i + 1, empty
		case b == ':':
			h.encoding = h.encoding || bytes.EqualFold(h.name, transferEncoding)
			h.length = h.length || bytes.EqualFold(h.name, contentLength)
			h.named = true
		case (b == ' ' || b == '\t') && len(h.name) == 0:
		default:
			h.name = append(h.name, b)
			h.named = len(h.name) > len(transferEncoding)
		}
	}
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		return len(data), false
	}
	h.name, h.named = h.name[:0], false
	return end + 1, false
}

// CloseWrite is how net/http sees to it that a client reads the last answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the connection below, as that of a tls.Conn does.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) framing() *conn { return c }

type contextKey struct{}

// Context is for http.Server.ConnContext.
func Context(ctx context.Context, c net.Conn) context.Context {
	if f, ok := c.(interface{ framing() *conn }); ok {
		return context.WithValue(ctx, contextKey{}, f.framing())
	}
	return ctx
}

// Without returns a context for requests that a handler makes itself, and that did
// not come on the connection of ctx. Begin returns false for them.
func Without(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextKey{}, nil)
}

// Begin says whether a request has both Transfer-Encoding and Content-Length. Call
// it once for each request, before its body is read. It returns false for requests
// whose connections are not of this package, such as those of HTTP/2.
//
// If a proxy in front may take another place for the end of the request, Begin makes
// the answer the last one of the connection: what follows may be a request that the
// proxy has not seen as one (RFC 9112, section 6.1). That is so for all requests with
// Transfer-Encoding, and for those of HTTP/1.0, which does not have it.
func Begin(w http.ResponseWriter, r *http.Request) (both bool) {
	if c, ok := r.Context().Value(contextKey{}).(*conn); ok {
		both = c.begin(r.ContentLength)
	}
	if both || r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
		w.Header().Set("Connection", "close")
	}
	return both
}

// begin returns whether the head has both names, and forgets them: the next size
// bytes are a body, and then another head follows. A negative size is that of a body
// in chunks. What follows that is refused as if it had both names.
func (c *conn) begin(size int64) (both bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	both = c.head.encoding && c.head.length || c.chunked
	c.head.encoding, c.head.length = false, false
	c.body, c.chunked = max(size, 0), c.chunked || size < 0
	return both
}
