package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/semaphore"

	"secretstore/api/wire"
)

const (
	// jsonFactor is how many bytes of JSON one byte of value may take:
	// \u0000 is the longest spelling.
	jsonFactor = 6
	// jsonSlack is room for the names, description, labels and what else
	// clients send along.
	jsonSlack = 256 << 10
	// keysBody bounds the bodies that hold OpenPGP keys: 32 of them at 256 KiB on
	// average, which is far more than any honest one has.
	keysBody = 8 << 20
	// smallBody bounds the bodies of all other requests; the largest honest
	// one holds an encrypted unseal key.
	smallBody = 1 << 20
	// bodyBudget bounds the bytes of all bodies that are in memory at once, and
	// beside them those of all errands (see errand.go), without the small ones.
	bodyBudget = 512 << 20
	smallPart  = 64 << 10
	// bodyWait is how long a request waits for its part of the budget.
	bodyWait = 4 * time.Second
	// bodyMinRate is the slowest upload, in bytes a second, beyond bodyGrace.
	bodyMinRate = 32 << 10
	bodyGrace   = 15 * time.Second
)

const (
	textBodyBroken = "the body ended early or could not be read: send it again"
	textBusy       = "too many large requests at once: try again later"
	textNoKey      = `the body must be a JSON object {"key":"..."}`
	textBadUnseal  = `the body must be a JSON object, either {"key":"..."} with one share or {"reset":true} to forget those that were entered`
	textBadInit    = `the body must be a JSON object {"shares":1,"threshold":1,"pgp_keys":["..."]}`
	textBadRekey   = `the body must be a JSON object {"shares":1,"threshold":1,"pgp_keys":["..."],"current":["..."],"rotate":false}, the last two where needed`
	textBadVerify  = `the body must be a JSON object {"nonce":"...","key":"..."}: the nonce of the rekey, and one share of the new key`
	textBadCancel  = `name the rekey with its nonce: the body {"nonce":"..."} or the query parameter nonce, once`
	textType       = "unsupported Content-Type: send text as application/json and bytes as application/octet-stream"
	textEncoding   = "unsupported Content-Encoding: send the body as it is"
)

// bodies reads request bodies within one budget of memory. Answers have another:
// who reads them slowly must not keep others from writing.
type bodies struct {
	budget, answers *semaphore.Weighted
}

func newBodies(largest int64) *bodies {
	size := max(bodyBudget, 2*largest)
	return &bodies{semaphore.NewWeighted(size), semaphore.NewWeighted(size)}
}

// read returns the whole body of at most limit bytes. The caller calls release
// when it needs the body, and what it made of it, no more.
func (b *bodies) read(c *call, limit int64, tooLarge string) (body []byte, release func(), err error) {
	size := c.r.ContentLength
	switch {
	case size > limit:
		return nil, nil, &problem{status: http.StatusRequestEntityTooLarge, text: tooLarge}
	case size == 0:
		return []byte{}, func() {}, nil
	case size < 0:
		size = limit // chunked: it may become as large
	}
	if size <= smallPart {
		// Less than its connection costs: an unseal does not wait for large values.
		body, err = readAll(c, size, limit, tooLarge)
		return body, func() {}, err
	}
	wait, cancel := context.WithTimeout(c.r.Context(), bodyWait)
	defer cancel()
	if b.budget.Acquire(wait, size) != nil {
		return nil, nil, &problem{status: http.StatusServiceUnavailable, text: textBusy, retry: true}
	}
	body, err = readAll(c, size, limit, tooLarge)
	if err != nil {
		b.budget.Release(size)
		return nil, nil, err
	}
	return body, func() { b.budget.Release(size) }, nil
}

