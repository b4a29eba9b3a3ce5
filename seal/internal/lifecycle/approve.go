package lifecycle

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/holders"
	"secretstore/store"
)

// If the unseal key has several holders, a superuser alone only proposes a
// rekey: the record has the public keys of the new holders, and nothing else
// follows from it. The present holders approve with their shares, each on their
// own, so that none of them ever has the shares of others. A server that has
// enough makes the new key and puts the record of the rekey in place of the
// proposal. Nobody can skip the approval by writing that record, because it
// has a MAC under the root key. Each server collects shares by itself.

// readProposal returns the proposal to replace the holders of cfg, and the
// version of the record. ErrNoRekey; ErrCorrupt, with the version.
func (m *Rekeys) readProposal(ctx context.Context, cfg *holders.Config) (*holders.Proposal, store.Version, error) {
	p, version, err := readRecord(ctx, m.machine, barrier.KeyProposal, holders.ParseProposal)
	if err == nil && !p.AppliesTo(cfg) {
		return nil, version, barrier.Corrupt(barrier.KeyProposal, errOldRekey)
	}
	return p, version, err
}

func (m *Rekeys) proposalInfo(p *holders.Proposal, cfg *holders.Config) RekeyInfo {
	approved, proposed := m.approving.Entered(p.Nonce), p.Describe()
	entered, missing := divide(cfg.Describe(), approved)
	info := RekeyInfo{Active: true, Nonce: p.Nonce, Shares: len(proposed), Threshold: p.Threshold, Rotate: p.Rotate, Started: p.Started,
		Holders: proposed, Approvals: len(approved), Required: cfg.Threshold,
		Entered: entered, Missing: missing, EnteredUntil: m.approving.Until(p.Nonce)}
	for _, h := range proposed {
		info.Fingerprints = append(info.Fingerprints, h.Fingerprint)
	}
	return info
}

// approvedAtOnce reports whether the shares of present holders in a request are
// enough, or none are needed. ErrWrongKey, ErrBadKey.
func (m *Rekeys) approvedAtOnce(s *snapshot, current [][]byte) (bool, error) {
	if s.config.Shares == 1 {
		return true, nil
	}
	var given holders.ShareCollector
	defer given.Reset()
	for _, share := range current {
		key, err := given.Add(&s.config.Holding, s.config.UUID, share)
		if err != nil {
			return false, err
		}
		if key != nil {
			defer key.Clear()
			return true, m.provesCurrentKey(s, key)
		}
	}
	return false, nil
}

// propose records a rekey that present holders have to approve. The shares in
// the request, which are too few, are the first approvals.
func (m *Rekeys) propose(ctx context.Context, s *snapshot, p *holders.Proposal, current [][]byte) (RekeyInfo, error) {
	err := m.commitFor(ctx, s, func(k *barrier.Keys) ([]store.Op, error) {
		data, err := p.Encode(k.Root, k.UUID)
		return []store.Op{store.Create(barrier.KeyProposal, data)}, err
	})
	if err != nil {
		return RekeyInfo{}, err
	}
	m.log.Info("a rekey is proposed; the present holders have to approve it", zap.Bool("rotate", p.Rotate))
	for _, share := range current {
		if _, err := m.approving.Keep(p.Nonce, &s.config.Holding, s.config.UUID, share); err != nil {
			return RekeyInfo{}, err // unreachable: approvedAtOnce has taken it
		}
	}
	return m.proposalInfo(p, s.config), nil
}

// ApproveRekey takes one share of the present key from a holder who agrees to
// the rekey with this nonce. With enough of them the new key is made, and
// Approved is true. Then the new holders have to verify it. ErrNoRekey,
// ErrWrongKey, ErrBadKey, ErrSealed, *pgp.KeyError.
func (m *Rekeys) ApproveRekey(ctx context.Context, nonce string, share []byte) (RekeyInfo, error) {
	s, give, err := m.takeDecision(ctx)
	if err != nil {
		return RekeyInfo{}, err
	}
	defer give()
	p, version, err := m.readProposal(ctx, s.config)
	switch {
	case errors.Is(err, ErrNoRekey):
		return m.approvedAlready(ctx, nonce)
	case err != nil:
		return RekeyInfo{}, err
	case p.Nonce != nonce:
		return RekeyInfo{}, ErrNoRekey
	}
	key, err := m.approving.Keep(p.Nonce, &s.config.Holding, s.config.UUID, share)
	if err != nil {
		return RekeyInfo{}, err
	}
	if key == nil {
		return m.proposalInfo(p, s.config), nil
	}
	defer key.Clear()
	if err := m.provesCurrentKey(s, key); err != nil {
		m.approving.Reset()
		return RekeyInfo{}, err
	}
	info, err := m.makeKey(ctx, s, p, store.Delete(barrier.KeyProposal, version))
	if err != nil {
		// Another server may have been faster, or the answer of the storage was
		// lost. If not, the shares stay for another attempt.
		if info, already := m.approvedAlready(ctx, nonce); already == nil {
			m.approving.Reset()
			return info, nil
		}
		return RekeyInfo{}, err
	}
	m.approving.Reset()
	return info, nil
}

// approvedAlready returns the rekey with this nonce if enough holders have
// approved it, here or elsewhere. ErrNoRekey.
func (m *Rekeys) approvedAlready(ctx context.Context, nonce string) (RekeyInfo, error) {
	r, _, err := m.readRekey(ctx)
	if err != nil {
		return RekeyInfo{}, err
	}
	if r.Nonce != nonce {
		return RekeyInfo{}, ErrNoRekey
	}
	return m.rekeyInfo(r), nil
}

// forgetRekeyShares forgets what holders have entered for a rekey.
func (m *Rekeys) forgetRekeyShares() {
	m.approving.Reset()
	m.verifying.Reset()
}

// forgetEndedRekey forgets shares for a rekey that was canceled, approved or
// verified on another server. The caller has the turn; a failure is tried again
// with the next snapshot.
func (m *Rekeys) forgetEndedRekey(ctx context.Context) {
	if m.approving.Empty() && m.verifying.Empty() {
		return
	}
	proposed, verifies := "", "" // the purposes that still exist
	p, _, err := m.readProposal(ctx, m.snapshot.Load().config)
	switch {
	case err == nil:
		proposed = p.Nonce
	case !errors.Is(err, ErrNoRekey) && !errors.Is(err, barrier.ErrCorrupt):
		return
	}
	r, _, err := m.readRekey(ctx)
	switch {
	case err == nil:
		verifies = r.KeyCheck
	case !errors.Is(err, ErrNoRekey) && !errors.Is(err, barrier.ErrCorrupt):
		return
	}
	m.approving.ForgetOthers(proposed)
	m.verifying.ForgetOthers(verifies)
}
