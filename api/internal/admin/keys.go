package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"secretstore/api/internal/answer"
	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/seal/pgp"
	"secretstore/seal/shares"
)

// The texts of the 400 for a malformed document.
const (
	BadRekey   = `the body must be a JSON object {"shares":1,"threshold":1,"pgp_keys":["..."],"current":["..."],"rotate":false,"leave_out":false}, the last three where needed`
	BadApprove = `the body must be a JSON object {"nonce":"...","key":"..."}: the nonce of the rekey, and one share of the present key`
	BadVerify  = `the body must be a JSON object {"nonce":"...","key":"..."}: the nonce of the rekey, and one share of the new key`
	BadCancel  = `name the rekey with its nonce: the body {"nonce":"..."} or the query parameter nonce, once`
)

const (
	textBadCurrent  = "wrong current share: decrypt the entries of keys of GET /secrets/v1/init/default and send what gpg prints in current; no rekey was started"
	textBadApproval = "wrong current share: decrypt your own entry of the keys of GET /secrets/v1/init/default and send what gpg prints"
	textBadNewShare = "wrong unseal key: send a share of the new key, decrypted from your own entry of the keys of GET /secrets/v1/rekey/default; the key in force stays"
	textForgedRekey = "the record of the rekey was not written by this store, or is damaged: remove it with DELETE /secrets/v1/rekey/default?nonce= and start again"
)

// Keys answers the requests about the keys: rekey, rotation, holders.
type Keys struct{ Store *seal.Store }

// ShowRekey answers with a wire.Rekey, or a wire.NoRekey.
func (h *Keys) ShowRekey(ctx context.Context, _ Caller) (any, error) {
	info, err := h.Store.RekeyStatus(ctx)
	if err != nil {
		return nil, forgedRekey(err)
	}
	if !info.Active {
		return wire.NoRekey{}, nil
	}
	return rekeyOf(info), nil
}

func rekeyOf(info seal.RekeyInfo) wire.Rekey {
	return wire.Rekey{
		Nonce: info.Nonce, Shares: info.Shares, Threshold: info.Threshold, Keys: notNil(info.Keys), Fingerprints: notNil(info.Fingerprints),
		Rotate: info.Rotate, Started: timeOf(info.Started), Progress: info.Progress, Active: info.Active,
		Phase: phaseOf(info), Approvals: info.Approvals, ApprovalsRequired: info.Required, Holders: namesOf(info.Holders), Missing: namesOf(info.Missing),
		Entered: namesOf(info.Entered), EnteredUntil: timeOf(info.EnteredUntil),
		Recipients: recipientsOf(info.Peers).Recipients, LeftOut: recipientsOf(info.Peers).LeftOut,
	}
}

func phaseOf(info seal.RekeyInfo) string {
	switch {
	case !info.Active:
		return "done"
	case info.Approved:
		return "verification"
	}
	return "approval"
}

func namesOf(all []seal.Holder) []wire.HolderName {
	names := make([]wire.HolderName, 0, len(all))
	for _, h := range all {
		names = append(names, wire.HolderName{Fingerprint: h.Fingerprint, UserID: h.UserID})
	}
	return names
}

// ShowRecipients answers with the live servers, by whether a new root key would
// reach them.
func (h *Keys) ShowRecipients(ctx context.Context, _ Caller) (wire.Recipients, error) {
	peers, err := h.Store.Peers(ctx)
	return recipientsOf(peers), err
}

func recipientsOf(p seal.Peers) wire.Recipients {
	return wire.Recipients{Recipients: peersOf(p.Recipients), LeftOut: peersOf(p.LeftOut), Sealed: peersOf(p.Sealed)}
}

func peersOf(peers []seal.Peer) []wire.Peer {
	all := make([]wire.Peer, 0, len(peers))
	for _, p := range peers {
		all = append(all, wire.Peer{ID: p.ID, Name: p.Name, Self: p.Self, Problem: p.Problem})
	}
	return all
}

// StartRekey starts a rekey.
func (h *Keys) StartRekey(ctx context.Context, _ Caller, req wire.RekeyRequest) (wire.Rekey, error) {
	current := texts(req.Current)
	defer func() {
		for _, share := range current {
			clear(share)
		}
	}()
	if err := oneKeyEach(req.PGPKeys); err != nil {
		return wire.Rekey{}, err
	}
	info, err := h.Store.StartRekey(ctx, seal.RekeyParams{
		InitParams: seal.InitParams{Shares: req.Shares, Threshold: req.Threshold, PGPKeys: req.PGPKeys},
		Current:    current, Rotate: req.Rotate, LeaveOut: req.LeaveOut,
	})
	return rekeyOf(info), wrongShare(err, textBadCurrent)
}

// oneKeyEach refuses new holders with the same key: one person would have several
// shares. Stores of earlier releases may have such holders. The store reports keys
// that cannot be read.
func oneKeyEach(keys []string) error {
	first := make(map[string]int)
	for i, text := range keys[:min(len(keys), shares.Max)] {
		key, err := pgp.Describe(text, time.Now())
		if err != nil {
			continue
		}
		if n, twice := first[key.Fingerprint]; twice {
			return problem.BadRequest(fmt.Sprintf("keys %d and %d of pgp_keys are the same, %s: one person would have two shares", n, i+1, key.Fingerprint))
		}
		first[key.Fingerprint] = i + 1
	}
	return nil
}

func texts(all []wire.Share) (out [][]byte) {
	for _, s := range all {
		out = append(out, s)
	}
	return out
}

