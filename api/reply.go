package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
)

// reply is a complete answer, unless more or stream follows. Nothing of it is
// sent before it is whole. The zero reply is an internal error.
type reply struct {
	status      int
	contentType string
	etag        string // with its quotes; "" is none
	body        []byte
	// more returns what follows the body, piece by piece, and nil at the end; for
	// answers that do not fit into memory. Nil for all others.
	more func() ([]byte, error)
	// stream, if not nil, sends what follows the head, until the stream ends.
	stream func()
	// age is how long ago the storage last confirmed the answer.
	age     time.Duration
	problem *problem.Problem // nil for a success
	broken  bool             // it could not be sent to its end
}

// empty is a success without a body: clients parse whatever a 201 holds.
func empty(status int) (reply, error) { return reply{status: status}, nil }

// written is the answer to a write that left the value id.
func written(status int, id string) (reply, error) {
	return reply{status: status, etag: head.ETag(id)}, nil
}

// asJSON is a success with a small document, or a 204 for none.
func asJSON(v any) (reply, error) {
	if v == any(none{}) {
		return empty(http.StatusNoContent)
	}
	body, err := json.Marshal(v)
	if err != nil {
		return reply{}, fmt.Errorf("encode the answer: %w", err)
	}
	return reply{status: http.StatusOK, contentType: wire.TypeJSON, body: body}, nil
}

func plain(text string) (reply, error) {
	return reply{status: http.StatusOK, contentType: "text/plain; charset=utf-8", body: []byte(text)}, nil
}

// replyTo is the answer for a problem.
func replyTo(p *problem.Problem) reply {
	doc := wire.Error{Title: title(p.Status), Description: p.Text}
	body, err := json.Marshal(doc)
	if err != nil {
		body = []byte(`{"title":"500 Internal Server Error","description":"internal error"}`) // unreachable: constant texts
	}
	return reply{status: p.Status, contentType: wire.TypeJSON, body: body, problem: p}
}

func title(status int) string { return strconv.Itoa(status) + " " + http.StatusText(status) }

const (
	// writeMinRate is the slowest download of a large answer, in bytes a second,
	// after writeGrace.
	writeMinRate = 32 << 10
	writeGrace   = 15 * time.Second
	// largeAnswer is larger than the kernel's buffers may hold, in bytes.
	largeAnswer = 64 << 10
)

// send sends the answer.
func send(x *exchange, rep *reply) {
	setHeader(x.w.Header(), x.req.id, rep)
	switch {
	case rep.stream != nil:
		rep.stream()
		return
	case rep.more != nil:
		sendPieces(x, rep)
		return
	case len(rep.body) >= largeAnswer, x.out.noDeadline:
		sendLarge(x, rep)
		return
	}
	x.w.WriteHeader(rep.status)
	if len(rep.body) > 0 && x.req.Method != http.MethodHead {
		x.w.Write(rep.body) // an error means that the client has left
	}
}

func setHeader(h http.Header, id string, rep *reply) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(wire.RequestIDHeader, id)
	if rep.contentType != "" {
		h.Set("Content-Type", rep.contentType)
	}
	if rep.etag != "" {
		h.Set("ETag", rep.etag)
	}
	// A 204 has no Content-Length (RFC 9110, 8.6), and a 304 could only have that of
	// the body which it saves. All other answers of a known length have one: empty
	// chunked bodies confuse clients with connection pools.
	if rep.status != http.StatusNoContent && rep.status != http.StatusNotModified && rep.more == nil && rep.stream == nil {
		h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	}
	if rep.age > 0 {
		h.Set("Age", strconv.FormatInt(int64((rep.age+time.Second-1)/time.Second), 10))
	}
	if p := rep.problem; p != nil {
		if p.Status == http.StatusUnauthorized {
			h.Set("WWW-Authenticate", "acsjwt")
		}
		if p.Retry {
			h.Set("Retry-After", "2")
		}
		if p.Allow != "" {
			h.Set("Allow", p.Allow)
		}
	}
}

// sendLarge sends an answer under a deadline: one that the kernel's buffers do
// not hold must not be kept in memory for a client that does not read. (After a
// wait, a small one needs a deadline too: the connection has none any more.)
func sendLarge(x *exchange, rep *reply) {
	ctl := http.NewResponseController(x.w)
	allowed := writeGrace + time.Duration(len(rep.body)/writeMinRate)*time.Second
	limited := ctl.SetWriteDeadline(time.Now().Add(allowed)) == nil
	x.w.WriteHeader(rep.status)
	if x.req.Method != http.MethodHead {
		x.w.Write(rep.body)
	}
	if limited && ctl.Flush() == nil {
		ctl.SetWriteDeadline(time.Time{}) // the connection serves further requests
	}
}

// sendPieces sends an answer while it is made. If that fails, rep is marked as
// broken: the connection has to end, so that no client takes half an answer for
// the whole.
func sendPieces(x *exchange, rep *reply) {
	x.w.WriteHeader(rep.status)
	if x.req.Method == http.MethodHead {
		return
	}
	ctl := http.NewResponseController(x.w)
	for piece := rep.body; piece != nil; {
		allowed := writeGrace + time.Duration(len(piece)/writeMinRate)*time.Second
		_ = ctl.SetWriteDeadline(time.Now().Add(allowed))
		if _, err := x.w.Write(piece); err != nil {
			rep.broken = true // the client has left
			return
		}
		var err error
		if piece, err = rep.more(); err != nil {
			*rep = replyTo(x.req.problemOf(err))
			rep.broken = true
			return
		}
	}
	if ctl.Flush() == nil {
		_ = ctl.SetWriteDeadline(time.Time{}) // the connection serves further requests
	}
}
