package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"secretstore/acl"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/batch"
	"secretstore/api/internal/body"
	"secretstore/api/internal/head"
	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
)

// definitionBody bounds the body that holds definitions, in bytes.
const definitionBody = 1 << 20

const textDefinitionType = "unsupported Content-Type: send definitions as application/json (with curl: -H 'Content-Type: application/json')"

// batches answers the requests about all secrets of a definition.
type batches struct {
	store  *seal.Store
	policy func() *acl.Policy
	budget *body.Budget
}

// bodyOfDefinitions refuses all bodies that are not JSON; curl -d calls its own
// a form.
func bodyOfDefinitions(r *request) (body.Limit, error) {
	form, err := head.ContentType(r.Header)
	var refused *problem.Problem
	if err == nil && form != wire.TypeJSON || errors.As(err, &refused) && refused.Text == head.BadType {
		return body.Limit{}, problem.BadRequest(textDefinitionType)
	}
	return body.Limit{Bytes: definitionBody, TooLarge: "the body is too large: send fewer definitions at once"}, err
}

// resolve answers with all secrets that the tasks of the definitions need, or
// with none.
func (h *batches) resolve(x *exchange) (answer.Reply, error) {
	var doc []byte
	age, err := h.read(x, func(ctx context.Context, b *batch.Batch, from *batch.Source) (age time.Duration, err error) {
		doc, age, err = b.Resolve(ctx, from)
		return age, err
	})
	return answer.Reply{Status: http.StatusOK, ContentType: wire.TypeJSON, Body: doc, Values: true, Age: age}, err
}

// check answers with everything that would keep the tasks of the definitions
// from their secrets, and with what looks like a mistake.
func (h *batches) check(x *exchange) (answer.Reply, error) {
	doc := wire.Findings{}
	age, err := h.read(x, func(ctx context.Context, b *batch.Batch, from *batch.Source) (age time.Duration, err error) {
		doc.Findings, age, err = b.Check(ctx, from)
		return age, err
	})
	if err != nil {
		return answer.Reply{}, err
	}
	rep, err := answer.JSON(doc)
	rep.Age = age
	return rep, err
}

// read has the batch of a request read, after all decisions about it.
func (h *batches) read(x *exchange, read func(context.Context, *batch.Batch, *batch.Source) (time.Duration, error)) (time.Duration, error) {
	b, err := batch.Parse(x.content)
	x.releaseBody()
	if err != nil {
		return 0, err
	}
	of, decision := b.Authorize(h.policy(), x.who.principal)
	x.out.reads = b.Reads
	if of != nil {
		x.who.asked.Service, x.who.asked.HasService, x.who.decision = *of, true, decision
		if !decision.Allowed {
			return 0, forbidden(decision)
		}
	}
	from := &batch.Source{Store: h.store, Consistency: head.Consistency(x.req.Header), Budget: h.budget, Principal: pool.Of(x.who.principal)}
	x.out.atEnd(from.Release)
	x.out.atEnd(b.Clear)
	ctx, cancel := context.WithTimeout(x.req.Context(), storageAllowance(from.Limit(), readRate))
	defer cancel()
	return read(ctx, b, from)
}
