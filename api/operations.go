package api

import (
	"context"
	"fmt"
	"net/http"

	"secretstore/acl"
	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/store"
)

// stateError says why a store is neither sealed nor unsealed, or nil.
func stateError(st seal.Status) error {
	switch st.State {
	case seal.StateSealed, seal.StateUnsealed:
		return nil
	case seal.StateUninitialized:
		return seal.ErrUninitialized
	case seal.StateDamaged:
		return fmt.Errorf("%w: %s", seal.ErrDamaged, st.Detail)
	default:
		return fmt.Errorf("%w: %s", store.ErrUnavailable, st.Detail)
	}
}

// backend describes the store. While its state is unknown it would be a lie.
func (s *Server) backend() (wire.Backend, error) {
	st := s.store.Status()
	if st.State == seal.StateUnknown {
		return wire.Backend{}, stateError(st)
	}
	return wire.Backend{
		Name: defaultStore, Description: "Default secret store", Driver: s.driver,
		Initialized: st.Initialized(), Sealed: st.Sealed(), UUID: st.UUID, Development: s.dev,
	}, nil
}

func (s *Server) listStores(*call) (reply, error) {
	b, err := s.backend()
	if err != nil {
		return reply{}, err
	}
	return asJSON(wire.Backends{Array: []wire.Backend{b}})
}

func (s *Server) showStore(*call) (reply, error) {
	b, err := s.backend()
	if err != nil {
		return reply{}, err
	}
	return asJSON(b)
}

func (s *Server) showSealStatus(c *call) (reply, error) {
	st := s.store.Status()
	if st.State == seal.StateUnknown {
		return reply{}, stateError(st)
	}
	return s.sealStatus(c, st)
}

// sealStatus is the answer of all that shows or changes the seal. Warnings are
// for superusers: they can name files and records.
func (s *Server) sealStatus(c *call, st seal.Status) (reply, error) {
	doc := wire.SealStatus{Sealed: st.Sealed(), Threshold: st.Threshold, Shares: st.Shares, Progress: st.Progress, UUID: st.UUID}
	if s.policy().Decide(c.principal, acl.Request{Op: acl.Administer}).Allowed {
		if st.State == seal.StateDamaged {
			doc.Warnings = append(doc.Warnings, "the storage is damaged: "+st.Detail)
		}
		if s.warnings != nil {
			doc.Warnings = append(doc.Warnings, s.warnings()...)
		}
	}
	return asJSON(doc)
}

func (s *Server) showInit(c *call) (reply, error) {
	ctx, cancel := s.readContext(c)
	defer cancel()
	info, err := s.store.InitInfo(ctx)
	if err != nil {
		return reply{}, err
	}
	return asJSON(wire.InitInfo{Initialized: info.Initialized, Keys: notNil(info.Keys), Fingerprints: notNil(info.Fingerprints)})
}

// notNil makes an empty array of what would be null.
func notNil(all []string) []string {
	if all == nil {
		return []string{}
	}
	return all
}

func (s *Server) initStore(c *call) (reply, error) {
	req, err := readJSON[wire.InitRequest](s, c, keysBody, true, textBadInit)
	if err != nil {
		return reply{}, err
	}
	if err := s.auditable(); err != nil {
		return reply{}, err
	}
	ctx, cancel := s.writeContext(c, 0)
	defer cancel()
	info, err := s.store.Init(ctx, seal.InitParams{
		Shares: req.Shares, Threshold: req.Threshold, PGPKeys: req.PGPKeys, Replace: req.Replace, By: c.principal.UID,
	})
	c.note(err, "the store was initialized: GET /secrets/v1/init/default returns its keys")
	if err != nil {
		return reply{}, err
	}
	return asJSON(wire.InitResult{Keys: notNil(info.Keys), Fingerprints: notNil(info.Fingerprints)})
}

func (s *Server) unsealStore(c *call) (reply, error) {
	req, err := readJSON[wire.UnsealRequest](s, c, smallBody, true, textBadUnseal)
	if err != nil {
		return reply{}, err
	}
	if req.Reset == (req.Key != nil) {
		return reply{}, badRequest(textBadUnseal)
	}
	if req.Reset {
		return s.changeSeal(c, "the shares that were entered are forgotten", s.store.ResetUnseal)
	}
	return s.changeSeal(c, "the share was taken: the seal status says whether the store is unsealed", func(ctx context.Context) (seal.Status, error) {
		return s.store.Unseal(ctx, *req.Key)
	})
}

func (s *Server) autoUnsealStore(c *call) (reply, error) {
	req, err := readJSON[wire.KeyRequest](s, c, smallBody, false, textNoKey)
	if err != nil {
		return reply{}, err
	}
	return s.changeSeal(c, "the store was unsealed", func(ctx context.Context) (seal.Status, error) {
		return s.store.AutoUnseal(ctx, req.Key)
	})
}

func (s *Server) sealStore(c *call) (reply, error) {
	return s.changeSeal(c, "the store was sealed", s.store.Seal)
}

func (s *Server) changeSeal(c *call, effect string, change func(context.Context) (seal.Status, error)) (reply, error) {
	// Sealing is the emergency brake: it works without an audit log, though
	// its answer then says so.
	if c.ep.name != "seal" {
		if err := s.auditable(); err != nil {
			return reply{}, err
		}
	}
	ctx, cancel := s.writeContext(c, 0)
	defer cancel()
	st, err := change(ctx)
	c.note(err, effect)
	if err != nil {
		return reply{}, err
	}
	return s.sealStatus(c, st)
}

func (s *Server) nothingHere(*call) (reply, error) {
	return reply{}, &problem{status: http.StatusNotFound, text: "nothing here: the API is below /secrets/v1"}
}
