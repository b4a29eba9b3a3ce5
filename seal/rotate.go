package seal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/store"
)

// A rotation adds a data key (a term) that new writes use at once, and then
// re-encrypts what is under older terms. What is left to do is known from the
// keyring alone: as long as it has more than one term, some server works on it.
// The rotation record only says which, and how far it has come; nothing depends
// on it but the progress that people see, because every re-encryption is
// conditional on the record that was read.

// RotationInfo is how far a rotation has come.
type RotationInfo struct {
	Term  uint32 // of new writes
	Total int64  // records seen by the present pass
	Done  int64  // of them, under Term
	State string // one of the states below
	// Terms is how many data keys the keyring has.
	Terms int
	// Damaged counts records that do not open under any key. While there are
	// such, older keys are kept: a record may be restored. DamagedRecord is the
	// key of one.
	Damaged       int64
	DamagedRecord string
}

// The states of a rotation.
const (
	RotationIdle    = "idle"
	RotationRunning = "running"
	// RotationVerifying: everything seemed to be under the newest key, and a
	// last pass makes sure before the older keys leave.
	RotationVerifying = "verifying"
	RotationBlocked   = "blocked"
)

// rotationRecord is read by people and by servers that wait for their turn; a
// forged one delays or repeats work, and no more.
type rotationRecord struct {
	Format int    `json:"format"`
	Owner  string `json:"owner"` // who works on it
	Beat   uint64 `json:"beat"`  // grows while it is worked on
	Term   uint32 `json:"term"`
	Total  int64  `json:"records_total"`
	Done   int64  `json:"records_done"`
	Verify bool   `json:"verify,omitempty"` // a pass after one that went through
	// Damaged records, and the key of one of them.
	Damaged       int64  `json:"records_damaged,omitempty"`
	DamagedRecord string `json:"damaged_record,omitempty"`
}

const (
	rotationFormat = 1
	// rotateEvery is how often a server looks whether there is work.
	rotateEvery = 500 * time.Millisecond
	// rotationLease is how long the work of another server may show no progress
	// before it is taken over.
	rotationLease = 10 * time.Second
	// rotateBlocked is how long a rotation that damaged records keep from its end
	// rests before it looks at them again.
	rotateBlocked = time.Minute
	// rotateRate bounds re-encryption, in records a second, so that tasks that
	// start meanwhile find the storage fast.
	rotateRate = 5000
	// rotateWorkers is how many records are under way at once.
	rotateWorkers = 32
)

// Rotate adds a data key, which new writes use from now on on every server, and
// leaves the re-encryption of what is there to the background. ErrSealed,
// ErrTooManyTerms.
func (s *Store) Rotate(ctx context.Context) (RotationInfo, error) {
	if err := s.takeTurn(ctx); err != nil {
		return RotationInfo{}, err
	}
	defer s.giveTurn()
	if err := s.lookInTurn(ctx); err != nil {
		return RotationInfo{}, err
	}
	if err := s.writeKeyring(ctx, (*keyring).withNewTerm); err != nil {
		return RotationInfo{}, err
	}
	info := RotationInfo{State: RotationRunning}
	err := s.use(func(o *opened) error {
		info.Term, info.Terms = o.ring.active, len(o.ring.terms)
		return nil
	})
	s.log.Info("a new data key is in use", zap.Uint32("term", info.Term))
	return info, err
}

// writeKeyring replaces the keyring by what change makes of it. Writes of other
// servers that do not know it yet fail at their check of its version, and are
// done again under it.
func (s *Store) writeKeyring(ctx context.Context, change func(*keyring) (*keyring, error)) error {
	var seen, next *opened
	var ops []store.Op
	err := s.use(func(o *opened) error {
		ring, err := change(o.ring)
		if err != nil {
			return err
		}
		data, err := sealKeyring(o.root, o.uuid, ring)
		if err != nil {
			return err
		}
		revised := *o
		revised.ring = ring
		seen, next = o, &revised
		ops = []store.Op{store.Check(keyIntent, o.intentVersion), store.Set(keyKeyring, data, o.keyringVersion)}
		return nil
	})
	if err != nil {
		return err
	}
	versions, err := s.backend.Apply(ctx, ops...)
	var refused *store.OpError
	if errors.As(err, &refused) {
		return fmt.Errorf("the keys were changed by another server at this moment; try again: %w", store.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", keyKeyring, err)
	}
	next.keyringVersion = versions[1]
	s.barrier.revise(seen, next)
	s.workOnRotation()
	return nil
}

// workOnRotation wakes the worker. It never blocks.
func (s *Store) workOnRotation() {
	select {
	case s.rotateNow <- struct{}{}:
	default:
	}
}

// RotationStatus returns how far the re-encryption has come, whichever server
// works on it. ErrSealed.
func (s *Store) RotationStatus(ctx context.Context) (RotationInfo, error) {
	info := RotationInfo{State: RotationIdle}
	err := s.use(func(o *opened) error {
		info.Term, info.Terms = o.ring.active, len(o.ring.terms)
		return nil
	})
	if err != nil {
		return RotationInfo{}, err
	}
	record, _, err := s.readRotation(ctx)
	if err != nil {
		return RotationInfo{}, err
	}
	if record.Term == info.Term {
		info.Total, info.Done = record.Total, record.Done
		info.Damaged, info.DamagedRecord = record.Damaged, record.DamagedRecord
	}
	switch {
	case info.Terms > 1 && info.Damaged > 0:
		info.State = RotationBlocked
	case info.Terms > 1 && record.Verify && record.Term == info.Term:
		info.State = RotationVerifying
	case info.Terms > 1, s.compactDue.Load():
		info.State = RotationRunning
	}
	return info, nil
}

// readRotation returns the record; an absent or senseless one is empty.
func (s *Store) readRotation(ctx context.Context) (r rotationRecord, version store.Version, err error) {
	node, err := s.backend.Get(ctx, keyRotation, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return rotationRecord{}, noVersion, nil
	}
	if err != nil {
		return rotationRecord{}, 0, fmt.Errorf("read %s: %w", keyRotation, err)
	}
	if json.Unmarshal(node.Data, &r) != nil || r.Format != rotationFormat || r.Done < 0 || r.Total < 0 {
		r = rotationRecord{}
	}
	return r, node.Version, nil
}

// noVersion stands for a record that is not there.
const noVersion store.Version = -1

// writeRotation says that this server works, and how far it is. It fails with
// errNotOurTurn when another server has taken over.
func (s *Store) writeRotation(ctx context.Context, r rotationRecord, seen store.Version) (store.Version, error) {
	r.Format, r.Owner = rotationFormat, s.id
	data, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", keyRotation, err)
	}
	op := store.Set(keyRotation, data, seen)
	if seen == noVersion {
		op = store.Create(keyRotation, data)
	}
	versions, err := s.backend.Apply(ctx, op)
	var refused *store.OpError
	if errors.As(err, &refused) {
		return 0, errNotOurTurn
	}
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", keyRotation, err)
	}
	return versions[0], nil
}

