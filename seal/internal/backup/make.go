package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"secretstore/iam"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/internal/holders"
	"secretstore/seal/internal/identities"
	"secretstore/seal/internal/restored"
	"secretstore/store"
)

// ErrKeysChanged: the keys were replaced, or handed over, while the backup was made.
var ErrKeysChanged = errors.New("the keys changed while the backup was made; try again")

var errUnsuitable = errors.New("internal error: this storage has no snapshots")

// Backups makes backups of an unsealed store.
type Backups struct {
	backend store.Backend
	barrier *barrier.Barrier
	private bootstrapkey.Store
	// refresh reads what the storage says of the keys.
	refresh func(context.Context) error
}

// New returns the Backups of a backend. refresh reads a fresh snapshot of the life
// cycle.
func New(backend store.Backend, b *barrier.Barrier, private bootstrapkey.Store, refresh func(context.Context) error) *Backups {
	return &Backups{backend: backend, barrier: b, private: private, refresh: refresh}
}

// Options is what a backup is made of.
type Options struct {
	Release, Storage string // as in Manifest
	// Rate is how many records are read per second; 0 is any number.
	Rate int
	// Pause permits writes to be held back for a moment, on all servers: see
	// store.Snapshot.
	Pause bool
	// BootstrapKey adds the private key, if the store has one that opens it. Whoever
	// reads such a backup can open it.
	BootstrapKey bool
	// Instead are records that are written instead of those of the storage.
	Instead map[store.Key][]byte
}

// leftOut are the records that a backup does not have: what servers are doing just
// now, and how often task tokens were used. The identities are without the records
// of last use.
var leftOut = []store.Key{
	barrier.KeyProposal, barrier.KeyRekey, barrier.KeyRotation, barrier.KeyTasks, barrier.KeyRestoring, barrier.KeyRestored,
}

// isLastUse reports whether a record of the identities is left out.
func isLastUse(name string) bool { return strings.HasPrefix(name, iam.UsedPrefix) }

// inBackup reports whether a backup can have a record under key.
func inBackup(key store.Key) bool {
	ask := store.Snapshot{Below: []store.Key{prefix, barrier.KeyBootstrap}, Except: append(leftOut, barrier.KeyHandover)}
	return store.ValidKey(key) == nil && ask.Covers(key)
}

// Backup writes a backup to w. Everything in it is the state of one moment during
// the call. A backup that ends with an error is not complete, and no reader takes it
// for one. ErrSealed, ErrKeysChanged, store.ErrTooManyWrites, store.ErrUnavailable,
// and the errors of w.
func (b *Backups) Backup(ctx context.Context, w io.Writer, o Options) (Manifest, error) {
	source, ok := b.backend.(store.Snapshotter)
	if !ok {
		return Manifest{}, errUnsuitable
	}
	if err := b.refresh(ctx); err != nil {
		return Manifest{}, err
	}
	out, err := NewWriter(w)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{Made: time.Now().UTC().Truncate(time.Second), Release: o.Release, Storage: o.Storage}
	var keyring, config []byte
	handover := false
	identities := identities.NewCopy(b.barrier, isLastUse, out.Put)
	err = source.Snapshot(ctx, store.Snapshot{Below: []store.Key{prefix}, Except: leftOut, Rate: o.Rate, Pause: o.Pause}, func(key store.Key, data []byte) error {
		if key == barrier.KeyConfig {
			config = bytes.Clone(data)
		}
		switch {
		case key == barrier.KeyHandover:
			handover = len(data) > 0
			return nil
		case key == barrier.KeyKeyring:
			keyring = bytes.Clone(data)
			return nil
		case covers(key, barrier.KeyIAM):
			return identities.Take(key, data)
		case o.Instead[key] != nil:
			data = o.Instead[key]
		}
		return out.Put(key, data)
	})
	if err == nil {
		err = identities.End()
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("back up: %w", err)
	}
	if handover && !b.barrier.Offline() {
		return Manifest{}, ErrKeysChanged
	}
	if o.BootstrapKey {
		if m.BootstrapKey, err = b.addBootstrapKey(ctx, out, config); err != nil {
			return Manifest{}, err
		}
	}
	err = b.barrier.Use(func(k *barrier.Keys) error {
		ring, err := barrier.OpenKeyring(k.UUID, k.Root, keyring)
		if err != nil {
			return ErrKeysChanged
		}
		defer ring.Clear()
		m.Store = k.UUID
		keyring, err = ring.OfBackup(m.Made, out.contents.counted()).Seal(k.Root, k.UUID)
		return err
	})
	if err == nil {
		err = out.Put(barrier.KeyKeyring, keyring)
	}
	if err != nil {
		return Manifest{}, err
	}
	return out.Close(m, func(sum []byte) (mac []byte, err error) {
		err = b.barrier.Use(func(k *barrier.Keys) error { mac = restored.MAC(sum, k.Root); return nil })
		return mac, err
	})
}

// Made reports whether a server of this store has made a backup, with the root key
// that is in memory.
func (b *Backups) Made(of *Backup) bool {
	made := false
	_ = b.barrier.Use(func(k *barrier.Keys) error { made = of.Authentic(k.Root); return nil }) // sealed: false
	return made
}

// addBootstrapKey writes the private key in the form that it has in the storage, if it
// opens the backup, which has this record of the holders. It reports whether it does.
// ErrKeysChanged.
func (b *Backups) addBootstrapKey(ctx context.Context, out *Writer, config []byte) (bool, error) {
	of, err := holders.ParseConfig(config)
	if err != nil {
		return false, barrier.Corrupt(barrier.KeyConfig, err)
	}
	private, err := b.private.Load(ctx)
	switch {
	case err != nil && !errors.Is(err, bootstrapkey.ErrNone):
		return false, err
	case err == nil && slices.Contains(of.Fingerprints, private.Fingerprint()):
		data, err := bootstrapkey.Encode(private)
		if err != nil {
			return false, err
		}
		defer clear(data)
		return true, out.Put(barrier.KeyBootstrap, data)
	}
	// The key is missing, unless a rekey has replaced it since the snapshot.
	now, err := b.backend.Get(ctx, barrier.KeyConfig, store.Latest)
	if err == nil && !bytes.Equal(now.Data, config) {
		err = ErrKeysChanged
	}
	return false, err
}
