// Package admin answers the requests about the store as a whole: its state, its
// init, its seal, its keys, its servers.
//
// Each function turns a request document of package wire into an answer
// document. Package api decodes, authorizes, audits and bounds them.
package admin

import (
	"context"
	"fmt"
	"time"

	"secretstore/acl"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
)

// DefaultStore is the name of the only store.
const DefaultStore = "default"

// The texts of the 400 for a malformed document.
const (
	BadInit       = `the body must be a JSON object {"shares":1,"threshold":1,"pgp_keys":["..."]}`
	BadUnseal     = `the body must be a JSON object, either {"key":"..."} with one share or {"reset":true} to forget those that were entered`
	BadAutoUnseal = `the body must be a JSON object {"key":"..."}`
)

// Stores answers the requests about the state of the store, its init, its seal
// and its servers.
type Stores struct {
	Store       *seal.Store
	Policy      func() *acl.Policy
	Driver      string
	Development bool
	// Report returns what the API knows about its server; the functions here add
	// what the store knows. Nil: nothing.
	Report func() Report
	Nodes  func(context.Context) (wire.Nodes, error) // may be nil
}

// Report is what is wrong with a server although it answers, and more about it.
type Report struct {
	wire.ServerReport
	// Warnings are about what is not a fault.
	Warnings []string
}

// Caller is what the functions may know about the request besides its document.
type Caller struct {
	Principal acl.Principal
	// Nonce is the query parameter of that name.
	Nonce head.Param
}

// Show describes the store.
func (h *Stores) Show(context.Context, Caller) (wire.Backend, error) {
	st := h.Store.Status()
	if st.State == seal.StateUnknown {
		return wire.Backend{}, problem.State(st)
	}
	return wire.Backend{
		Name: DefaultStore, Description: "Default secret store", Driver: h.Driver,
		Initialized: st.Initialized(), Sealed: st.Sealed(), UUID: st.UUID, Development: h.Development,
	}, nil
}

// List describes all stores.
func (h *Stores) List(ctx context.Context, who Caller) (wire.Backends, error) {
	b, err := h.Show(ctx, who)
	return wire.Backends{Array: []wire.Backend{b}}, err
}

// SealStatus returns the seal status.
func (h *Stores) SealStatus(ctx context.Context, who Caller) (wire.SealStatus, error) {
	st := h.Store.Status()
	if st.State == seal.StateUnknown {
		return wire.SealStatus{}, problem.State(st)
	}
	return h.sealStatusOf(ctx, who, st), nil
}

// sealStatusOf is the answer of all that shows or changes the seal. Only
// superusers get the warnings: these can name files and records.
func (h *Stores) sealStatusOf(ctx context.Context, who Caller, st seal.Status) wire.SealStatus {
	doc := wire.SealStatus{Sealed: st.Sealed(), Threshold: st.Threshold, Shares: st.Shares, Progress: st.Progress, UUID: st.UUID,
		CreatingBootstrapKey: st.CreatingKey}
	if !h.Policy().Decide(who.Principal, acl.Request{Op: acl.Administer}).Allowed {
		return doc
	}
	if st.State == seal.StateDamaged {
		doc.Warnings = append(doc.Warnings, "the storage is damaged: "+st.Detail)
	}
	if st.SealWarning != "" {
		doc.Warnings = append(doc.Warnings, st.SealWarning)
	}
	if st.ConfigWarning != "" {
		doc.Warnings = append(doc.Warnings, st.ConfigWarning)
	}
	if st.RestoreWarning != "" {
		doc.Warnings = append(doc.Warnings, st.RestoreWarning)
	}
	if st.ModeWarning != "" {
		doc.Warnings = append(doc.Warnings, st.ModeWarning)
	}
	var about Report
	if h.Report != nil {
		about = h.Report()
	}
	about.State, about.Since = st.State.String(), timeOf(st.Since)
	about.SealedBy, about.SealedAt, about.AutoUnseal = st.SealedBy, timeOf(st.SealedAt), st.HoldsBootstrapKey
	about.Restored = timeOf(st.Restored)
	if about.Storage != wire.StorageUp {
		about.StorageSince = timeOf(st.Outage)
	}
	about.SecurityMode = h.Store.SecurityMode().String()
	if st.ModeProblem != "" {
		about.Faults = append([]wire.Fault{{Kind: wire.FaultMode, Text: st.ModeProblem}}, about.Faults...)
	}
	if st.RestoreProblem != "" {
		about.Faults = append([]wire.Fault{{Kind: wire.FaultRestore, Text: st.RestoreProblem}}, about.Faults...)
	}
	damaged, stuck := h.skipped(ctx)
	if stuck != "" {
		about.Faults = append([]wire.Fault{{Kind: wire.FaultRotation, Text: stuck}}, about.Faults...)
	}
	doc.Warnings = append(doc.Warnings, damaged...)
	for _, fault := range about.Faults {
		doc.Warnings = append(doc.Warnings, fault.Text)
	}
	doc.Warnings = append(doc.Warnings, about.Warnings...)
	doc.Server = &about.ServerReport
	return doc
}

