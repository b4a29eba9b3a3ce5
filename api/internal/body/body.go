package body

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"secretstore/api/internal/problem"
)

const (
	// minRate is the slowest upload, in bytes a second, after grace.
	minRate = 32 << 10
	grace   = 15 * time.Second
	// announced is the largest body for which memory is allocated before it has
	// been sent, in bytes.
	announced = 1 << 20
	// skipped bounds a body that is not needed, in bytes.
	skipped = 1 << 20
)

const textBroken = "the body ended early or could not be read: send it again"

// Body is the body of one request. It belongs to the goroutine that serves it.
type Body struct {
	w http.ResponseWriter // for deadlines
	r *http.Request
	// broken: it could not be read to its end.
	broken bool
}

// Of returns the body of a request.
func Of(w http.ResponseWriter, r *http.Request) *Body { return &Body{w: w, r: r} }

// Limit is the size of the largest body of an endpoint, in bytes.
type Limit struct {
	Bytes    int64
	TooLarge string // the text of the 413
}

// Read returns the whole body. The caller calls release when it needs neither
// the body nor what it made of it.
func (b *Budget) Read(body *Body, limit Limit) (content []byte, release func(), err error) {
	size := body.r.ContentLength
	switch {
	case size > limit.Bytes:
		return nil, nil, problem.TooLarge(limit.TooLarge)
	case size == 0:
		return []byte{}, func() {}, nil
	case size < 0:
		size = limit.Bytes // chunked: it may become as large
	}
	if size <= Small {
		content, err = body.read(size, limit)
		return content, func() {}, err
	}
	if err := acquire(body.r.Context(), b.bodies, size); err != nil {
		return nil, nil, err
	}
	release = func() { b.bodies.Release(size) }
	content, err = body.read(size, limit)
	if err != nil {
		release()
		return nil, nil, err
	}
	return content, release, nil
}

// read reads under a deadline, so that a client that trickles its body does not
// hold its part of the budget for ever.
func (b *Body) read(size int64, limit Limit) ([]byte, error) {
	ctl := http.NewResponseController(b.w)
	limited := false
	if size > Small || b.r.ContentLength < 0 {
		allowed := grace + time.Duration(size/minRate)*time.Second
		limited = ctl.SetReadDeadline(time.Now().Add(allowed)) == nil
	}
	from := http.MaxBytesReader(b.w, b.r.Body, limit.Bytes)
	var err error
	var buf []byte
	if n := b.r.ContentLength; n >= 0 && n <= announced {
		buf = make([]byte, n)
		_, err = io.ReadFull(from, buf)
	} else {
		var grow bytes.Buffer
		grow.Grow(Small)
		_, err = grow.ReadFrom(from)
		buf = grow.Bytes()
	}
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, problem.TooLarge(limit.TooLarge)
	case err != nil:
		b.broken = true
		return nil, problem.BadRequest(textBroken)
	}
	if limited {
		ctl.SetReadDeadline(time.Time{}) // the connection serves further requests; after an error it must not wait for the rest
	}
	return buf, nil
}

// Skip reads and drops a body that the endpoint does not need, while there
// still is a deadline for it: net/http reads the rest of a body before it sends
// an answer, and would wait for ever once LiftDeadlines was called.
func (b *Body) Skip() error {
	switch n, err := io.CopyN(io.Discard, b.r.Body, skipped+1); {
	case n > skipped:
		return problem.TooLarge("the body is too large: a watch needs none")
	case !errors.Is(err, io.EOF):
		b.broken = true
		return problem.BadRequest(textBroken)
	}
	return nil
}
