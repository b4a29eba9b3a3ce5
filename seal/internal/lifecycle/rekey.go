package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/handover"
	"secretstore/seal/internal/holders"
	"secretstore/store"
)

// A rekey replaces the unseal key in two phases, so that at every moment either
// the old or the new holders can unseal. The first phase stores the new key
// only as shares wrapped for the new holders; it opens nothing yet. In the
// second the holders prove that they can decrypt. When enough have, the key
// that their shares make wraps the root key, in the one transaction that also
// names the new holders.

// Rekeys replaces the unseal key.
type Rekeys struct{ *machine }

// RekeyParams is what an operator asks of a rekey.
type RekeyParams struct {
	InitParams
	// Current are shares of the present unseal key, as many as its threshold, if
	// it has several holders: one superuser cannot lock them out alone.
	Current [][]byte
	// Rotate also makes a new root key, and rotates all records to a new data
	// key: for a key that was stolen, or a holder who left.
	Rotate bool
	// LeaveOut: live servers that run an earlier release do not matter, and with
	// Rotate those that the new root key does not reach may seal.
	LeaveOut bool
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
	// Peers are the live servers by whether the new root key reaches them, when a
	// rotation begins and when it is put in force.
	Peers Peers
}

func rekeyInfo(r *holders.Rekey, progress int) RekeyInfo {
	return RekeyInfo{Active: true, Nonce: r.Nonce, Shares: r.Shares, Threshold: r.Threshold, Progress: progress,
		Rotate: r.Rotate, Started: r.Started, Keys: r.Keys, Fingerprints: r.Fingerprints}
}

// RekeyStatus returns the rekey that is under way, if any. ErrSealed,
// ErrCorrupt.
func (m *Rekeys) RekeyStatus(ctx context.Context) (RekeyInfo, error) {
	r, _, err := m.readRekey(ctx)
	if errors.Is(err, ErrNoRekey) {
		return RekeyInfo{}, nil
	}
	if err != nil {
		return RekeyInfo{}, err
	}
	return rekeyInfo(r, m.verifying.Progress(r.KeyCheck)), nil
}

// readRekey returns the record and its version. ErrNoRekey.
func (m *Rekeys) readRekey(ctx context.Context) (r *holders.Rekey, version store.Version, err error) {
	if err := m.barrier.Ready(); err != nil {
		return nil, 0, err
	}
	node, err := m.backend.Get(ctx, barrier.KeyRekey, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, ErrNoRekey
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", barrier.KeyRekey, err)
	}
	err = m.barrier.Use(func(k *barrier.Keys) error {
		if r, err = holders.ParseRekey(k.Root, k.UUID, node.Data); err != nil {
			err = barrier.Corrupt(barrier.KeyRekey, err)
		}
		return err
	})
	return r, node.Version, err
}

// StartRekey makes a new unseal key and stores its wrapped shares. The present
// key stays in force. ErrRekeyUnderWay, ErrBadShares, ErrWrongKey, ErrBadKey,
// ErrSealed, ErrConfigNotGenuine, *OldServersError, *LeftOutError, *pgp.KeyError.
func (m *Rekeys) StartRekey(ctx context.Context, p RekeyParams) (RekeyInfo, error) {
	keys, err := p.parse()
	if err != nil {
		return RekeyInfo{}, err
	}
	peers, _, err := m.checkPeers(ctx, p.Rotate, p.LeaveOut)
	if err != nil {
		return RekeyInfo{}, err
	}
	if err := m.takeTurn(ctx); err != nil {
		return RekeyInfo{}, err
	}
	defer m.giveTurn()
	if err := m.freshInTurn(ctx); err != nil {
		return RekeyInfo{}, err
	}
	s, err := m.decidingSnapshot()
	if err != nil {
		return RekeyInfo{}, err
	}
	cfg := s.config
	if err := m.checkCurrentShares(s, p.Current); err != nil {
		return RekeyInfo{}, err
	}
	unsealKey, held, err := holders.New(keys, p.Threshold, cfg.UUID)
	if err != nil {
		return RekeyInfo{}, err
	}
	unsealKey.Clear() // from here on only the new holders together have it
	r := holders.NewRekey(newNonce(), p.Rotate, held, cfg)
	r.LeaveOut = p.LeaveOut
	err = m.barrier.Commit(ctx, func(k *barrier.Keys) (ops []store.Op, err error) {
		data, err := r.Encode(k.Root, k.UUID)
		return []store.Op{store.Create(barrier.KeyRekey, data), store.Check(barrier.KeyConfig, s.configVersion)}, err
	})
	switch {
	case errors.Is(err, store.ErrExists):
		return RekeyInfo{}, ErrRekeyUnderWay
	case errors.Is(err, store.ErrConflict):
		return RekeyInfo{}, fmt.Errorf("%w: the holders were changed at the same time", ErrNoRekey)
	case err != nil:
		return RekeyInfo{}, err
	}
	m.verifying.Reset()
	m.log.Info("a rekey has begun", zap.Strings("pgp_fingerprints", r.Fingerprints), zap.Bool("rotate", r.Rotate))
	begun := rekeyInfo(r, 0)
	begun.Peers = peers
	return begun, nil
}

