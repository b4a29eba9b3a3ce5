package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/wire"
)

// reply is a complete answer, unless it has more. Nothing of it is sent before
// it is whole. The zero reply is an internal error.
type reply struct {
	status      int
	contentType string
	etag        string // with its quotes; "" is none
	body        []byte
	// more returns what follows the body, piece by piece, and nil at the end. It
	// is for answers that do not fit into memory. Nil for all others.
	more func() ([]byte, error)
	// age is how long ago the storage last stood behind the answer.
	age     time.Duration
	problem *problem // nil for a success
	broken  bool     // it could not be sent to its end
	// stream, if not nil, follows the head of the answer.
	stream *stream
}

// empty is a success without a body: clients parse whatever a 201 holds.
func empty(status int) (reply, error) { return reply{status: status}, nil }

// written is the answer to a write that left the value id.
func written(status int, id string) (reply, error) {
	return reply{status: status, etag: etagOf(id)}, nil
}

// asJSON is a success with a small document.
func asJSON(v any) (reply, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return reply{}, fmt.Errorf("encode the answer: %w", err)
	}
	return reply{status: http.StatusOK, contentType: wire.TypeJSON, body: body}, nil
}

func plain(text string) (reply, error) {
	return reply{status: http.StatusOK, contentType: "text/plain; charset=utf-8", body: []byte(text)}, nil
}

// replyTo gives an error the form that all errors have.
func replyTo(p *problem) reply {
	doc := wire.Error{Title: title(p.status), Description: p.text}
	body, err := json.Marshal(doc)
	if err != nil {
		body = []byte(`{"title":"500 Internal Server Error","description":"internal error"}`) // unreachable: constant texts
	}
	return reply{status: p.status, contentType: wire.TypeJSON, body: body, problem: p}
}

func title(status int) string { return strconv.Itoa(status) + " " + http.StatusText(status) }

// writeMinRate is the slowest download of a large answer, in bytes a second,
// beyond writeGrace.
const (
	writeMinRate = 32 << 10
	writeGrace   = 15 * time.Second
	largeAnswer  = 64 << 10
)

// send writes the answer.
func (s *Server) send(c *call, rep *reply) {
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(wire.RequestIDHeader, c.id)
	if rep.contentType != "" {
		h.Set("Content-Type", rep.contentType)
	}
	if rep.etag != "" {
		h.Set("ETag", rep.etag)
	}
	// A 204 has no Content-Length (RFC 9110, 8.6), and a 304 none but that of the
	// body which it spares; everything else whose length is known has one, for
	// pooled clients are confused by empty chunked bodies.
	if rep.status != http.StatusNoContent && rep.status != http.StatusNotModified && rep.more == nil && rep.stream == nil {
		h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	}
	if rep.age > 0 {
		h.Set("Age", strconv.FormatInt(int64((rep.age+time.Second-1)/time.Second), 10))
	}
	if p := rep.problem; p != nil {
		if p.status == http.StatusUnauthorized {
			h.Set("WWW-Authenticate", "acsjwt")
		}
		if p.retry {
			h.Set("Retry-After", "2")
		}
		if p.allow != "" {
			h.Set("Allow", p.allow)
		}
	}
	switch {
	case rep.stream != nil:
		s.runStream(c, rep.stream)
		return
	case rep.more != nil:
		s.sendPieces(c, rep)
		return
	case len(rep.body) >= largeAnswer, c.waits:
		s.sendLarge(c, rep)
		return
	}
	c.w.WriteHeader(rep.status)
	if len(rep.body) > 0 && c.r.Method != http.MethodHead {
		c.w.Write(rep.body) // an error means that the client has gone
	}
}

// sendLarge writes under a deadline: an answer that the kernel's buffers do
// not hold must not be kept in memory for a client that does not read. (One that
// has waited has no deadline any more that would do for a small one.)
func (s *Server) sendLarge(c *call, rep *reply) {
	ctl := http.NewResponseController(c.w)
	allowed := writeGrace + time.Duration(len(rep.body)/writeMinRate)*time.Second
	limited := ctl.SetWriteDeadline(time.Now().Add(allowed)) == nil
	c.w.WriteHeader(rep.status)
	if c.r.Method != http.MethodHead {
		c.w.Write(rep.body)
	}
	if limited && ctl.Flush() == nil {
		ctl.SetWriteDeadline(time.Time{}) // the connection serves further requests
	}
}

// sendPieces sends an answer while it is made. If it does not come to its end,
// rep is marked as broken: the connection has to end, so that nobody takes for
// whole what is not.
func (s *Server) sendPieces(c *call, rep *reply) {
	c.w.WriteHeader(rep.status)
	if c.r.Method == http.MethodHead {
		return
	}
	ctl := http.NewResponseController(c.w)
	for piece := rep.body; piece != nil; {
		allowed := writeGrace + time.Duration(len(piece)/writeMinRate)*time.Second
		_ = ctl.SetWriteDeadline(time.Now().Add(allowed))
		if _, err := c.w.Write(piece); err != nil {
			rep.broken = true // the client has gone
			return
		}
		var err error
		if piece, err = rep.more(); err != nil {
			*rep = replyTo(c.problemOf(err))
			rep.broken = true
			return
		}
	}
	if ctl.Flush() == nil {
		_ = ctl.SetWriteDeadline(time.Time{}) // the connection serves further requests
	}
}
