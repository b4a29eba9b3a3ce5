package body

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"secretstore/api/internal/pool"
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

// Read returns the whole body. Before, it claims the announced size, or the
// largest one, in the share of the principal, or in the memory for strangers. The
// caller calls release when it needs neither the body nor what it made of it.
func (b *Budget) Read(body *Body, who pool.Principal, limit Limit) (content []byte, release func(), err error) {
	size := body.r.ContentLength
	switch {
	case size > limit.Bytes:
		return nil, nil, problem.TooLarge(limit.TooLarge)
	case size == 0:
		return []byte{}, func() {}, nil
	case size < 0:
		size = limit.Bytes // chunked: it may become as large
	}
	if who.IsStranger() {
		return b.strangers.read(body, size, limit)
	}
	if size <= Small {
		content, err = body.read(size, limit, nil)
		return content, func() {}, err
	}
	part, err := take(body.r.Context(), b.bodies, who, size)
	if err != nil {
		return nil, nil, err
	}
	content, err = body.read(size, limit, nil)
	if err != nil {
		part.Release()
		return nil, nil, err
	}
	return content, part.Release, nil
}

// read reads at a minimum rate, so that a client that trickles its body does not
// hold its part of the budget. check, if not nil, is called before each part is read,
// and ends the reading with its error.
func (b *Body) read(size int64, limit Limit, check func() error) ([]byte, error) {
	var from io.Reader = http.MaxBytesReader(b.w, b.r.Body, limit.Bytes)
	pace := &pacedReader{from: from, deadlines: http.NewResponseController(b.w), began: time.Now(), check: check}
	if size > Small || b.r.ContentLength < 0 || check != nil {
		from = pace
	}
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
	if pace.limited {
		pace.deadlines.SetReadDeadline(time.Time{}) // the connection serves further requests; after an error it must not wait for the rest
	}
	return buf, nil
}

// pacedReader demands minRate of a body after grace: what has arrived pays for
// the time until more has to arrive.
type pacedReader struct {
	from      io.Reader
	deadlines *http.ResponseController
	began     time.Time
	check     func() error // may be nil
	got       int64
	limited   bool
}

func (r *pacedReader) Read(p []byte) (int, error) {
	allowed := grace + time.Duration(r.got)*time.Second/minRate
	if r.deadlines.SetReadDeadline(r.began.Add(allowed)) == nil {
		r.limited = true
	}
	if r.check != nil {
		if err := r.check(); err != nil {
			return 0, err
		}
	}
	n, err := r.from.Read(p)
	r.got += int64(n)
	return n, err
}

// Skip reads and drops a body that the endpoint does not need, while there
// still is a deadline for it: net/http reads the rest of a body before it sends
// an answer, and without a deadline it would wait forever.
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
