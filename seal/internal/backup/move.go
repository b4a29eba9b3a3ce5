package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// Move copies a store from one storage into another one, which is empty. It needs no
// key: all that it copies is ciphertext, except for the bootstrap key.
type Move struct {
	From, To store.Backend
	// FromKeyFile and ToKeyFile are the files with the bootstrap key; "" is the
	// storage itself.
	FromKeyFile, ToKeyFile string
	// Progress, if not nil, is called with how many records have been written.
	Progress func(records int)
	// Waiting, if not nil, is called before a write is repeated, with the reason.
	Waiting func(error)
}

// The reasons not to move a store.
var (
	// ErrInUse: servers use the storage, or write to it.
	ErrInUse = errors.New("the storage is in use")
	// ErrNoStore: there is no store to move.
	ErrNoStore = errors.New("no store is in the storage")
)

// notMoved are the records that servers make again: the store is sealed afterwards, and
// a rekey that was under way has to be started again.
var notMoved = []store.Key{
	barrier.KeyProposal, barrier.KeyRekey, barrier.KeyRotation, barrier.KeyHandover, barrier.KeyIntent,
}

// moving returns the content of the marker in a storage that a store is moved into:
// each time another one, because no move is continued.
func moving() []byte { return []byte("move " + rand.Text()) }

// Run copies the store, and leaves the source as it is. Until it has returned nil, no
// server serves the target. ErrInUse, ErrNoStore, ErrNotEmpty, store.ErrUnavailable.
func (m *Move) Run(ctx context.Context) error {
	source, ok := m.From.(store.Snapshotter)
	if !ok {
		return errUnsuitable
	}
	for _, b := range []store.Backend{m.From, m.To} {
		if err := Unused(ctx, b); err != nil {
			return err
		}
	}
	private, err := m.bootstrapKey(ctx)
	if err != nil {
		return err
	}
	r := &restore{ctx: ctx, to: m.To, progress: m.Progress, waiting: m.Waiting}
	if err := r.mark(moving()); err != nil {
		return err
	}
	var last []store.Op
	written := false
	ask := store.Snapshot{Below: []store.Key{prefix}, Except: notMoved, Again: func(int) { written = true }}
	err = source.Snapshot(ctx, ask, func(key store.Key, data []byte) error {
		switch {
		case written:
			return fmt.Errorf("%w: records were written meanwhile", ErrInUse)
		case key == barrier.KeyRestoring:
			return fmt.Errorf("%w: a restore into it, or a move, was interrupted", ErrNoStore)
		case len(data) == 0:
			return nil
		}
		op := store.Create(key, bytes.Clone(data))
		if (&store.Snapshot{Below: atOnce}).Covers(key) {
			last = append(last, op)
			return nil
		}
		return r.add(op)
	})
	if err == nil {
		err = r.flush()
	}
	if err == nil {
		err = Unused(ctx, m.From) // a server may have been started
	}
	if err != nil {
		return err
	}
	if private != nil {
		op, err := m.keep(private)
		if err != nil {
			return err
		}
		last = append(last, op...)
	}
	return r.end(last)
}

// bootstrapKey returns the private key of the store, nil if it has none.
func (m *Move) bootstrapKey(ctx context.Context) (*pgp.PrivateKey, error) {
	ctx, cancel := context.WithTimeout(ctx, restoreTime)
	defer cancel()
	if _, err := m.From.Get(ctx, barrier.KeyConfig, store.Latest); errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoStore
	} else if err != nil {
		return nil, err
	}
	from := bootstrapkey.InStorage(m.From, nil)
	if m.FromKeyFile != "" {
		from = bootstrapkey.InFile(m.FromKeyFile, nil)
	}
	private, err := from.Load(ctx)
	switch {
	case errors.Is(err, bootstrapkey.ErrNone):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if m.ToKeyFile == "" {
		return private, nil
	}
	there, err := bootstrapkey.InFile(m.ToKeyFile, nil).Load(ctx)
	switch {
	case errors.Is(err, bootstrapkey.ErrNone):
	case err != nil || there.Fingerprint() != private.Fingerprint():
		return nil, fmt.Errorf("%w: the file %s is there, with the bootstrap key of another store", ErrNotEmpty, m.ToKeyFile)
	}
	return private, nil
}

// keep writes the bootstrap key into the file of the target, or returns the operation
// that writes it into the storage.
func (m *Move) keep(private *pgp.PrivateKey) ([]store.Op, error) {
	data, err := bootstrapkey.Encode(private)
	if err != nil {
		return nil, err
	}
	if m.ToKeyFile == "" {
		return []store.Op{store.Create(barrier.KeyBootstrap, data)}, nil
	}
	defer clear(data)
	return nil, bootstrapkey.WriteFile(m.ToKeyFile, data)
}

// Unused returns ErrInUse if servers announce themselves in a storage: to other
// servers, or, those of earlier releases, only to people. A file of bbolt is locked
// by the process that has it open.
func Unused(ctx context.Context, b store.Backend) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTime)
	defer cancel()
	if a, ok := b.(store.Announcer); ok {
		if all, err := a.Announcements(ctx); err != nil || len(all) > 0 {
			return inUse(len(all), err)
		}
	}
	if p, ok := b.(interface {
		Nodes(context.Context) ([]store.Announcement, error)
	}); ok {
		if all, err := p.Nodes(ctx); err != nil || len(all) > 0 {
			return inUse(len(all), err)
		}
	}
	return nil
}

func inUse(servers int, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w by %d server(s)", ErrInUse, servers)
}
