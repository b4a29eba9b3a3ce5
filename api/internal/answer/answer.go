// Package answer makes and sends answers.
//
// An answer is a value until it is complete: nothing of it is sent before its
// audit line is written.
package answer

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/internal/lastanswer"
	"secretstore/seal"
)

// Reply is a complete answer, unless More or Stream follows. The zero Reply is
// not one.
type Reply struct {
	Status      int
	ContentType string
	ETag        string   // with its quotes; "" is none
	Cookies     []string // values of Set-Cookie
	Location    string   // of a 303
	Policy      string   // the Content-Security-Policy of a page; "" is none
	Version     uint64   // of the value that was written; 0 is none
	Body        []byte
	// Values: the body holds values of secrets. It belongs to this answer, and is
	// cleared when that has been sent.
	Values bool
	// More returns what follows the body, piece by piece, and nil at the end;
	// for answers that do not fit into memory. Nil for all others.
	More func() ([]byte, error)
	// Sent, if not nil, is called once all that More has returned was sent.
	Sent func()
	// Stream, if not nil, sends what follows the head, until the stream ends.
	Stream func()
	// Age is how long ago the storage last confirmed the answer.
	Age     time.Duration
	Problem *problem.Problem // nil for a success
	// Broken: it could not be sent to its end. The connection has to end too.
	Broken bool
	// Slow: it is broken because the client read too slowly.
	Slow bool
}

// Clear overwrites the body if it holds values.
func (rep *Reply) Clear() {
	if rep.Values {
		clear(rep.Body)
	}
}

// Empty is a success without a body: clients parse whatever a 201 holds.
func Empty(status int) (Reply, error) { return Reply{Status: status}, nil }

// Written is the answer to a write that left the value w.
func Written(status int, w seal.Written) (Reply, error) {
	return Reply{Status: status, ETag: head.ETag(w.ID), Version: w.Version}, nil
}

// None is a document that is not there.
type None struct{}

// JSON is a success with a small document, or a 204 for None.
func JSON(v any) (Reply, error) {
	if v == any(None{}) {
		return Empty(http.StatusNoContent)
	}
	body, err := json.Marshal(v)
	if err != nil {
		return Reply{}, fmt.Errorf("encode the answer: %w", err)
	}
	return Reply{Status: http.StatusOK, ContentType: wire.TypeJSON, Body: body}, nil
}

// Plain is a success with a text.
func Plain(text string) (Reply, error) {
	return Reply{Status: http.StatusOK, ContentType: "text/plain; charset=utf-8", Body: []byte(text)}, nil
}

// Of is the answer for a problem.
func Of(p *problem.Problem) Reply {
	doc := wire.Error{Title: Title(p.Status), Description: p.Text, Code: p.Code}
	body, err := json.Marshal(doc)
	if err != nil {
		body = []byte(`{"title":"500 Internal Server Error","description":"internal error"}`) // unreachable: constant texts
	}
	return Reply{Status: p.Status, ContentType: wire.TypeJSON, Body: body, Problem: p}
}

// Title is the title of an error: its status in digits and words.
func Title(status int) string { return strconv.Itoa(status) + " " + http.StatusText(status) }

const (
	// writeMinRate is the slowest download of a large answer, in bytes a
	// second, after writeGrace.
	writeMinRate = 32 << 10
	writeGrace   = 15 * time.Second
	// largeAnswer is larger than the kernel's buffers may hold, in bytes.
	largeAnswer = 64 << 10
)

// Send sends the answer to r. A connection whose deadlines were lifted needs
// one for any answer. If the answer is sent while it is made, and that fails,
// Send changes rep to the failure and marks it as broken.
func Send(w http.ResponseWriter, r *http.Request, id string, noDeadline bool, rep *Reply) {
	setHeader(w.Header(), id, rep)
	switch {
	case rep.Stream != nil:
		rep.Stream()
		return
	case rep.More != nil:
		sendPieces(w, r, rep)
		return
	case len(rep.Body) >= largeAnswer, noDeadline:
		sendLarge(w, r, rep)
		return
	}
	w.WriteHeader(rep.Status)
	if len(rep.Body) > 0 && r.Method != http.MethodHead {
		w.Write(rep.Body) // an error means that the client has left
	}
}

// SendLast sends the answer to a request whose body holds shares of the unseal key, and
// ends the connection.
func SendLast(w http.ResponseWriter, r *http.Request, id string, rep *Reply) {
	setHeader(w.Header(), id, rep)
	lastanswer.Send(w, r, rep.Status, rep.Body)
}

