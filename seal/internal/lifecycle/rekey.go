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

// A rekey replaces the unseal key, in steps between which the old or the new
// holders can unseal. If the present key has several holders, enough of them
// approve the new ones first; see approve.go. Then the new key is made, and
// stored only as shares wrapped for the new holders; it opens nothing yet. At
// last the new holders prove that they can decrypt. When enough have, the key
// that their shares make wraps the root key, in the one transaction that also
// names the new holders.

// Rekeys replaces the unseal key. Each step of it, by the old and by the new
// holders, is a method or two.
type Rekeys struct{ *machine }

// RekeyParams is what an operator asks of a rekey.
type RekeyParams struct {
	InitParams
	// Current are shares of the present unseal key, if it has several holders. As
	// many as its threshold approve the rekey at once; fewer count as the first
	// approvals.
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
	Active    bool
	Nonce     string // names this rekey
	Shares    int
	Threshold int
	Rotate    bool
	Started   time.Time
	// Fingerprints and Holders are the new holders.
	Fingerprints []string
	Holders      []holders.Holder
	// Approved: the present holders have approved it. Until then there are no
	// Keys, and Approvals counts those that this server has, of Required.
	Approved            bool
	Approvals, Required int
	Keys                []string // as in InitInfo, for the new holders
	Progress            int      // shares that were verified
	// Entered are the holders who have approved, or verified, here, and Missing
	// those who have not. EnteredUntil is when the server forgets their shares;
	// zero if there are none.
	Entered, Missing []holders.Holder
	EnteredUntil     time.Time
	// Peers are the live servers by whether the new root key reaches them, when a
	// rotation begins and when it is put in force.
	Peers Peers
}

func (m *Rekeys) rekeyInfo(r *holders.Rekey) RekeyInfo {
	verified, all := m.verifying.Entered(r.KeyCheck), r.Describe()
	entered, missing := divide(all, verified)
	return RekeyInfo{Active: true, Approved: true, Nonce: r.Nonce, Shares: r.Shares, Threshold: r.Threshold, Progress: len(verified), Rotate: r.Rotate,
		Started: r.Started, Keys: r.Keys, Fingerprints: r.Fingerprints, Holders: all,
		Entered: entered, Missing: missing, EnteredUntil: m.verifying.Until(r.KeyCheck)}
}

// divide returns the holders whose indexes are in done, and the others.
func divide(all []holders.Holder, done []int) (in, out []holders.Holder) {
	for i, h := range all {
		if slices.Contains(done, i) {
			in = append(in, h)
		} else {
			out = append(out, h)
		}
	}
	return in, out
}

// RekeyStatus returns the rekey that is under way, if any. ErrSealed,
// ErrCorrupt.
func (m *Rekeys) RekeyStatus(ctx context.Context) (RekeyInfo, error) {
	r, _, err := m.readRekey(ctx)
	if err == nil {
		return m.rekeyInfo(r), nil
	}
	if !errors.Is(err, ErrNoRekey) {
		return RekeyInfo{}, err
	}
	cfg := m.snapshot.Load().config
	p, _, err := m.readProposal(ctx, cfg)
	switch {
	case errors.Is(err, ErrNoRekey):
		return RekeyInfo{}, nil
	case err != nil:
		return RekeyInfo{}, err
	}
	return m.proposalInfo(p, cfg), nil
}

// readRekey returns the record and its version. ErrNoRekey; ErrCorrupt, with the
// version.
func (m *Rekeys) readRekey(ctx context.Context) (*holders.Rekey, store.Version, error) {
	return readRecord(ctx, m.machine, barrier.KeyRekey, holders.ParseRekey)
}

