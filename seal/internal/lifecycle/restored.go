package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/restored"
	"secretstore/store"
)

// A restored store begins a new incarnation with its first unseal. It is known by the
// record of the restore, and by its keyring, which says that it is of a backup: that
// cannot be changed without the root key. The keyring of the new incarnation, the
// intent to be unsealed and the removal of the record are one transaction, so of
// several servers one makes the incarnation, and the others read it.

// RestoreError means that the store is to stay sealed, because what it was restored
// from cannot be trusted.
type RestoreError struct{ problem string }

func (e *RestoreError) Error() string { return e.problem }

const (
	restoreAgain = "remove everything with the servers stopped, and restore a backup that `secretstore backup drill` accepts"

	restoreNotGenuine = "the store was restored from a file that no server of it has made (" + barrier.KeyRestored +
		" has a wrong MAC), so it stays sealed: " + restoreAgain + "; if nobody has restored it, somebody has put that record there: remove the record"
	restoreWithoutRecord = "the store was restored from a backup, but the record of that, " + barrier.KeyRestored +
		", is missing, so it stays sealed: " + restoreAgain
)

// restore is what an unseal knows of a restore that it is the first after.
type restore struct {
	record  restored.Record // zero if there is none
	version store.Version
}

// restoredSince returns the restore that no unseal has followed yet, nil if there is
// none. *RestoreError, errUnsealedMeanwhile.
func (u *Unsealer) restoredSince(ctx context.Context, s *snapshot, k *barrier.Keys) (*restore, error) {
	node, err := u.backend.Get(ctx, barrier.KeyRestored, store.Latest)
	switch {
	case errors.Is(err, store.ErrNotFound) && k.Ring.Backup.IsZero():
		return nil, nil
	case errors.Is(err, store.ErrNotFound):
		keyring, err := u.backend.Get(ctx, barrier.KeyKeyring, store.Latest)
		if err == nil && keyring.Version != s.keyringVersion {
			err = errUnsealedMeanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", barrier.KeyKeyring, err)
		}
		return nil, &RestoreError{restoreWithoutRecord}
	case errors.Is(err, store.ErrUnusable):
		return nil, &RestoreError{restoreNotGenuine}
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", barrier.KeyRestored, err)
	}
	record, err := restored.Parse(node.Data)
	if err != nil || !record.Genuine(k.Root) {
		return nil, &RestoreError{restoreNotGenuine}
	}
	return &restore{record, node.Version}, nil
}

// made returns when the backup was made. Only what the keyring says is authentic.
func (r *restore) made(ring *barrier.Keyring) time.Time {
	if ring.Backup.IsZero() {
		return r.record.Made // of a release that did not mark the keyring
	}
	return ring.Backup
}

// noteRestoreProblem keeps the reason why the store stays sealed.
func (u *Unsealer) noteRestoreProblem(err *RestoreError) {
	if old := u.restoreProblem.Swap(err); old == nil || *old != *err {
		u.log.Error("the store stays sealed", zap.Error(err))
	}
}

// errUnsealedMeanwhile: another server has changed the records of the keys since they
// were read.
var errUnsealedMeanwhile = errors.New("the records of the keys were changed at the same time")

// beginIncarnation writes the keyring of a new incarnation and puts it into k.
// intended says that the intent to be unsealed is recorded already. An error means
// that k is not to be used: errUnsealedMeanwhile.
func (u *Unsealer) beginIncarnation(ctx context.Context, s *snapshot, k *barrier.Keys, r *restore, intended bool) error {
	contents := k.Ring.Contents
	lacks, late := u.lacks(ctx, r, k.Ring)
	ring := k.Ring.Reincarnated(r.made(k.Ring))
	data, err := ring.Seal(k.Root, k.UUID)
	if err != nil {
		return err
	}
	ops := []store.Op{store.Set(barrier.KeyKeyring, data, s.keyringVersion), store.Delete(barrier.KeyRestored, r.version)}
	if intended {
		ops = append(ops, store.Check(barrier.KeyIntent, s.intentVersion))
	} else {
		ops = append(ops, s.intentOps(u.intentOf(k))...)
	}
	versions, err := u.backend.Apply(ctx, ops...)
	var refused *store.OpError
	if errors.As(err, &refused) {
		return errUnsealedMeanwhile
	}
	if err != nil {
		return fmt.Errorf("begin a new incarnation: %w", err)
	}
	k.Ring, k.KeyringVersion = ring, versions[0]
	if !intended {
		k.IntentVersion = versions[3]
	}
	u.log.Warn("the store was restored from a backup: secrets are as of then, and so are accounts, passwords and grants, unless they were left out; "+
		"tokens of accounts, sessions and task tokens from before are refused",
		zap.Time("backup_made", ring.Restored), zap.Bool("without_iam", r.record.WithoutIAM))
	if !late {
		u.warnOfRestore(lacks)
		return nil
	}
	u.restoreWarning.Store(&lacks)
	select {
	case u.late <- contents:
	default: // one is waiting already
	}
	return nil
}