// readBody is bodies.read, after which is asked again what was asked before it: a
// client that takes its time with the body gets nothing that it may not have any
// more.
func (s *Server) readBody(c *call, limit int64, tooLarge string) (body []byte, release func(), err error) {
	body, release, err = s.bodies.read(c, limit, tooLarge)
	if err != nil || c.r.ContentLength == 0 {
		return body, release, err
	}
	if err = s.authenticate(c); err == nil && c.ep.subject == nil {
		err = s.authorize(c)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return body, release, nil
}

// reserve takes a part of the budget for an answer that small requests could
// make large, and for what it is made of. It is given back when the answer has
// been sent.
func (b *bodies) reserve(c *call, size int64) error {
	wait, cancel := context.WithTimeout(c.r.Context(), bodyWait)
	defer cancel()
	if b.answers.Acquire(wait, size) != nil {
		return &problem{status: http.StatusServiceUnavailable, text: textBusy, retry: true}
	}
	c.reserved = size
	c.sent = func() { b.answers.Release(c.reserved) }
	return nil
}

// shrink gives back what of the reserved part is not needed any more.
func (b *bodies) shrink(c *call, size int64) {
	if over := c.reserved - size; over > 0 {
		b.answers.Release(over)
		c.reserved = size
	}
}

// readAll reads under a deadline, so that a client that trickles its body does
// not hold its part of the budget for ever.
func readAll(c *call, size, limit int64, tooLarge string) ([]byte, error) {
	ctl := http.NewResponseController(c.w)
	limited := false
	if size > 64<<10 || c.r.ContentLength < 0 {
		allowed := bodyGrace + time.Duration(size/bodyMinRate)*time.Second
		limited = ctl.SetReadDeadline(time.Now().Add(allowed)) == nil
	}
	from := http.MaxBytesReader(c.w, c.r.Body, limit)
	var err error
	var buf []byte
	if n := c.r.ContentLength; n >= 0 && n <= 1<<20 {
		buf = make([]byte, n)
		_, err = io.ReadFull(from, buf)
	} else {
		// What a client announces is not allocated before it has sent it.
		var grow bytes.Buffer
		grow.Grow(64 << 10)
		_, err = grow.ReadFrom(from)
		buf = grow.Bytes()
	}
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, &problem{status: http.StatusRequestEntityTooLarge, text: tooLarge}
	case err != nil:
		c.cut = true
		return nil, badRequest(textBodyBroken)
	}
	if limited {
		ctl.SetReadDeadline(time.Time{}) // the connection serves further requests; after an error it must not wait for the rest
	}
	return buf, nil
}

// readJSON decodes a body of at most limit bytes into T, as strictly as
// parseSecret and as lenient towards members that it does not know. Without a
// body it returns the zero T, and an error if one is required.
func readJSON[T any](s *Server, c *call, limit int64, required bool, otherwise string) (T, error) {
	var zero, v T
	body, release, err := s.readBody(c, limit, "the body is too large")
	if err != nil {
		return zero, err
	}
	defer release()
	if len(body) == 0 && !required {
		return zero, nil
	}
	// A small body of very many tiny members would cost many times its size.
	bounded := &boundedDecoder{Decoder: jsontext.NewDecoder(bytes.NewBuffer(body))}
	if bounded.skip() != nil {
		return zero, badRequest(otherwise)
	}
	// The error is dropped: it may quote the key that was sent.
	if json.Unmarshal(body, &v) != nil {
		return zero, badRequest(otherwise)
	}
	return v, nil
}

// contentType returns whether the body of a PUT or PATCH is a JSON document or
// raw bytes. Parameters do not matter: clients send charset in several forms.
func contentType(h http.Header) (string, error) {
	for _, coding := range h["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return "", badRequest(textEncoding)
		}
	}
	types := h["Content-Type"]
	if len(types) > 1 {
		return "", badRequest(textType)
	}
	if len(types) == 0 || types[0] == "" || types[0] == wire.TypeJSON {
		return wire.TypeJSON, nil
	}
	name, _, _ := strings.Cut(types[0], ";")
	switch strings.ToLower(strings.TrimSpace(name)) {
	case wire.TypeJSON:
		return wire.TypeJSON, nil
	case wire.TypeBinary:
		return wire.TypeBinary, nil
	}
	return "", badRequest(textType)
}
