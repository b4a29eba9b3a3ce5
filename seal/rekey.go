package seal

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/store"
)

// A rekey replaces the unseal key in two phases, so that at no moment neither
// the old nor the new holders can unseal. The first stores the new key only as
// shares wrapped for the new holders; it opens nothing yet. In the second the
// holders prove that they can decrypt: when enough have, the key that their
// shares make wraps the root key, in the one transaction that also puts the new
// holders in force.

// RekeyParams are the wishes of the operator who starts a rekey.
type RekeyParams struct {
	InitParams
	// Current are shares of the present unseal key, as many as its threshold,
	// where it has several holders: one superuser cannot lock them out alone.
	Current []string
	// Rotate also makes a new root key, and rotates all records to a new data
	// key: for a key that was stolen, or a holder who left.
	Rotate bool
}

// RekeyInfo is the state of a rekey.
type RekeyInfo struct {
	Active       bool
	Nonce        string // names this rekey
	Shares       int
	Threshold    int
	Progress     int // shares that were verified
	Rotate       bool
	Started      time.Time
	Keys         []string // as in InitInfo, for the new holders
	Fingerprints []string
}

// rekeyRecord is a rekey under way. It carries a MAC under the root key:
// otherwise a writer of the storage could offer the new holders shares of a key
// of the writer's own, and be able to open the store once they have verified it.
type rekeyRecord struct {
	Format  int       `json:"format"`
	Nonce   string    `json:"nonce"`
	Started time.Time `json:"started"`
	Rotate  bool      `json:"rotate"`
	holding
	MAC string `json:"mac"`
}

const rekeyFormat = 1

func (r rekeyRecord) mac(o *opened) (string, error) {
	r.MAC = ""
	plain, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", keyRekey, err)
	}
	mac := hmac.New(sha256.New, o.root.Derive("secretstore rekey\x00"+o.uuid, sha256.Size))
	mac.Write(plain)
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// parseRekey reads the record, which an attacker may have written.
func parseRekey(o *opened, data []byte) (*rekeyRecord, error) {
	var r rekeyRecord
	if err := json.Unmarshal(data, &r); err != nil || r.Format != rekeyFormat || r.validate() != nil {
		return nil, corrupt(keyRekey, errBadConfig)
	}
	want, err := r.mac(o)
	if err != nil || !hmac.Equal([]byte(want), []byte(r.MAC)) {
		return nil, corrupt(keyRekey, errBadConfig)
	}
	return &r, nil
}

func (r *rekeyRecord) info(progress int) RekeyInfo {
	return RekeyInfo{Active: true, Nonce: r.Nonce, Shares: r.Shares, Threshold: r.Threshold, Progress: progress,
		Rotate: r.Rotate, Started: r.Started, Keys: r.Keys, Fingerprints: r.Fingerprints}
}

// RekeyStatus returns the rekey that is under way, if any. ErrSealed,
// ErrCorrupt.
func (s *Store) RekeyStatus(ctx context.Context) (RekeyInfo, error) {
	r, _, err := s.readRekey(ctx)
	if errors.Is(err, ErrNoRekey) {
		return RekeyInfo{}, nil
	}
	if err != nil {
		return RekeyInfo{}, err
	}
	return r.info(s.verifying.progressOf(r.KeyCheck)), nil
}

// readRekey returns the record and its version. ErrNoRekey.
func (s *Store) readRekey(ctx context.Context) (r *rekeyRecord, version store.Version, err error) {
	if err := s.use(func(*opened) error { return nil }); err != nil {
		return nil, 0, err
	}
	node, err := s.backend.Get(ctx, keyRekey, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, ErrNoRekey
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", keyRekey, err)
	}
	err = s.use(func(o *opened) error {
		r, err = parseRekey(o, node.Data)
		return err
	})
	return r, node.Version, err
}

// StartRekey makes a new unseal key and stores its wrapped shares. The present
// key stays in force. ErrRekeyUnderWay, ErrBadShares, ErrWrongKey, ErrBadKey,
// ErrSealed, *pgp.KeyError.
func (s *Store) StartRekey(ctx context.Context, p RekeyParams) (RekeyInfo, error) {
	keys, err := p.parse()
	if err != nil {
		return RekeyInfo{}, err
	}
	if err := s.takeTurn(ctx); err != nil {
		return RekeyInfo{}, err
	}
	defer s.giveTurn()
	if err := s.lookInTurn(ctx); err != nil {
		return RekeyInfo{}, err
	}
	cfg := s.view.Load().config
	if err := provesCurrent(cfg, p.Current); err != nil {
		return RekeyInfo{}, err
	}
	unsealKey, held, err := newHolding(keys, p.Threshold, cfg.UUID)
	if err != nil {
		return RekeyInfo{}, err
	}
	unsealKey.Clear() // nobody has it from here on but the new holders together
	r := &rekeyRecord{Format: rekeyFormat, Nonce: newNonce(), Started: time.Now().UTC(), Rotate: p.Rotate, holding: held}
	err = s.commit(ctx, func(o *opened) (ops []store.Op, err error) {
		if r.MAC, err = r.mac(o); err != nil {
			return nil, err
		}
		data, err := json.Marshal(r)
		return []store.Op{store.Create(keyRekey, data)}, err
	})
	if errors.Is(err, store.ErrExists) {
		return RekeyInfo{}, ErrRekeyUnderWay
	}
	if err != nil {
		return RekeyInfo{}, err
	}
	s.verifying.reset()
	s.log.Info("a rekey has begun", zap.Strings("pgp_fingerprints", r.Fingerprints), zap.Bool("rotate", r.Rotate))
	return r.info(0), nil
}