func setHeader(h http.Header, id string, rep *Reply) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if rep.Policy != "" {
		h.Set("Content-Security-Policy", rep.Policy)
		h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	}
	if rep.Location != "" {
		h.Set("Location", rep.Location)
	}
	h.Set(wire.RequestIDHeader, id)
	if rep.ContentType != "" {
		h.Set("Content-Type", rep.ContentType)
	}
	if len(rep.Cookies) > 0 {
		h["Set-Cookie"] = rep.Cookies
	}
	if rep.ETag != "" {
		h.Set("ETag", rep.ETag)
	}
	if rep.Version != 0 {
		h.Set(wire.VersionHeader, strconv.FormatUint(rep.Version, 10))
	}
	// A 204 has no Content-Length (RFC 9110, 8.6), and a 304 could only have
	// that of the body which it saves. All other answers of a known length have
	// one: empty chunked bodies confuse clients with connection pools.
	if rep.Status != http.StatusNoContent && rep.Status != http.StatusNotModified && rep.More == nil && rep.Stream == nil {
		h.Set("Content-Length", strconv.Itoa(len(rep.Body)))
	}
	if rep.Age > 0 {
		h.Set("Age", seconds(rep.Age))
	}
	if p := rep.Problem; p != nil {
		if p.Status == http.StatusUnauthorized {
			h.Set("WWW-Authenticate", "acsjwt")
		}
		if p.Retry {
			h.Set("Retry-After", seconds(cmp.Or(p.RetryAfter, retryAfter)))
		}
		if p.Lacks != "" {
			h.Set(wire.RequiredPermissionHeader, p.Lacks)
		}
		if p.Allow != "" {
			h.Set("Allow", p.Allow)
		}
		if p.Location != "" {
			h.Set("Location", p.Location)
		}
	}
}

// retryAfter is how soon a client may try again, if nothing better is known.
const retryAfter = 2 * time.Second

// seconds is d in whole seconds, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// timeToRead is how long a client may take for n bytes.
func timeToRead(n int) time.Duration {
	return writeGrace + time.Duration(n/writeMinRate)*time.Second
}

// sendLarge sends an answer under a deadline: one that the kernel's buffers do
// not hold must not be kept in memory for a client that does not read.
func sendLarge(w http.ResponseWriter, r *http.Request, rep *Reply) {
	ctl := http.NewResponseController(w)
	limited := ctl.SetWriteDeadline(time.Now().Add(timeToRead(len(rep.Body)))) == nil
	w.WriteHeader(rep.Status)
	if r.Method != http.MethodHead {
		w.Write(rep.Body)
	}
	if limited && ctl.Flush() == nil {
		ctl.SetWriteDeadline(time.Time{}) // the connection serves further requests
	}
}

// sendPieces sends an answer while it is made. If that fails, rep is marked as
// broken: the connection has to end, so that no client takes half an answer for
// the whole. The client has to read each piece in time, and all of them together:
// what it makes the server hold for the answer, it holds for a time in proportion.
func sendPieces(w http.ResponseWriter, r *http.Request, rep *Reply) {
	w.WriteHeader(rep.Status)
	if r.Method == http.MethodHead {
		return
	}
	ctl := http.NewResponseController(w)
	sent, waited := 0, time.Duration(0) // waited is how long the client took so far
	for piece := rep.Body; piece != nil; {
		began := time.Now()
		sent += len(piece)
		_ = ctl.SetWriteDeadline(began.Add(min(timeToRead(len(piece)), timeToRead(sent)-waited)))
		if _, err := w.Write(piece); err != nil {
			rep.unsent(err)
			return
		}
		waited += time.Since(began)
		_ = ctl.SetWriteDeadline(time.Time{}) // over HTTP/2 it would end the answer while the next piece is made
		var err error
		piece, err = rep.More()
		_ = ctl.SetWriteDeadline(time.Now().Add(writeGrace))
		if err != nil {
			*rep = Of(problem.Of(err))
			rep.Broken = true
			_ = ctl.Flush() // what was written so far; the client may have left
			return
		}
	}
	if err := ctl.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		rep.unsent(err)
		return
	}
	_ = ctl.SetWriteDeadline(time.Time{}) // the connection serves further requests
	if rep.Sent != nil {
		rep.Sent()
	}
}

// unsent notes that the client has left, or reads too slowly.
func (rep *Reply) unsent(err error) {
	rep.Broken, rep.Slow = true, errors.Is(err, os.ErrDeadlineExceeded)
}

// Time is a time on the wire, to the second; null if it is not known.
func Time(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