// checkCurrentShares checks that shares of the present holders, if there are
// several, make the unseal key in force.
func (m *Rekeys) checkCurrentShares(s *snapshot, current [][]byte) error {
	cfg := s.config
	if cfg.Shares == 1 {
		return nil
	}
	if len(current) < cfg.Threshold {
		return fmt.Errorf("%w: give %d current shares, as the present holders' gpg prints them", ErrBadShares, cfg.Threshold)
	}
	var all holders.ShareCollector
	defer all.Reset()
	for _, text := range current {
		key, err := all.Add(&cfg.Holding, cfg.UUID, text)
		if err != nil {
			return err
		}
		if key != nil {
			defer key.Clear()
			return m.provesCurrentKey(s, key)
		}
	}
	return fmt.Errorf("%w: %d different current shares are needed", ErrBadShares, cfg.Threshold)
}

// CancelRekey forgets the rekey with this nonce. A record that does not
// authenticate has none; an empty nonce removes it. ErrNoRekey, ErrSealed.
func (m *Rekeys) CancelRekey(ctx context.Context, nonce string) error {
	r, version, err := m.readRekey(ctx)
	if err != nil && !errors.Is(err, barrier.ErrCorrupt) {
		return err
	}
	if r != nil && r.Nonce != nonce {
		return ErrNoRekey
	}
	if r == nil && nonce != "" {
		return err
	}
	err = m.barrier.Commit(ctx, func(*barrier.Keys) ([]store.Op, error) {
		return []store.Op{store.Delete(barrier.KeyRekey, version)}, nil
	})
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return ErrNoRekey
	}
	if err == nil {
		m.verifying.Reset()
		m.log.Info("the rekey was canceled")
	}
	return err
}

// VerifyRekey takes one share of the new key from a holder who could decrypt
// it. With enough of them the new key is in force, and Active is false.
// ErrNoRekey, ErrWrongKey, ErrBadKey, ErrSealed, ErrConfigNotGenuine,
// *OldServersError, *LeftOutError.
func (m *Rekeys) VerifyRekey(ctx context.Context, nonce string, share []byte) (RekeyInfo, error) {
	if err := m.takeTurn(ctx); err != nil {
		return RekeyInfo{}, err
	}
	defer m.giveTurn()
	if err := m.freshInTurn(ctx); err != nil {
		return RekeyInfo{}, err
	}
	s, err := m.decidingSnapshot()
	if err != nil {
		return RekeyInfo{}, err
	}
	r, version, err := m.readRekey(ctx)
	switch {
	case err != nil:
		return RekeyInfo{}, err
	case r.Nonce != nonce:
		return RekeyInfo{}, ErrNoRekey
	case !r.AppliesTo(s.config):
		return RekeyInfo{}, barrier.Corrupt(barrier.KeyRekey, errOldRekey)
	}
	// Before the share is taken: it must not be lost with the refusal.
	peers, recipients, err := m.checkPeers(ctx, r.Rotate, r.LeaveOut)
	if err != nil {
		return rekeyInfo(r, m.verifying.Progress(r.KeyCheck)), err
	}
	key, err := m.verifying.Add(&r.Holding, s.config.UUID, share)
	if err != nil || key == nil {
		return rekeyInfo(r, m.verifying.Progress(r.KeyCheck)), err
	}
	defer key.Clear()
	if err := m.putInForce(ctx, s, r, version, key, recipients); err != nil {
		return rekeyInfo(r, 0), err
	}
	if r.Rotate {
		m.log.Info("the root key was replaced", zap.Strings("recipients", names(peers.Recipients)), zap.Strings("left_out", names(peers.LeftOut)))
	}
	done := rekeyInfo(r, r.Threshold)
	done.Active, done.Peers = false, peers
	return done, nil
}

// errOldRekey: the record of another rekey than the one under way.
var errOldRekey = errors.New("it replaces other holders than the present ones")

// putInForce wraps the root key with the new unseal key, names the new holders
// and ends the rekey, all in one transaction. s is from decidingSnapshot.
func (m *Rekeys) putInForce(ctx context.Context, s *snapshot, r *holders.Rekey, version store.Version, key *envelope.Key, to []handover.Recipient) error {
	ops := []store.Op{store.Delete(barrier.KeyRekey, version)}
	held, err := m.bootstrapKeyStore.Fingerprint(ctx)
	if err != nil {
		return err
	}
	bootstrapped := slices.Contains(s.config.Fingerprints, held)
	if bootstrapped {
		retire, err := m.bootstrapKeyStore.Retire(ctx)
		if err != nil {
			return err
		}
		ops = append(ops, retire...)
	}
	// rootOps name the new holders under a root key.
	rootOps := func(root *envelope.Key) ([]store.Op, error) {
		config, err := s.config.Rekeyed(r.Holding).Encode(root)
		return append(ops[:len(ops):len(ops)],
			store.Set(barrier.KeyConfig, config, s.configVersion),
			store.Set(barrier.KeyRoot, sealRoot(key, s.config.UUID, root), s.rootVersion)), err
	}
	if r.Rotate {
		err = m.replaceRoot(ctx, s, to, rootOps)
	} else {
		err = m.barrier.Commit(ctx, func(k *barrier.Keys) ([]store.Op, error) { return rootOps(k.Root) })
	}
	switch {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: it was changed at the same time; look at its state and try again", ErrNoRekey)
	case err != nil:
		return fmt.Errorf("put the new key in force: %w", err)
	}
	if bootstrapped {
		m.bootstrapKeyStore.Retired(m.log)
	}
	m.log.Info("the rekey is done; the old unseal key opens nothing any more", zap.Strings("pgp_fingerprints", r.Fingerprints))
	m.readAfterWrite(ctx)
	return nil
}