var errNotOurTurn = errors.New("another server works on the rotation")

// rotate works on rotations until the context ends.
func (s *Store) rotate(ctx context.Context) {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	var watched rotationWatch
	lastErr := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.rotateNow:
		case <-tick.C:
		}
		err := s.rotateIfNeeded(ctx, &watched)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil || errors.Is(err, ErrSealed) || errors.Is(err, errNotOurTurn):
			lastErr = ""
		case err.Error() != lastErr:
			s.log.Warn("the rotation does not get on; trying again", zap.Error(err))
			lastErr = err.Error()
		}
	}
}

// rotationWatch remembers when another server last showed progress, by this
// server's own clock.
type rotationWatch struct {
	owner string
	beat  uint64
	since time.Time

	// After a pass that damaged records kept from its end, this server waits
	// before the next one, unless there is a newer term.
	pauseUntil time.Time
	pausedTerm uint32
	// passed is the term that a pass of this server has brought everything under.
	passed uint32
}

// mine reports whether this server may work: nobody else does, or whoever did
// has shown no progress for rotationLease.
func (w *rotationWatch) mine(r rotationRecord, self string, now time.Time) bool {
	if r.Owner == self || r.Owner == "" {
		return true
	}
	if w.owner != r.Owner || w.beat != r.Beat {
		w.owner, w.beat, w.since = r.Owner, r.Beat, now
		return false
	}
	return now.Sub(w.since) > rotationLease
}

// rotateIfNeeded does one pass over all records if the keyring has old terms.
func (s *Store) rotateIfNeeded(ctx context.Context, watched *rotationWatch) error {
	var term uint32
	terms := 0
	if s.barrier.use(func(o *opened) error { term, terms = o.ring.active, len(o.ring.terms); return nil }) != nil {
		return nil
	}
	if terms < 2 {
		if s.compactDue.Load() {
			return s.compact(ctx)
		}
		return nil
	}
	if time.Now().Before(watched.pauseUntil) && watched.pausedTerm == term {
		return errNotOurTurn
	}
	watched.pausedTerm = term
	record, version, err := s.readRotation(ctx)
	if err != nil {
		return err
	}
	if !watched.mine(record, s.id, time.Now()) {
		return errNotOurTurn
	}
	p := &pass{store: s, term: term, verify: watched.passed == term}
	if err := p.run(ctx, record.Beat, version); err != nil {
		return err
	}
	if n, key := p.damage.first(); n > 0 {
		watched.pauseUntil = time.Now().Add(rotateBlocked)
		return fmt.Errorf("%d damaged records keep the older data keys from leaving; restore or remove them, for example %s", n, key)
	}
	if p.old.Load() > 0 {
		watched.passed = term
		s.workOnRotation() // the keys leave only after a pass that finds nothing
		return nil
	}
	return s.forgetOldTerms(ctx, term)
}

// forgetOldTerms removes all keys but the one of term. It follows a pass that
// began after that term was in force and found nothing under another; since
// then every write has been checked against that keyring.
func (s *Store) forgetOldTerms(ctx context.Context, term uint32) error {
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer s.giveTurn()
	s.compactDue.Store(true) // before the keys leave, so that nobody takes the rotation for done
	err := s.writeKeyring(ctx, func(k *keyring) (*keyring, error) {
		if k.active != term {
			return nil, errNotOurTurn // rotated again meanwhile
		}
		return k.withActiveOnly(), nil
	})
	if err != nil {
		return err
	}
	s.log.Info("the rotation is done; older data keys are gone", zap.Uint32("term", term))
	return s.compact(ctx)
}

// compact leaves nothing under the old keys behind, where the backend can.
func (s *Store) compact(ctx context.Context) error {
	if backend, ok := s.backend.(store.Compacter); ok {
		if err := backend.Compact(ctx); err != nil {
			return fmt.Errorf("rewrite the storage: %w", err)
		}
	}
	s.compactDue.Store(false)
	return nil
}

// reseal encrypts a record anew under the active term, unless it is already. It
// returns nil data then. The value id and the version stay: a rotation wakes
// nobody who waits for changes.
func (o *opened) reseal(key store.Key, at envelope.Place, data []byte) ([]byte, error) {
	plain, h, err := o.openRecord(key, at, data)
	if err != nil || h.Term == o.ring.active {
		return nil, err
	}
	defer clear(plain)
	h.Term = o.ring.active
	return envelope.Seal(o.ring.terms[h.Term], at, h, plain), nil
}
