package lifecycle

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/internal/holders"
	"secretstore/store"
)

const (
	// followEvery is how often the records are read without a notice, in case a
	// watch fails.
	followEvery = 2 * time.Second
	// holdersEvery is how often the expiry of the holders' keys is checked.
	holdersEvery = time.Hour
	// refreshTimeout bounds one refresh.
	refreshTimeout = 4 * time.Second
	// bootstrapTimeout bounds a refresh that may generate a key.
	bootstrapTimeout = 30 * time.Second
)

// Refresh reads a fresh snapshot and does what follows from it: it bootstraps,
// unseals or seals. store.ErrUnavailable.
func Refresh(ctx context.Context, l *Lifecycle) error { return l.refresh(ctx) }

// Follow watches the life-cycle records, and returns a function that keeps this
// server in step with them, and with what was decided on other servers, until
// the context ends.
func Follow(ctx context.Context, l *Lifecycle) (run func()) {
	l.backend.Watch(ctx, []store.Key{barrier.KeyConfig, barrier.KeyKeyring, barrier.KeyIntent, barrier.KeyMode}, l.poke)
	return func() { l.follow(ctx) }
}

func (m *machine) follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	lastErr := ""
	warnings, nextWarning, warnedOf := make(holders.Warnings), time.Now(), store.Version(-1)
	warned := false // about the way the bootstrap key is kept
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-tick.C:
		}
		// Also as soon as a rekey has named other holders.
		s := m.snapshot.Load()
		if now := time.Now(); now.After(nextWarning) || s.configVersion != warnedOf {
			warnings.Log(m.log, m.Holders())
			nextWarning, warnedOf = now.Add(holdersEvery), s.configVersion
		}
		if s.state == storagePresent && !warned {
			warned = m.bootstrapKeyStore.Warn(ctx, m.log, s.config.Fingerprints) == nil
		}
		warned = warned && s.state == storagePresent
		if m.scrubbing.due(time.Now()) {
			m.scrubbing.scrub()
		}
		m.unsealing.Expire()
		m.approving.Expire()
		m.verifying.Expire()
		if m.sealPending.Load() {
			m.unsealer.retrySealRecord(ctx)
		}
		err := m.refreshWithin(ctx)
		m.noteState()
		m.noteOutage(errors.Is(err, store.ErrUnavailable))
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, bootstrapkey.ErrCreating):
			m.log.Info("still creating the bootstrap key")
		case err == nil && lastErr != "":
			m.log.Info("the storage answers again")
			lastErr = ""
		case err != nil && err.Error() != lastErr:
			m.log.Warn("cannot follow the storage; will keep retrying", zap.Error(err))
			lastErr = err.Error()
		}
	}
}

func (m *machine) refreshWithin(ctx context.Context) error {
	limit := refreshTimeout
	if s := m.snapshot.Load(); m.bootstrap && s.state != storagePresent {
		limit = bootstrapTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return m.refresh(ctx)
}

func (m *machine) refresh(ctx context.Context) error {
	if m.barrier.Offline() {
		return nil
	}
	asked := time.Now()
	if err := m.takeTurn(ctx); err != nil {
		return err
	}
	defer m.giveTurn()
	if m.takenAt.After(asked) {
		return nil // another caller took a snapshot while this one waited
	}
	return m.refreshInTurn(ctx)
}

func (m *machine) refreshInTurn(ctx context.Context) error {
	drops := m.barrier.DropCount()
	if err := m.readAndApply(ctx); err != nil {
		return err
	}
	m.endHandover(ctx)
	m.completeRecords(ctx)
	m.rekeys.forgetEndedRekey(ctx)
	s := m.snapshot.Load()
	if s.state == storagePresent {
		m.bootstrapKeyStore.Forget() // the key for a new store
	}
	switch {
	case !m.bootstrap || m.sealPending.Load() || m.mode.refused.Load():
		return nil
	case s.state == storageEmpty:
		return m.initializer.bootstrapInTurn(ctx, drops)
	case s.state == storagePresent && !s.intent.Sealed && s.holdsBootstrapKey && !m.barrier.IsOpen():
		// Not sealed on purpose: a restart, a crash, or another server's unseal.
		// The root key shows whether the intent is genuine.
		return m.unsealer.autoUnsealInTurn(ctx, "", onlyIfIntended, drops)
	}
	return nil
}

// readAndApply takes a snapshot and applies it. An outage is not a reason to
// seal: on an error everything stays as it is.
func (m *machine) readAndApply(ctx context.Context) error {
	started := time.Now()
	s, err := m.stableSnapshot(ctx)
	if err != nil {
		return err
	}
	m.applySnapshot(s)
	m.takenAt = started
	return nil
}

// freshInTurn brings the snapshot up to date for an operator's request.
func (m *machine) freshInTurn(ctx context.Context) error {
	if err := m.readAndApply(ctx); err != nil {
		return err
	}
	return m.ready()
}

// readAfterWrite follows a write of this server. The write counts whether or
// not it can be read now.
func (m *machine) readAfterWrite(ctx context.Context) {
	if m.readAndApply(ctx) != nil {
		m.poke()
	}
}
