package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"secretstore/acl"
	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/store"
)

const (
	// storageTime is how long a request waits for the storage, so that one
	// that hangs is a 503 within five seconds. Values beyond largeValue get
	// more, at so many bytes a second.
	storageTime = 4500 * time.Millisecond
	largeValue  = 1 << 20
	writeRate   = 2 << 20
	readRate    = 16 << 20
)

// readContext bounds a read, of which nobody knows how large it will be; it
// ends when the client goes.
func (s *Server) readContext(c *call) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.r.Context(), storageAllowance(s.store.MaxSecretSize(), readRate))
}

// writeContext bounds a write. It does not end when the client goes: the write
// may be on its way, and the audit line should tell how it ended.
func (s *Server) writeContext(c *call, size int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.r.Context()), storageAllowance(int64(size), writeRate))
}

func storageAllowance(size, rate int64) time.Duration {
	extra := float64(max(0, size-largeValue)) / float64(rate)
	return storageTime + time.Duration(extra*float64(time.Second))
}

// note remembers what a change did to the store.
func (c *call) note(err error, effect string) {
	switch {
	case err == nil, errors.Is(err, seal.ErrSealNotRecorded):
		c.effect = effect
	case errors.Is(err, store.ErrOutcomeUnknown):
		c.effect = "a write was sent whose outcome is unknown"
	}
}

// consistency is Latest for a client that says Cache-Control: no-cache.
func consistency(h http.Header) store.Consistency {
	for _, v := range h["Cache-Control"] {
		for directive := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-cache") {
				return store.Latest
			}
		}
	}
	return store.Cached
}

func (s *Server) readSecret(c *call) (reply, error) { return s.answerSecret(c, s.store.Get) }

// answerSecret answers with what get reads, in the form that the client takes
// and under the conditions that it names.
func (s *Server) answerSecret(c *call, get func(context.Context, acl.Path, store.Consistency) (seal.Secret, error)) (reply, error) {
	given, err := parseConditions(c.r.Header)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := s.readContext(c)
	defer cancel()
	how := consistency(c.r.Header)
	secret, err := get(ctx, c.path, how)
	if err != nil {
		return reply{}, err
	}
	form, err := negotiate(secret.Kind, c.r.Header["Accept"])
	if err != nil {
		return reply{}, err
	}
	switch {
	case given.match.given && !given.match.strong(secret.ID):
		return reply{}, seal.ErrChanged
	case given.noneMatch.given && given.noneMatch.weak(secret.ID):
		return reply{status: http.StatusNotModified, etag: etagOf(secret.ID), age: secret.Age}, nil
	}
	return secretReply(&secret, form)
}

// secretReply is the answer that holds a secret.
func secretReply(secret *seal.Secret, form string) (reply, error) {
	rep := reply{status: http.StatusOK, contentType: form, etag: etagOf(secret.ID), body: secret.Value, age: secret.Age}
	if form != wire.TypeJSON {
		return rep, nil
	}
	// Room for the value and its metadata; a value full of escapes grows.
	buf := make([]byte, 0, len(secret.Value)+len(secret.Value)/8+len(secret.Description)+192)
	body, err := appendSecret(buf, secret)
	rep.body = body
	return rep, err
}

func (s *Server) createSecret(c *call) (reply, error) {
	// If-None-Match is what a create always asks for.
	if len(c.r.Header["If-Match"]) > 0 {
		return reply{}, &problem{status: http.StatusPreconditionFailed, text: textPutIf}
	}
	return s.writeSecret(c, s.store.Create, http.StatusCreated, "the secret was created")
}

func (s *Server) updateSecret(c *call) (reply, error) {
	return s.writeSecret(c, s.store.Update, http.StatusNoContent, "the secret was changed")
}

func (s *Server) writeSecret(c *call, write func(context.Context, acl.Path, seal.Change) (string, error), status int, effect string) (reply, error) {
	given, err := parseConditions(c.r.Header)
	if err != nil {
		return reply{}, err
	}
	change, release, err := s.readChange(c)
	if err != nil {
		return reply{}, err
	}
	defer release()
	change.Author, change.If = c.principal.UID, given.permit()
	if err := s.auditable(); err != nil {
		return reply{}, err
	}
	ctx, cancel := s.writeContext(c, len(change.Value))
	defer cancel()
	id, err := write(ctx, c.path, change)
	c.note(err, effect)
	if err != nil {
		return reply{}, err
	}
	return written(status, id)
}

// readChange reads the body of a create or an update.
func (s *Server) readChange(c *call) (change seal.Change, release func(), err error) {
	form, err := contentType(c.r.Header)
	if err != nil {
		return seal.Change{}, nil, err
	}
	limit := s.store.MaxSecretSize()
	if form == wire.TypeJSON {
		limit = jsonFactor*limit + jsonSlack
	}
	body, release, err := s.readBody(c, limit, textTooLarge)
	if err != nil {
		return seal.Change{}, nil, err
	}
	if form == wire.TypeBinary {
		return seal.Change{Kind: seal.Binary, Value: body}, release, nil
	}
	change, err = parseSecret(body)
	if err == nil && int64(len(change.Value)) > s.store.MaxSecretSize() {
		err = seal.ErrTooLarge
	}
	if err != nil {
		release()
		return seal.Change{}, nil, err
	}
	return change, release, nil
}

// noLeases answers the calls of leases, which no client uses.
func (s *Server) noLeases(*call) (reply, error) {
	return reply{}, &problem{status: http.StatusNotImplemented,
		text: "leases are not supported: secrets do not expire; change one with PATCH or remove it with DELETE"}
}
