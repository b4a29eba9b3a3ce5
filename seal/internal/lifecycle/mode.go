package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/mode"
	"secretstore/store"
)

// A store remembers the highest security mode that operators have chosen for it,
// and a server with a lower one does not hold its keys. Only the root key shows
// whether the record is genuine, so a sealed server only warns about it. If the
// record is missing, forged or older, the highest genuine one that this server has
// seen stays in force.

// LowerModeError means that the security mode of this server is lower than the one
// that the store remembers, so the server does not unseal.
type LowerModeError struct{ Own, Recorded mode.Mode }

func (e *LowerModeError) Error() string {
	return fmt.Sprintf("the security mode of this server, %v, is lower than %v, which is recorded for the store: restart the server with --security-mode %v",
		e.Own, e.Recorded, e.Recorded)
}

// securityMode is what this server knows about the security mode of its store. It
// is changed by the holder of the turn.
type securityMode struct {
	barrier *barrier.Barrier
	log     *zap.Logger
	own     mode.Mode // of this server
	chosen  bool      // own was chosen by an operator, so it is recorded

	highest atomic.Uint32 // the highest mode of a genuine record; 0 if none was seen
	last    atomic.Int32  // the modeRecord of the last check
	// refused: own is too low, which has sealed this server or kept it sealed.
	refused atomic.Bool
	// unfit is closed if that was found out before this server held the keys for
	// the first time.
	unfit     chan struct{}
	closeOnce sync.Once
	// notWritten is the last error of recording own, which was logged; owned by the
	// holder of the turn.
	notWritten string
}

// modeRecord says what is in the place of the record.
type modeRecord int32

const (
	modeUnknown  modeRecord = iota // sealed, so it cannot be checked
	modeNone                       // there is none
	modeGenuine                    // the newest that this server knows of
	modeForged                     // the MAC is wrong, or it is not a record
	modeOutdated                   // genuine, but this server has seen a higher one
	modeRemoved                    // there is none, but this server has seen one
	modeNewer                      // written by a later release
)

// warning returns what status says; "" if all is well or not known.
func (r modeRecord) warning() string {
	const what = barrier.KeyMode + ", the record of the security mode, "
	const stays = "; this server goes by the mode that it has seen, until it is restarted"
	switch r {
	case modeForged:
		return what + "is not genuine: somebody has changed it, or a server of an earlier release has replaced the root key; " +
			"it has no effect until a server that is started with --security-mode has replaced it"
	case modeOutdated:
		return what + "is an older one that somebody has put back" + stays
	case modeRemoved:
		return what + "is gone" + stays
	case modeNewer:
		return what + "has a format that this release does not know, so that it has no effect on this server"
	}
	return ""
}

// permits returns a *LowerModeError if a genuine record, now or earlier, forbids
// this server to hold the keys under root.
func (c *securityMode) permits(uuid string, root *envelope.Key, s *snapshot) error {
	highest := mode.Mode(c.highest.Load())
	if found := s.mode.Genuine(uuid, root); found > highest {
		c.highest.Store(uint32(found))
		highest = found
	}
	if c.own < highest {
		return &LowerModeError{c.own, highest}
	}
	return nil
}

// recordOf says what s has in the place of the record.
func (c *securityMode) recordOf(s *snapshot) modeRecord {
	found := modeUnknown
	if s.state != storagePresent {
		return found
	}
	_ = c.barrier.Use(func(k *barrier.Keys) error { // an error means sealed
		highest := mode.Mode(c.highest.Load())
		genuine := s.mode.Genuine(k.UUID, k.Root)
		switch {
		case s.modeMissing && highest == 0:
			found = modeNone
		case s.modeMissing:
			found = modeRemoved
		case s.mode.Newer():
			found = modeNewer
		case genuine == 0:
			found = modeForged
		case genuine < highest:
			found = modeOutdated
		default:
			found = modeGenuine
		}
		return nil
	})
	return found
}

// check notes what s, the current snapshot, has in the place of the record. The
// caller has the turn.
func (c *securityMode) check(s *snapshot) {
	found := c.recordOf(s)
	before := modeRecord(c.last.Swap(int32(found)))
	if warning := found.warning(); found != before && warning != "" {
		c.log.Error("the security mode is not recorded as it should be", zap.String("detail", warning))
	}
}

// refuse notes that this server does not hold the keys because of err. first: it
// never did.
func (c *securityMode) refuse(err *LowerModeError, first bool) {
	if !c.refused.Swap(true) {
		c.log.Error("sealed", zap.String("reason", err.Error()))
	}
	if first {
		c.closeOnce.Do(func() { close(c.unfit) })
	}
}

// problem returns why this server stays sealed; "" if it need not.
func (c *securityMode) problem() string {
	if !c.refused.Load() {
		return ""
	}
	return (&LowerModeError{c.own, mode.Mode(c.highest.Load())}).Error()
}

// suspicion returns what a sealed server may warn of: the record in the storage
// demands a higher mode, if it is genuine.
func (c *securityMode) suspicion(s *snapshot) string {
	claimed := s.mode.Claimed()
	if s.state != storagePresent || claimed <= c.own || c.refused.Load() {
		return ""
	}
	return fmt.Sprintf("the storage has a record that the security mode of the store is %v, and this server has %v: the next unseal shows whether it is genuine, "+
		"and ends the server if it is; restart it with --security-mode %v", claimed, c.own, claimed)
}

// record records the mode that was chosen for this server, unless the store
// remembers it, or a higher one, and reports whether it wrote. The caller has the
// turn.
func (c *securityMode) record(ctx context.Context, backend store.Backend, s *snapshot) (written bool) {
	if !c.chosen || c.own == 0 || s.state != storagePresent || s.mode.Newer() {
		return false
	}
	var ops []store.Op
	err := c.barrier.Use(func(k *barrier.Keys) error {
		if s.mode.Genuine(k.UUID, k.Root) >= c.own {
			return nil
		}
		write := store.Set(barrier.KeyMode, mode.Encode(c.own, k.UUID, k.Root), s.modeVersion)
		if s.modeMissing {
			write = store.Create(barrier.KeyMode, write.Data)
		}
		ops = []store.Op{store.Check(barrier.KeyIntent, k.IntentVersion), write}
		return nil
	})
	if err != nil || ops == nil {
		return false // sealed, or recorded
	}
	if _, err = backend.Apply(ctx, ops...); err != nil {
		// Another server may have changed it, or the storage refuses the write.
		if err.Error() != c.notWritten {
			c.notWritten = err.Error()
			c.log.Warn("could not record the security mode; will keep retrying", zap.Error(err))
		}
		return false
	}
	c.notWritten = ""
	c.log.Info("the store remembers the security mode now", zap.Stringer("mode", c.own))
	return true
}

// modeOps returns the operation that writes the record of s again, for the store with
// this uuid under its next root key; none if there is no genuine record under root.
func (s *snapshot) modeOps(uuid string, root, next *envelope.Key) []store.Op {
	genuine := s.mode.Genuine(uuid, root)
	if genuine == 0 {
		return nil
	}
	return []store.Op{store.Set(barrier.KeyMode, mode.Encode(genuine, uuid, next), s.modeVersion)}
}

// SecurityMode returns the security mode of this server.
func SecurityMode(l *Lifecycle) mode.Mode { return l.mode.own }

// Unfit returns a channel that is closed once an unseal has shown that the security
// mode of this server is too low, if the server has not held the keys before.
func Unfit(l *Lifecycle) <-chan struct{} { return l.mode.unfit }
