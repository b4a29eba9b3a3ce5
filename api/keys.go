package api

import (
	"time"

	"secretstore/api/wire"
	"secretstore/seal"
)

func (s *Server) showRotation(c *call) (reply, error) {
	ctx, cancel := s.readContext(c)
	defer cancel()
	info, err := s.store.RotationStatus(ctx)
	if err != nil {
		return reply{}, err
	}
	return rotationState(info)
}

func (s *Server) rotateStore(c *call) (reply, error) {
	if err := s.auditable(); err != nil {
		return reply{}, err
	}
	ctx, cancel := s.writeContext(c, 0)
	defer cancel()
	info, err := s.store.Rotate(ctx)
	c.note(err, "a new data key is in use: GET /secrets/v1/rotate/default shows the rotation")
	if err != nil {
		return reply{}, err
	}
	return rotationState(info)
}

func rotationState(info seal.RotationInfo) (reply, error) {
	return asJSON(wire.Rotation{Term: info.Term, Total: info.Total, Done: info.Done, State: info.State, Terms: info.Terms,
		Damaged: info.Damaged, DamagedRecord: info.DamagedRecord})
}

// showKeys is what an operator looks at to know that the keys are in order. It
// works sealed, though it then knows less.
func (s *Server) showKeys(c *call) (reply, error) {
	ctx, cancel := s.readContext(c)
	defer cancel()
	report, err := s.store.Keys(ctx)
	if err != nil {
		return reply{}, forgedRekey(err)
	}
	doc := wire.Keys{
		Holders: make([]wire.KeyHolder, 0, len(report.Holders)), Shares: report.Shares, Threshold: report.Threshold,
		BootstrapKeyHeld: report.HoldsBootstrapKey, RekeyUnderWay: report.RekeyUnderWay,
		// An unsealed store has one data key at least.
		Sealed: report.Terms == 0, Terms: report.Terms, OldRecords: max(0, report.OldRecords),
		Damaged: report.Damaged, DamagedRecord: report.DamagedRecord,
	}
	now := time.Now()
	for _, h := range report.Holders {
		doc.Holders = append(doc.Holders, keyHolder(h, now))
	}
	return asJSON(doc)
}

// showNodes passes on what servers announce. It works sealed, for it is then
// that an operator wants to know which servers there are.
func (s *Server) showNodes(c *call) (reply, error) {
	doc := wire.Nodes{}
	if s.nodes != nil {
		ctx, cancel := s.readContext(c)
		defer cancel()
		var err error
		if doc, err = s.nodes(ctx); err != nil {
			return reply{}, err
		}
	}
	if doc.Array == nil {
		doc.Array = []wire.Node{}
	}
	return asJSON(doc)
}

func keyHolder(h seal.Holder, now time.Time) wire.KeyHolder {
	doc := wire.KeyHolder{
		Fingerprint: h.Fingerprint, UserID: h.UserID, Algorithm: h.Algorithm,
		Warning: h.ExpiryWarning(now), Problem: h.Problem,
	}
	if !h.Expires.IsZero() {
		expires := h.Expires.UTC().Truncate(time.Second)
		doc.Expires = &expires
	}
	return doc
}