// readRecord reads a record that has a MAC under the root key. ErrNoRekey;
// ErrCorrupt, with the version.
func readRecord[T any](ctx context.Context, m *machine, key store.Key, parse func(*envelope.Key, string, []byte) (*T, error)) (r *T, version store.Version, err error) {
	if err := m.barrier.Ready(); err != nil {
		return nil, 0, err
	}
	node, err := m.backend.Get(ctx, key, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, ErrNoRekey
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	err = m.barrier.Use(func(k *barrier.Keys) error {
		if r, err = parse(k.Root, k.UUID, node.Data); err != nil {
			err = barrier.Corrupt(key, err)
		}
		return err
	})
	return r, node.Version, err
}

// StartRekey makes a new unseal key and stores its wrapped shares, or proposes
// that if present holders have to approve it first. The present key stays in
// force. ErrRekeyUnderWay, ErrBadShares, ErrWrongKey, ErrBadKey, ErrSealed,
// ErrConfigNotGenuine, *OldServersError, *LeftOutError, *pgp.KeyError.
func (m *Rekeys) StartRekey(ctx context.Context, p RekeyParams) (RekeyInfo, error) {
	keys, err := p.parse()
	if err != nil {
		return RekeyInfo{}, err
	}
	peers, _, err := m.servers.checkPeers(ctx, p.Rotate, p.LeaveOut)
	if err != nil {
		return RekeyInfo{}, err
	}
	s, give, err := m.takeDecision(ctx)
	if err != nil {
		return RekeyInfo{}, err
	}
	defer give()
	if err := m.noRekey(ctx); err != nil {
		return RekeyInfo{}, err
	}
	approved, err := m.approvedAtOnce(s, p.Current)
	if err != nil {
		return RekeyInfo{}, err
	}
	proposal, err := holders.NewProposal(newNonce(), keys, p.Threshold, s.config)
	if err != nil {
		return RekeyInfo{}, err
	}
	proposal.Rotate, proposal.LeaveOut = p.Rotate, p.LeaveOut
	var begun RekeyInfo
	if approved {
		begun, err = m.makeKey(ctx, s, proposal)
	} else {
		begun, err = m.propose(ctx, s, proposal, p.Current)
	}
	begun.Peers = peers
	return begun, err
}

// noRekey returns ErrRekeyUnderWay if there is a rekey already, or something in
// its place.
func (m *Rekeys) noRekey(ctx context.Context) error {
	for _, key := range []store.Key{barrier.KeyRekey, barrier.KeyProposal} {
		_, err := m.backend.Get(ctx, key, store.Latest)
		switch {
		case err == nil:
			return ErrRekeyUnderWay
		case !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("read %s: %w", key, err)
		}
	}
	return nil
}

// makeKey makes the new unseal key that the holders of s, which is from
// takeDecision, have approved, and stores its wrapped shares in one
// transaction with ops.
func (m *Rekeys) makeKey(ctx context.Context, s *snapshot, approved *holders.Proposal, ops ...store.Op) (RekeyInfo, error) {
	keys, err := approved.Keys()
	if err != nil {
		return RekeyInfo{}, err
	}
	unsealKey, held, err := holders.New(keys, approved.Threshold, s.config.UUID)
	if err != nil {
		return RekeyInfo{}, err
	}
	unsealKey.Clear() // from here on only the new holders together have it
	r := holders.NewRekey(approved, held)
	err = m.commitFor(ctx, s, func(k *barrier.Keys) ([]store.Op, error) {
		data, err := r.Encode(k.Root, k.UUID)
		return append(ops[:len(ops):len(ops)], store.Create(barrier.KeyRekey, data)), err
	})
	if err != nil {
		return RekeyInfo{}, err
	}
	m.verifying.Reset()
	m.log.Info("a rekey has begun", zap.Strings("pgp_fingerprints", r.Fingerprints), zap.Bool("rotate", r.Rotate))
	return m.rekeyInfo(r), nil
}

// commitFor commits operations that hold only while the holders are those of s.
// ErrRekeyUnderWay, ErrNoRekey.
func (m *Rekeys) commitFor(ctx context.Context, s *snapshot, build func(*barrier.Keys) ([]store.Op, error)) error {
	err := m.barrier.Commit(ctx, func(k *barrier.Keys) ([]store.Op, error) {
		ops, err := build(k)
		return append(ops, store.Check(barrier.KeyConfig, s.configVersion)), err
	})
	switch {
	case errors.Is(err, store.ErrExists):
		return ErrRekeyUnderWay
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: it, or the holders, were changed at the same time", ErrNoRekey)
	}
	return err
}

// CancelRekey forgets the rekey with this nonce. A record that does not
// authenticate has none; an empty nonce removes it. ErrNoRekey, ErrSealed.
func (m *Rekeys) CancelRekey(ctx context.Context, nonce string) error {
	for _, key := range []store.Key{barrier.KeyRekey, barrier.KeyProposal} {
		found, version, err := m.nonceOf(ctx, key)
		switch {
		case errors.Is(err, ErrNoRekey), err == nil && found != nonce:
			continue
		case err != nil && !(errors.Is(err, barrier.ErrCorrupt) && nonce == ""):
			return err
		}
		return m.removeRekey(ctx, key, version)
	}
	return ErrNoRekey
}

// nonceOf returns the nonce of a rekey or a proposal, and the version of the
// record. ErrNoRekey; ErrCorrupt, with the version.
func (m *Rekeys) nonceOf(ctx context.Context, key store.Key) (nonce string, version store.Version, err error) {
	if key == barrier.KeyProposal {
		p, version, err := m.readProposal(ctx, m.snapshot.Load().config)
		if err != nil {
			return "", version, err
		}
		return p.Nonce, version, nil
	}
	r, version, err := m.readRekey(ctx)
	if err != nil {
		return "", version, err
	}
	return r.Nonce, version, nil
}

func (m *Rekeys) removeRekey(ctx context.Context, key store.Key, version store.Version) error {
	err := m.barrier.Commit(ctx, func(*barrier.Keys) ([]store.Op, error) {
		return []store.Op{store.Delete(key, version)}, nil
	})
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return ErrNoRekey
	}
	if err == nil {
		m.forgetRekeyShares()
		m.log.Info("the rekey was canceled")
	}
	return err
}

