package api

import (
	"context"

	"secretstore/acl"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
)

const (
	textBadInit   = `the body must be a JSON object {"shares":1,"threshold":1,"pgp_keys":["..."]}`
	textBadUnseal = `the body must be a JSON object, either {"key":"..."} with one share or {"reset":true} to forget those that were entered`
	textNoKey     = `the body must be a JSON object {"key":"..."}`
)

// stores answers the requests about the store as a whole: its state, its init,
// its seal, its servers.
type stores struct {
	store       *seal.Store
	policy      func() *acl.Policy
	driver      string
	development bool
	warnings    func() []string                           // may be nil
	nodes       func(context.Context) (wire.Nodes, error) // may be nil
}

func (h *stores) show(context.Context, *exchange) (wire.Backend, error) {
	st := h.store.Status()
	if st.State == seal.StateUnknown {
		return wire.Backend{}, stateError(st)
	}
	return wire.Backend{
		Name: defaultStore, Description: "Default secret store", Driver: h.driver,
		Initialized: st.Initialized(), Sealed: st.Sealed(), UUID: st.UUID, Development: h.development,
	}, nil
}

func (h *stores) list(ctx context.Context, x *exchange) (wire.Backends, error) {
	b, err := h.show(ctx, x)
	return wire.Backends{Array: []wire.Backend{b}}, err
}

func (h *stores) sealStatus(_ context.Context, x *exchange) (wire.SealStatus, error) {
	st := h.store.Status()
	if st.State == seal.StateUnknown {
		return wire.SealStatus{}, stateError(st)
	}
	return h.sealStatusOf(x, st), nil
}

// sealStatusOf is the answer of all that shows or changes the seal. Only
// superusers get the warnings: these can name files and records.
func (h *stores) sealStatusOf(x *exchange, st seal.Status) wire.SealStatus {
	doc := wire.SealStatus{Sealed: st.Sealed(), Threshold: st.Threshold, Shares: st.Shares, Progress: st.Progress, UUID: st.UUID}
	if !h.policy().Decide(x.who.principal, acl.Request{Op: acl.Administer}).Allowed {
		return doc
	}
	if st.State == seal.StateDamaged {
		doc.Warnings = append(doc.Warnings, "the storage is damaged: "+st.Detail)
	}
	if h.warnings != nil {
		doc.Warnings = append(doc.Warnings, h.warnings()...)
	}
	return doc
}

func (h *stores) showInit(ctx context.Context, _ *exchange) (wire.InitInfo, error) {
	info, err := h.store.InitInfo(ctx)
	return wire.InitInfo{Initialized: info.Initialized, Keys: notNil(info.Keys), Fingerprints: notNil(info.Fingerprints)}, err
}

func (h *stores) init(ctx context.Context, x *exchange, req wire.InitRequest) (wire.InitResult, error) {
	info, err := h.store.Init(ctx, seal.InitParams{
		Shares: req.Shares, Threshold: req.Threshold, PGPKeys: req.PGPKeys, Replace: req.Replace, By: x.who.principal.UID,
	})
	return wire.InitResult{Keys: notNil(info.Keys), Fingerprints: notNil(info.Fingerprints)}, err
}

func (h *stores) unseal(ctx context.Context, x *exchange, req wire.UnsealRequest) (wire.SealStatus, error) {
	if req.Reset == (req.Key != nil) {
		return wire.SealStatus{}, problem.BadRequest(textBadUnseal)
	}
	if req.Reset {
		st, err := h.store.ResetUnseal(ctx)
		return h.sealStatusOf(x, st), err
	}
	st, err := h.store.Unseal(ctx, *req.Key)
	return h.sealStatusOf(x, st), err
}

func (h *stores) autoUnseal(ctx context.Context, x *exchange, req wire.KeyRequest) (wire.SealStatus, error) {
	st, err := h.store.AutoUnseal(ctx, req.Key)
	return h.sealStatusOf(x, st), err
}

func (h *stores) seal(ctx context.Context, x *exchange, _ none) (wire.SealStatus, error) {
	st, err := h.store.Seal(ctx)
	return h.sealStatusOf(x, st), err
}

// showNodes passes on what the servers announce. It works while the store is
// sealed: that is when an operator wants to know which servers there are.
func (h *stores) showNodes(ctx context.Context, _ *exchange) (doc wire.Nodes, err error) {
	if h.nodes != nil {
		doc, err = h.nodes(ctx)
	}
	if doc.Array == nil {
		doc.Array = []wire.Node{}
	}
	return doc, err
}

// notNil makes an empty array of what would be null.
func notNil(all []string) []string {
	if all == nil {
		return []string{}
	}
	return all
}