// timeOf is t on the wire: in UTC, to the second; zero stays zero.
func timeOf(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// rotationTime bounds the question whether a rotation is stuck.
const rotationTime = 2 * time.Second

// skipped returns what is wrong with single records, and with a rotation.
func (h *Stores) skipped(ctx context.Context) (damaged []string, stuck string) {
	if h.Store.Status().State != seal.StateUnsealed {
		return nil, ""
	}
	if f := h.Store.Damage(); f.Damaged > 0 {
		first := f.First[0]
		damaged = append(damaged, fmt.Sprintf("%d damaged record(s) are skipped; lists may be incomplete: restore or remove them; one is %s: %s",
			f.Damaged, first.Key, first.Reason()))
	}
	ctx, cancel := context.WithTimeout(ctx, rotationTime)
	defer cancel()
	if reason := h.Store.StuckReason(ctx); reason != "" {
		stuck = "the rotation of the data key is stuck: " + reason
	}
	return damaged, stuck
}

// ShowMode returns the security mode of the server.
func (h *Stores) ShowMode(context.Context, Caller) (wire.BootstrapConfig, error) {
	return wire.BootstrapConfig{Security: h.Store.SecurityMode().String()}, nil
}

// ShowInit returns the encrypted unseal keys.
func (h *Stores) ShowInit(ctx context.Context, _ Caller) (wire.InitInfo, error) {
	info, err := h.Store.InitInfo(ctx)
	return wire.InitInfo{Initialized: info.Initialized, Keys: notNil(info.Keys), Fingerprints: notNil(info.Fingerprints)}, err
}

// Init makes the keys of an empty store.
func (h *Stores) Init(ctx context.Context, who Caller, req wire.InitRequest) (wire.InitResult, error) {
	if err := oneKeyEach(req.PGPKeys); err != nil {
		return wire.InitResult{}, err
	}
	info, err := h.Store.Init(ctx, seal.InitParams{
		Shares: req.Shares, Threshold: req.Threshold, PGPKeys: req.PGPKeys, Replace: req.Replace, By: who.Principal.UID,
	})
	return wire.InitResult{Keys: notNil(info.Keys), Fingerprints: notNil(info.Fingerprints)}, err
}

// Unseal takes one share of the unseal key, or forgets the shares entered so
// far.
func (h *Stores) Unseal(ctx context.Context, who Caller, req wire.UnsealRequest) (wire.SealStatus, error) {
	defer clear(req.Key)
	if req.Reset == (req.Key != nil) {
		return wire.SealStatus{}, problem.BadRequest(BadUnseal)
	}
	if req.Reset {
		st, err := h.Store.ResetUnseal(ctx)
		return h.sealStatusOf(ctx, who, st), err
	}
	st, err := h.Store.Unseal(ctx, req.Key)
	return h.sealStatusOf(ctx, who, st), err
}

// AutoUnseal unseals with the bootstrap key.
func (h *Stores) AutoUnseal(ctx context.Context, who Caller, req wire.KeyRequest) (wire.SealStatus, error) {
	st, err := h.Store.AutoUnseal(ctx, req.Key)
	return h.sealStatusOf(ctx, who, st), err
}

// Seal seals the store.
func (h *Stores) Seal(ctx context.Context, who Caller, _ answer.None) (wire.SealStatus, error) {
	st, err := h.Store.Seal(ctx, who.Principal.UID)
	return h.sealStatusOf(ctx, who, st), err
}

// ShowNodes passes on what the servers announce. It works while the store is
// sealed: that is when an operator wants to know which servers there are.
func (h *Stores) ShowNodes(ctx context.Context, _ Caller) (doc wire.Nodes, err error) {
	if h.Nodes != nil {
		doc, err = h.Nodes(ctx)
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