// VerifyRekey takes one share of the new key from a holder who could decrypt
// it. With enough of them the new key is in force, and Active is false.
// ErrNoRekey, ErrNotApproved, ErrWrongKey, ErrBadKey, ErrSealed,
// ErrConfigNotGenuine, *OldServersError, *LeftOutError.
func (m *Rekeys) VerifyRekey(ctx context.Context, nonce string, share []byte) (RekeyInfo, error) {
	s, give, err := m.takeDecision(ctx)
	if err != nil {
		return RekeyInfo{}, err
	}
	defer give()
	r, version, err := m.readRekey(ctx)
	switch {
	case errors.Is(err, ErrNoRekey):
		if p, _, err := m.readProposal(ctx, s.config); err == nil && p.Nonce == nonce {
			return RekeyInfo{}, ErrNotApproved
		}
		return RekeyInfo{}, err
	case err != nil:
		return RekeyInfo{}, err
	case r.Nonce != nonce:
		return RekeyInfo{}, ErrNoRekey
	case !r.AppliesTo(s.config):
		return RekeyInfo{}, barrier.Corrupt(barrier.KeyRekey, errOldRekey)
	}
	// Before the share is taken: it must not be lost with the refusal.
	peers, recipients, err := m.servers.checkPeers(ctx, r.Rotate, r.LeaveOut)
	if err != nil {
		return RekeyInfo{}, err
	}
	key, err := m.verifying.Add(&r.Holding, s.config.UUID, share)
	if err != nil {
		return RekeyInfo{}, err
	}
	if key == nil {
		return m.rekeyInfo(r), nil
	}
	defer key.Clear()
	if err := m.putInForce(ctx, s, r, version, key, recipients); err != nil {
		return RekeyInfo{}, err
	}
	if r.Rotate {
		m.log.Info("the root key was replaced", zap.Strings("recipients", names(peers.Recipients)), zap.Strings("left_out", names(peers.LeftOut)))
	}
	done := m.rekeyInfo(r)
	done.Active, done.Progress, done.Missing, done.Peers = false, r.Threshold, nil, peers
	return done, nil
}

// errOldRekey: the record of another rekey than the one under way.
var errOldRekey = errors.New("it is for holders other than the present ones")

// putInForce wraps the root key with the new unseal key, names the new holders
// and ends the rekey, all in one transaction. s is from takeDecision.
func (m *Rekeys) putInForce(ctx context.Context, s *snapshot, r *holders.Rekey, version store.Version, key *envelope.Key, to []handover.Recipient) error {
	ops := []store.Op{store.Delete(barrier.KeyRekey, version)}
	if node, err := m.backend.Get(ctx, barrier.KeyProposal, store.Latest); err == nil {
		ops = append(ops, store.Delete(barrier.KeyProposal, node.Version)) // of the holders who leave
	}
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
	m.log.Info("the rekey is done; the old unseal key no longer opens anything", zap.Strings("pgp_fingerprints", r.Fingerprints))
	m.readAfterWrite(ctx)
	return nil
}
