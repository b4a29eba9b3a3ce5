package lifecycle

import (
	"context"
	"crypto/hmac"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/holders"
	"secretstore/store"
)

// The config record says how many holders must take part in a rekey. Anyone who
// can write to the storage can change it, so decisions about keys are taken only
// from one that carries a MAC under the root key, and whose generation is not
// lower than one that this server has seen: the genuine record from before a
// rekey decides nothing either. Reading and unsealing never depend on it.
//
// Earlier releases write no MAC. An unseal adds it to the very record that the
// unseal key was combined under, unless this server has seen a record with one
// before: then somebody has removed it. That can also have happened while no
// server looked, so such a record gets a generation above all earlier ones, and
// until it has it, only a record with the same unseal key decides.

// configTrust says whether key decisions may be taken from the config record.
type configTrust int32

const (
	configUnknown    configTrust = iota // sealed: it cannot be checked
	configGenuine                       // the only one that decides
	configAwaitsMAC                     // this server has unsealed under it and adds the MAC
	configWithoutMAC                    // never had one, or somebody has removed it
	configForged                        // the MAC is wrong
	configOutdated                      // genuine, but from before a rekey that this server has seen
)

// mayShow reports whether the config may be shown as the way to unseal: while
// sealed any may, because a wrong one does not unseal.
func (t configTrust) mayShow() bool {
	return t == configUnknown || t == configGenuine || t == configAwaitsMAC
}

// warning returns what status says; "" if all is well or not known.
func (t configTrust) warning() string {
	const what = "the holders of the unseal key cannot be changed, because " + barrier.KeyConfig + ", the record of who they are, "
	switch t {
	case configAwaitsMAC:
		return what + "has no MAC yet and could not be written; this server keeps trying to add it"
	case configWithoutMAC:
		return what + "has lost its MAC: if a server of an earlier release has done a rekey, replace that server, and restart and unseal this one; " +
			"otherwise somebody has changed the record: restore it from a backup"
	case configForged:
		return what + "has a wrong MAC: somebody has changed it; restore it from a backup"
	case configOutdated:
		return what + "is from before the last rekey: somebody has put an old one back; restore the newest from a backup"
	}
	return ""
}

// trustCheck is what this server knows about the config record. It is changed by
// the holder of the turn.
type trustCheck struct {
	barrier       *barrier.Barrier
	log           *zap.Logger
	last          atomic.Int32                   // the configTrust of the last check
	newestConfig  atomic.Uint64                  // the highest generation of a genuine one; 0 if none was seen
	unsealedUnder atomic.Pointer[holders.Config] // waits for its MAC; nil if none does
}

// trustOf says whether key decisions may be taken from the config of s.
func (c *trustCheck) trustOf(s *snapshot) configTrust {
	trust := configUnknown
	if s.state != storagePresent {
		return trust
	}
	_ = c.barrier.Use(func(k *barrier.Keys) error { // an error means sealed
		switch s.config.Verify(k.Root) {
		case holders.Genuine:
			trust = configGenuine
			under := c.unsealedUnder.Load()
			if s.config.Generation < c.newestConfig.Load() || under != nil && under.KeyCheck != s.config.KeyCheck {
				trust = configOutdated
			}
		case holders.WithoutMAC:
			trust = configWithoutMAC
			if s.config.SameRecord(c.unsealedUnder.Load()) {
				trust = configAwaitsMAC
			}
		default:
			trust = configForged
		}
		return nil
	})
	return trust
}

// check notes whether key decisions may be taken from the config of s, the current
// snapshot. The caller has the turn.
func (c *trustCheck) check(s *snapshot) {
	trust := c.trustOf(s)
	if trust == configGenuine {
		c.newestConfig.Store(s.config.Generation)
		c.unsealedUnder.Store(nil)
	}
	before := configTrust(c.last.Swap(int32(trust)))
	if warning := trust.warning(); trust != before && warning != "" && trust != configAwaitsMAC {
		c.log.Error("the record of the holders cannot be trusted", zap.String("detail", warning))
	}
}

// takeDecision takes the turn, and returns a fresh snapshot if key decisions may be
// taken from its config. The caller calls give at the end. ErrSealed,
// ErrConfigNotGenuine, and the errors of TakeFreshTurn.
func (m *Rekeys) takeDecision(ctx context.Context) (s *snapshot, give func(), err error) {
	if err := m.takeTurn(ctx); err != nil {
		return nil, nil, err
	}
	err = m.freshInTurn(ctx)
	if err == nil {
		err = m.barrier.Ready()
	}
	if s = m.snapshot.Load(); err == nil && m.trust.trustOf(s) != configGenuine {
		err = ErrConfigNotGenuine
	}
	if err != nil {
		m.giveTurn()
		return nil, nil, err
	}
	return s, m.giveTurn, nil
}

// provesCurrentKey checks that key is the unseal key in force: that it opens the
// root record, and that this holds the root key in memory. ErrWrongKey,
// ErrSealed.
func (m *Rekeys) provesCurrentKey(s *snapshot, key *envelope.Key) error {
	root, err := openRoot(s, key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	defer root.Clear()
	return m.barrier.Use(func(k *barrier.Keys) error {
		if !hmac.Equal(barrier.RootPin(k.UUID, root), k.RootPin()) {
			return fmt.Errorf("%w: it opens another root key", ErrWrongKey)
		}
		return nil
	})
}

// noteUnseal remembers the config that an unseal has just used, if the MAC is
// still to be added. The caller has the turn.
func (c *trustCheck) noteUnseal(used, current *snapshot) {
	if c.newestConfig.Load() == 0 {
		c.unsealedUnder.Store(used.config)
	}
	c.check(current)
}

// addMAC adds the MAC to the config that an unseal has used, and reports whether it
// wrote. The caller has the turn.
func (c *trustCheck) addMAC(ctx context.Context, backend store.Backend, s *snapshot) (written bool) {
	if c.trustOf(s) != configAwaitsMAC {
		return false
	}
	next := s.config.Adopted()
	var ops []store.Op
	err := c.barrier.Use(func(k *barrier.Keys) error {
		data, err := next.Encode(k.Root)
		ops = []store.Op{store.Check(barrier.KeyIntent, k.IntentVersion), store.Set(barrier.KeyConfig, data, s.configVersion)}
		return err
	})
	if err == nil {
		_, err = backend.Apply(ctx, ops...)
	}
	if err != nil {
		c.log.Warn("could not add a MAC to the record of the holders; will keep retrying", zap.Error(err))
		return false
	}
	c.log.Info("the record of the holders has a MAC now")
	return true
}

// recordTime bounds the write of one record: an unseal must not fail with it.
const recordTime = time.Second

// completeRecords writes what the records of the holders and of the security mode
// lack. A failure is tried again with the next snapshot. The caller has the turn.
func (m *machine) completeRecords(ctx context.Context) {
	for _, write := range []func(context.Context, store.Backend, *snapshot) bool{m.trust.addMAC, m.mode.record} {
		limited, cancel := context.WithTimeout(ctx, recordTime)
		if write(limited, m.backend, m.snapshot.Load()) {
			m.readAfterWrite(limited)
		}
		cancel()
	}
}