// ApproveRekey takes one share of the present unseal key.
func (h *Keys) ApproveRekey(ctx context.Context, _ Caller, req wire.RekeyShare) (wire.Rekey, error) {
	defer clear(req.Key)
	if req.Nonce == "" || len(req.Key) == 0 {
		return wire.Rekey{}, problem.BadRequest(BadApprove)
	}
	info, err := h.Store.ApproveRekey(ctx, req.Nonce, req.Key)
	return rekeyOf(info), forgedRekey(wrongShare(err, textBadApproval))
}

// VerifyRekey takes one share of the new unseal key.
func (h *Keys) VerifyRekey(ctx context.Context, _ Caller, req wire.RekeyShare) (wire.Rekey, error) {
	defer clear(req.Key)
	if req.Nonce == "" || len(req.Key) == 0 {
		return wire.Rekey{}, problem.BadRequest(BadVerify)
	}
	info, err := h.Store.VerifyRekey(ctx, req.Nonce, req.Key)
	return rekeyOf(info), wrongShare(err, textBadNewShare)
}

// CancelRekey cancels the rekey that a nonce names.
func (h *Keys) CancelRekey(ctx context.Context, who Caller, req wire.RekeyCancel) (answer.None, error) {
	nonce, err := nonceToCancel(req, who.Nonce)
	if err != nil {
		return answer.None{}, err
	}
	return answer.None{}, forgedRekey(h.Store.CancelRekey(ctx, nonce))
}

// nonceToCancel returns the nonce in the body or in the query. It must be given
// once, even if it is empty.
func nonceToCancel(req wire.RekeyCancel, inQuery head.Param) (string, error) {
	switch times := inQuery.Times; {
	case req.Nonce != nil && times == 0:
		return *req.Nonce, nil
	case req.Nonce == nil && times == 1:
		return inQuery.Value, nil
	}
	return "", problem.BadRequest(BadCancel)
}

// wrongShare gives a wrong share the text of a rekey.
func wrongShare(err error, text string) error {
	if errors.Is(err, seal.ErrWrongKey) {
		return &problem.Problem{Status: http.StatusBadRequest, Text: text, Cause: err}
	}
	return err
}

// forgedRekey says how to get rid of a record that does not authenticate.
// Anybody that can write to the storage may have put it there.
func forgedRekey(err error) error {
	if errors.Is(err, seal.ErrCorrupt) {
		return &problem.Problem{Status: http.StatusInternalServerError, Text: textForgedRekey, Failed: true, Cause: err}
	}
	return err
}

// ShowRotation returns how far the rotation has come.
func (h *Keys) ShowRotation(ctx context.Context, _ Caller) (wire.Rotation, error) {
	info, err := h.Store.RotationStatus(ctx)
	return rotationOf(info), err
}

// Rotate adds a data key.
func (h *Keys) Rotate(ctx context.Context, _ Caller, _ answer.None) (wire.Rotation, error) {
	info, err := h.Store.Rotate(ctx)
	return rotationOf(info), err
}

func rotationOf(info seal.RotationInfo) wire.Rotation {
	return wire.Rotation{Term: info.Term, Total: info.Total, Done: info.Done, Counting: info.Counting, State: info.State, Reason: info.Reason,
		Terms: info.Terms, Damaged: info.Damaged, DamagedRecord: info.DamagedRecord}
}

// addSkipped adds the damaged records that this server knows, and the one that a
// rotation on another server has named.
func addSkipped(doc *wire.Keys, report seal.KeysReport) {
	doc.Foreign = report.Skipped.Foreign
	for _, record := range report.Skipped.First {
		doc.DamagedRecords = append(doc.DamagedRecords, wire.DamagedRecord{Record: record.Key, Reason: record.Reason()})
	}
	doc.Damaged, doc.DamagedRecord = report.Rotation.Damaged, report.Rotation.DamagedRecord
	if n := int64(report.Skipped.Damaged); n > 0 {
		doc.Damaged, doc.DamagedRecord = max(doc.Damaged, n), doc.DamagedRecords[0].Record
	}
}

// Show answers with the state of all keys. It works while the store is sealed,
// though less is known then.
func (h *Keys) Show(ctx context.Context, _ Caller) (wire.Keys, error) {
	report, err := h.Store.Keys(ctx)
	if err != nil {
		return wire.Keys{}, forgedRekey(err)
	}
	doc := wire.Keys{
		Holders: make([]wire.KeyHolder, 0, len(report.Holders)), Shares: report.Shares, Threshold: report.Threshold,
		BootstrapKeyHeld: report.HoldsBootstrapKey, RekeyUnderWay: report.RekeyUnderWay,
		// An unsealed store has at least one data key.
		Sealed: report.Terms == 0, Terms: report.Terms, OldRecords: max(0, report.OldRecords),
		ConfigWarning: report.ConfigWarning,
		Counting:      report.Rotation.Counting, RotationState: report.Rotation.State, RotationReason: report.Rotation.Reason,
	}
	addSkipped(&doc, report)
	now := time.Now()
	for _, holder := range report.Holders {
		doc.Holders = append(doc.Holders, wire.KeyHolder{
			Fingerprint: holder.Fingerprint, UserID: holder.UserID, Algorithm: holder.Algorithm,
			Expires: answer.Time(holder.Expires), Warning: holder.ExpiryWarning(now), Problem: holder.Problem,
		})
	}
	return doc, nil
}
