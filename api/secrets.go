package api

import (
	"context"
	"net/http"

	"secretstore/acl"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/body"
	"secretstore/api/internal/head"
	"secretstore/api/internal/jsondoc"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
)

const textPutIf = "PUT creates secrets that do not exist yet, so no If-Match can hold: replace the value of an existing one with PATCH"

// secrets answers the requests about one secret, and the lists of names.
type secrets struct {
	store  *seal.Store
	gate   *gate
	change *changer
	budget *body.Budget
}

func (h *secrets) read(x *exchange) (answer.Reply, error) { return h.answer(x, 0) }

// answer answers with a version of a secret, 0 for the current one, in the form
// that the client accepts and under its conditions.
func (h *secrets) answer(x *exchange, version uint64) (answer.Reply, error) {
	given, err := head.ParseConditions(x.req.Header)
	if err != nil {
		return answer.Reply{}, err
	}
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	memory := memoryFor(x, h.budget)
	admit := func(size int64) error { return memory.await(ctx, size) }
	secret, err := h.store.Read(ctx, x.req.path, head.Consistency(x.req.Header), seal.ReadOptions{Version: version, Admit: admit})
	if err != nil {
		return answer.Reply{}, err
	}
	form, err := head.Negotiate(secret.Kind, x.req.Header)
	switch {
	case err != nil:
		return answer.Reply{}, err
	case given.Changed(secret.ID):
		return answer.Reply{}, seal.ErrChanged
	case given.Known(secret.ID):
		return answer.Reply{Status: http.StatusNotModified, ETag: head.ETag(secret.ID), Age: secret.Age}, nil
	}
	rep, err := secretReply(&secret, form)
	if err != nil {
		return answer.Reply{}, err
	}
	return rep, memory.await(ctx, sizeOf(&secret, &rep))
}

// sizeOf is the memory that an answer with a secret takes, in bytes.
func sizeOf(secret *seal.Secret, rep *answer.Reply) int64 {
	if rep.ContentType == wire.TypeJSON {
		return int64(len(secret.Value) + len(rep.Body))
	}
	return int64(len(rep.Body)) // it is the value
}

// secretReply is the answer with a secret.
func secretReply(secret *seal.Secret, form string) (rep answer.Reply, err error) {
	rep = answer.Reply{Status: http.StatusOK, ContentType: form, ETag: head.ETag(secret.ID), Body: secret.Value, Values: true, Age: secret.Age}
	if form == wire.TypeJSON {
		rep.Body, err = jsondoc.Secret(secret)
		clear(secret.Value)
	}
	return rep, err
}

const (
	// jsonFactor is how many bytes of JSON one byte of a value may take: \u0000
	// is the longest spelling.
	jsonFactor = 6
	// jsonSlack is room for the names, description, labels and other members
	// that clients send, in bytes.
	jsonSlack = 256 << 10
)

// largestBody is the size of the largest body that a client may send, in bytes.
func largestBody(s *seal.Store) int64 { return jsonFactor*s.MaxSecretSize() + jsonSlack }

// largestAnswer is the memory that the largest answer with one secret takes: the
// value and the JSON of it.
func largestAnswer(s *seal.Store) int64 { return s.MaxSecretSize() + largestBody(s) }

func (h *secrets) bodyOfCreate(r *request) (body.Limit, error) {
	// If-None-Match is what a create always demands.
	if len(r.Header["If-Match"]) > 0 {
		return body.Limit{}, &problem.Problem{Status: http.StatusPreconditionFailed, Text: textPutIf}
	}
	return h.bodyOfWrite(r)
}

func (h *secrets) bodyOfWrite(r *request) (limit body.Limit, err error) {
	if r.conditions, err = head.ParseConditions(r.Header); err != nil {
		return limit, err
	}
	if r.form, err = head.ContentType(r.Header); err != nil {
		return limit, err
	}
	limit = body.Limit{Bytes: h.store.MaxSecretSize(), TooLarge: problem.SecretTooLarge}
	if r.form == wire.TypeJSON {
		limit.Bytes = largestBody(h.store)
	}
	return limit, nil
}

func (h *secrets) create(x *exchange) (answer.Reply, error) {
	return h.write(x, h.store.Create, http.StatusCreated)
}

func (h *secrets) update(x *exchange) (answer.Reply, error) {
	return h.write(x, h.store.Update, http.StatusNoContent)
}

func (h *secrets) write(x *exchange, write func(context.Context, acl.Path, seal.Change) (seal.Written, error), status int) (answer.Reply, error) {
	change, err := h.changeOf(x)
	if err != nil {
		return answer.Reply{}, err
	}
	defer clear(change.Value)
	change.Author, change.If = x.who.principal.UID, x.req.conditions.Match()
	var written seal.Written
	err = h.change.do(x, len(change.Value), func(ctx context.Context) (err error) {
		written, err = write(ctx, x.req.path, change)
		return err
	})
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.Written(status, written)
}

// changeOf reads the body of a create or an update. The body stays in the
// budget: the change holds the value until it is written.
func (h *secrets) changeOf(x *exchange) (seal.Change, error) {
	if x.req.form == wire.TypeBinary {
		return seal.Change{Kind: seal.Binary, Value: x.content}, nil
	}
	change, err := jsondoc.ParseSecret(x.content)
	if err == nil && int64(len(change.Value)) > h.store.MaxSecretSize() {
		err = seal.ErrTooLarge
	}
	return change, err
}

func (h *secrets) delete(x *exchange) (answer.Reply, error) {
	return h.remove(x, h.store.Delete)
}

// purge removes a secret, deleted or not, so that nothing is left of it.
func (h *secrets) purge(x *exchange) (answer.Reply, error) { return h.remove(x, h.store.Purge) }

// remove does what a DELETE asks for, under its conditions.
func (h *secrets) remove(x *exchange, remove func(context.Context, acl.Path, seal.Match) error) (answer.Reply, error) {
	given, err := head.ParseConditions(x.req.Header)
	if err != nil {
		return answer.Reply{}, err
	}
	err = h.change.do(x, 0, func(ctx context.Context) error { return remove(ctx, x.req.path, given.Match()) })
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.Empty(http.StatusNoContent)
}

// undelete brings back a deleted secret as it was.
func (h *secrets) undelete(x *exchange) (answer.Reply, error) {
	var written seal.Written
	err := h.change.do(x, 0, func(ctx context.Context) (err error) {
		written, err = h.store.Undelete(ctx, x.req.path)
		return err
	})
	if err != nil {
		return answer.Reply{}, problem.InsteadOfNotFound(err, problem.NoDeleted)
	}
	return answer.Written(http.StatusNoContent, written)
}
