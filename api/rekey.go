package api

import (
	"errors"
	"net/http"
	"time"

	"secretstore/api/wire"
	"secretstore/seal"
)

const (
	textBadCurrent   = "wrong current share: decrypt the entries of keys of GET /secrets/v1/init/default and send what gpg prints in current; no rekey was started"
	textBadNewShare  = "wrong unseal key: send a share of the new key, decrypted from your own entry of the keys of GET /secrets/v1/rekey/default; the key in force stays"
	textForgedRekey  = "the record of the rekey was not written by this store, or is damaged: remove it with DELETE /secrets/v1/rekey/default?nonce= and start again"
	textRekeyStarted = "a rekey was started: GET /secrets/v1/rekey/default returns its keys and nonce"
)

func (s *Server) showRekey(c *call) (reply, error) {
	ctx, cancel := s.readContext(c)
	defer cancel()
	info, err := s.store.RekeyStatus(ctx)
	if err != nil {
		return reply{}, forgedRekey(err)
	}
	if !info.Active {
		return asJSON(wire.NoRekey{})
	}
	return rekeyState(info)
}

func rekeyState(info seal.RekeyInfo) (reply, error) {
	return asJSON(wire.Rekey{
		Nonce: info.Nonce, Shares: info.Shares, Threshold: info.Threshold, Keys: notNil(info.Keys), Fingerprints: notNil(info.Fingerprints),
		Rotate: info.Rotate, Started: info.Started.UTC().Truncate(time.Second), Progress: info.Progress, Active: info.Active,
	})
}

func (s *Server) startRekey(c *call) (reply, error) {
	req, err := readJSON[wire.RekeyRequest](s, c, keysBody, true, textBadRekey)
	if err != nil {
		return reply{}, err
	}
	if err := s.auditable(); err != nil {
		return reply{}, err
	}
	ctx, cancel := s.writeContext(c, 0)
	defer cancel()
	info, err := s.store.StartRekey(ctx, seal.RekeyParams{
		InitParams: seal.InitParams{Shares: req.Shares, Threshold: req.Threshold, PGPKeys: req.PGPKeys},
		Current:    req.Current, Rotate: req.Rotate,
	})
	c.note(err, textRekeyStarted)
	if err != nil {
		return reply{}, wrongShare(err, textBadCurrent)
	}
	return rekeyState(info)
}

func (s *Server) verifyRekey(c *call) (reply, error) {
	req, err := readJSON[wire.RekeyVerify](s, c, smallBody, true, textBadVerify)
	if err != nil {
		return reply{}, err
	}
	if req.Nonce == "" || req.Key == "" {
		return reply{}, badRequest(textBadVerify)
	}
	if err := s.auditable(); err != nil {
		return reply{}, err
	}
	ctx, cancel := s.writeContext(c, 0)
	defer cancel()
	info, err := s.store.VerifyRekey(ctx, req.Nonce, req.Key)
	c.note(err, "the share was taken: GET /secrets/v1/rekey/default says whether the rekey is done")
	if err != nil {
		return reply{}, wrongShare(err, textBadNewShare)
	}
	return rekeyState(info)
}

func (s *Server) cancelRekey(c *call) (reply, error) {
	nonce, err := s.nonceToCancel(c)
	if err != nil {
		return reply{}, err
	}
	if err := s.auditable(); err != nil {
		return reply{}, err
	}
	ctx, cancel := s.writeContext(c, 0)
	defer cancel()
	err = s.store.CancelRekey(ctx, nonce)
	c.note(err, "the rekey was cancelled")
	if err != nil {
		return reply{}, forgedRekey(err)
	}
	return empty(http.StatusNoContent)
}

// nonceToCancel returns the nonce of the body or of the query. It must be said,
// even an empty one, and said once.
func (s *Server) nonceToCancel(c *call) (string, error) {
	req, err := readJSON[wire.RekeyCancel](s, c, smallBody, false, textBadCancel)
	if err != nil {
		return "", err
	}
	switch {
	case req.Nonce != nil && c.query.nonces == 0:
		return *req.Nonce, nil
	case req.Nonce == nil && c.query.nonces == 1:
		return c.query.nonce, nil
	}
	return "", badRequest(textBadCancel)
}

// wrongShare answers a share that does not fit in the words of a rekey.
func wrongShare(err error, text string) error {
	if errors.Is(err, seal.ErrWrongKey) {
		return &problem{status: http.StatusBadRequest, text: text, cause: err}
	}
	return err
}

// forgedRekey says how to get rid of a record that does not authenticate,
// which whoever can write to the storage may have put there.
func forgedRekey(err error) error {
	if errors.Is(err, seal.ErrCorrupt) {
		return &problem{status: http.StatusInternalServerError, text: textForgedRekey, failed: true, cause: err}
	}
	return err
}
