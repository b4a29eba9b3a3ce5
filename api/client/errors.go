package client

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"secretstore/api/wire"
)

// The errors that callers branch on, with errors.Is.
var (
	ErrNotFound      = errors.New("not found")                             // 404
	ErrExists        = errors.New("already exists")                        // 409
	ErrDenied        = errors.New("permission denied")                     // 403
	ErrUnauthorized  = errors.New("no valid token")                        // 401
	ErrBadRequest    = errors.New("bad request")                           // 400
	ErrTooLarge      = errors.New("too large")                             // 413
	ErrChanged       = errors.New("changed meanwhile")                     // 412
	ErrNotModified   = errors.New("not modified")                          // 304
	ErrUnresolvable  = errors.New("secrets not accessible")                // 422
	ErrBusy          = errors.New("too many at once")                      // 429
	ErrUnavailable   = errors.New("unavailable")                           // 503, whatever the reason
	ErrSealed        = errors.New("the store is sealed")                   // 503; also ErrUnavailable
	ErrUninitialized = errors.New("the store has no keys")                 // 503; also ErrUnavailable
	ErrCreatingKey   = errors.New("the key of the store is being created") // 503; also ErrUninitialized
	ErrUnknown       = errors.New("outcome of write unknown")              // 503; also a change whose answer was lost
)

// ErrIncomplete comes with the result of a List from which damaged records of
// the storage are missing. They may be those of secrets in the list.
var ErrIncomplete = errors.New("the list is incomplete: damaged records of the storage are skipped")

// Error is an answer that is not a success.
type Error struct {
	Status      int    // HTTP status code
	Title       string // "404 Not Found"
	Description string // what to do next, in the server's words
	Code        string // of the identities: ERR_UNKNOWN_USER_ID and others
	// RetryAfter is how long the server asks the client to wait; 0 if it does
	// not.
	RetryAfter time.Duration
	RequestID  string        // of the request in the server's log and audit log
	age        time.Duration // of a 304: as in Secret
	own        bool          // it came from a secret store, not from a proxy or another server
}

func (e *Error) Error() string {
	if e.Description == "" {
		return e.Title
	}
	return e.Title + ": " + e.Description
}

// Is matches the errors above. The reasons of a 503 differ only in their texts,
// which are part of the API.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNotFound:
		// A web server or proxy at the wrong address has 404s, too. A caller that
		// creates what is missing must not act on them.
		return e.Status == http.StatusNotFound && e.own
	case ErrExists:
		return e.Status == http.StatusConflict
	case ErrDenied:
		return e.Status == http.StatusForbidden
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized
	case ErrBadRequest:
		return e.Status == http.StatusBadRequest
	case ErrChanged:
		return e.Status == http.StatusPreconditionFailed
	case ErrNotModified:
		return e.Status == http.StatusNotModified
	case ErrTooLarge:
		return e.Status == http.StatusRequestEntityTooLarge
	case ErrUnresolvable:
		return e.Status == http.StatusUnprocessableEntity
	case ErrBusy:
		return e.Status == http.StatusTooManyRequests
	case ErrUnavailable:
		return e.Status == http.StatusServiceUnavailable
	case ErrSealed:
		return e.says("the secret store is sealed")
	case ErrUninitialized:
		return e.says("not initialized")
	case ErrCreatingKey:
		return e.says("not initialized yet")
	case ErrUnknown:
		return e.says("outcome unknown")
	}
	return false
}

func (e *Error) says(words string) bool {
	return e.Status == http.StatusServiceUnavailable && strings.Contains(e.Description, words)
}

func readError(res *http.Response) *Error {
	e := &Error{Status: res.StatusCode, Title: printable(res.Status), RequestID: res.Header.Get(wire.RequestIDHeader)}
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 && n < 3600 {
		e.RetryAfter = time.Duration(n) * time.Second
	}
	if e.Status == http.StatusNotModified {
		e.age = ageOf(res.Header)
		return e // has no body
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxError)) // a part is better than nothing
	var doc wire.Error
	if json.Unmarshal(body, &doc) == nil && doc.Title != "" {
		e.own = true
		e.Title, e.Description, e.Code = printable(doc.Title), printable(doc.Description), printable(doc.Code)
		return e
	}
	// Not from the secret store but from a proxy before it, or from another
	// server.
	e.Description = "the answer is not from a secret store: is this its address?"
	return e
}

// errorOf returns the error that a store has described where it could no longer send
// a status: the title begins with that. It is nil if the title does not.
func errorOf(doc wire.Error) *Error {
	code, _, _ := strings.Cut(doc.Title, " ")
	status, err := strconv.Atoi(code)
	if err != nil {
		return nil
	}
	return &Error{Status: status, Title: printable(doc.Title), Description: printable(doc.Description), Code: printable(doc.Code), own: true}
}

// printable drops control characters, which could control a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
