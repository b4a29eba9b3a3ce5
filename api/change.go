package api

import (
	"context"

	"secretstore/api/internal/admin"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/body"
	"secretstore/api/internal/jsondoc"
	"secretstore/seal"
)

// changer makes changes to the store. All changes that a client asks for go
// through it.
type changer struct{ audit *auditor }

// do makes a change of size bytes: it refuses it while the audit log cannot be
// written, bounds its time, and notes its effect.
//
// Sealing is the emergency brake: it works without an audit log, and its answer
// then says so.
func (c *changer) do(x *exchange, size int, change func(context.Context) error) error {
	if !x.req.ep.brake {
		if err := c.audit.ready(); err != nil {
			return err
		}
	}
	ctx, cancel := writeContext(x, size)
	defer cancel()
	err := change(ctx)
	x.out.note(err, x.req.ep.effect)
	return err
}

// administer returns the run of an endpoint for administrators that changes the
// store: it decodes the body into Req, makes the change, and answers with Resp.
func administer[Req, Resp any](c *changer, change func(context.Context, admin.Caller, Req) (Resp, error)) func(*exchange) (answer.Reply, error) {
	return func(x *exchange) (answer.Reply, error) {
		req, err := decode[Req](x)
		if err != nil {
			return answer.Reply{}, err
		}
		var resp Resp
		err = c.do(x, 0, func(ctx context.Context) (err error) {
			resp, err = change(ctx, callerOf(x), req)
			return err
		})
		if err != nil {
			return answer.Reply{}, err
		}
		return answer.JSON(resp)
	}
}

func callerOf(x *exchange) admin.Caller {
	return admin.Caller{Principal: x.who.principal, Nonce: x.req.query.Nonce}
}

// show returns the run of an endpoint that reads something and answers with it.
func show[Resp any](from *seal.Store, read func(context.Context, admin.Caller) (Resp, error)) func(*exchange) (answer.Reply, error) {
	return func(x *exchange) (answer.Reply, error) {
		ctx, cancel := readContext(x, from)
		defer cancel()
		resp, err := read(ctx, callerOf(x))
		if err != nil {
			return answer.Reply{}, err
		}
		return answer.JSON(resp)
	}
}

const (
	// keysBody bounds the bodies that hold OpenPGP keys, in bytes: 32 of them
	// at 256 KiB on average, far more than any honest one has.
	keysBody = 8 << 20
	// smallBody bounds other JSON bodies; the largest honest one holds an
	// encrypted unseal key.
	smallBody = 1 << 20
)

// document returns the body of an endpoint that takes a JSON document of at
// most limit bytes.
func document(limit int64) func(*request) (body.Limit, error) {
	return func(*request) (body.Limit, error) {
		return body.Limit{Bytes: limit, TooLarge: "the body is too large"}, nil
	}
}

// decode decodes the body of a request, and releases it: T holds no part of it.
// If there is none, and the endpoint takes none or does not need it, decode
// returns the zero T.
func decode[T any](x *exchange) (T, error) {
	defer x.releaseBody()
	if len(x.content) == 0 && (x.req.ep.body == nil || x.req.ep.optional) {
		var zero T
		return zero, nil
	}
	return jsondoc.Decode[T](x.content, x.req.ep.malformed)
}