// provesCurrent asks the present holders where there are several.
func provesCurrent(cfg *configRecord, current []string) error {
	if cfg.Shares == 1 {
		return nil
	}
	if len(current) < cfg.Threshold {
		return fmt.Errorf("%w: give %d current shares, as the present holders' gpg prints them", ErrBadShares, cfg.Threshold)
	}
	var all entered
	defer all.reset()
	for _, text := range current {
		key, err := all.add(&cfg.holding, cfg.UUID, text)
		if err != nil {
			return err
		}
		if key != nil {
			key.Clear()
			return nil
		}
	}
	return fmt.Errorf("%w: %d different current shares are needed", ErrBadShares, cfg.Threshold)
}

func newNonce() string {
	var raw [16]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// CancelRekey forgets the rekey that nonce names. ErrNoRekey, ErrSealed.
func (s *Store) CancelRekey(ctx context.Context, nonce string) error {
	r, version, err := s.readRekey(ctx)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	if r != nil && r.Nonce != nonce {
		return ErrNoRekey
	}
	if r == nil && nonce != "" {
		// A record that does not authenticate has no nonce to be named by: an
		// empty one removes it.
		return err
	}
	err = s.commit(ctx, func(*opened) ([]store.Op, error) { return []store.Op{store.Delete(keyRekey, version)}, nil })
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return ErrNoRekey
	}
	if err == nil {
		s.verifying.reset()
		s.log.Info("the rekey was cancelled")
	}
	return err
}

// VerifyRekey takes one share of the new key from a holder who could decrypt
// it. With enough of them the new key is put in force, and Active is false.
// ErrNoRekey, ErrWrongKey, ErrBadKey, ErrSealed.
func (s *Store) VerifyRekey(ctx context.Context, nonce, share string) (RekeyInfo, error) {
	if err := s.takeTurn(ctx); err != nil {
		return RekeyInfo{}, err
	}
	defer s.giveTurn()
	if err := s.lookInTurn(ctx); err != nil {
		return RekeyInfo{}, err
	}
	r, version, err := s.readRekey(ctx)
	if err != nil {
		return RekeyInfo{}, err
	}
	if r.Nonce != nonce {
		return RekeyInfo{}, ErrNoRekey
	}
	key, err := s.verifying.add(&r.holding, s.view.Load().config.UUID, share)
	if err != nil || key == nil {
		return r.info(s.verifying.progressOf(r.KeyCheck)), err
	}
	defer key.Clear()
	if err := s.putInForce(ctx, r, version, key); err != nil {
		return r.info(0), err
	}
	done := r.info(r.Threshold)
	done.Active = false
	return done, nil
}

// putInForce wraps the root key with the new unseal key, names the new holders
// and ends the rekey, all in one transaction.
func (s *Store) putInForce(ctx context.Context, r *rekeyRecord, version store.Version, key *envelope.Key) error {
	v := s.view.Load()
	next := *v.config
	next.holding = r.holding
	config, err := next.encode()
	if err != nil {
		return fmt.Errorf("encode %s: %w", keyConfig, err)
	}
	ops := []store.Op{store.Delete(keyRekey, version), store.Set(keyConfig, config, v.configVersion)}
	held, err := s.keeper.fingerprint(ctx)
	if err != nil {
		return err
	}
	bootstrapped := slices.Contains(v.config.Fingerprints, held)
	if bootstrapped {
		retired, err := s.keeper.retire(ctx)
		if err != nil {
			return err
		}
		ops = append(ops, retired...)
	}
	if r.Rotate {
		err = s.replaceRoot(ctx, v, key, ops)
	} else {
		err = s.commit(ctx, func(o *opened) ([]store.Op, error) {
			return append(ops[:len(ops):len(ops)], store.Set(keyRoot, sealRoot(key, o.uuid, o.root), v.rootVersion)), nil
		})
	}
	switch {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: it was changed at this moment; look at its state and try again", ErrNoRekey)
	case err != nil:
		return fmt.Errorf("put the new key in force: %w", err)
	}
	if bootstrapped {
		s.keeper.retired(s.log)
	}
	s.log.Info("the rekey is done; the old unseal key opens nothing any more", zap.Strings("pgp_fingerprints", r.Fingerprints))
	s.lookAfter(ctx)
	return nil
}
