// Package bootstrapkey keeps the bootstrap private key of a store: in the
// storage itself, or in a file beside it. Anyone who can read it can unseal the
// store.
package bootstrapkey

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/pgp"
	"secretstore/store"
)

// ErrNone means that no private key is held for the store.
var ErrNone = errors.New("no bootstrap key is held for this store")

// Store keeps the private key.
type Store interface {
	// Prepare returns a private key for a new store, and the operations that
	// write it, for the transaction that creates the store. It keeps that key
	// until Forget. ErrCreating if ctx ends before there is one.
	Prepare(ctx context.Context) (*pgp.PrivateKey, []store.Op, error)
	// Creating reports whether Prepare has begun to make a key that is not
	// finished. Forget drops the key that Prepare keeps.
	Creating() bool
	Forget()
	// Load returns the key. ErrNone, barrier.ErrCorrupt, store.ErrUnavailable.
	Load(ctx context.Context) (*pgp.PrivateKey, error)
	// Fingerprint returns the fingerprint of the key that Load would return; ""
	// if there is none that could be used. store.ErrUnavailable.
	Fingerprint(ctx context.Context) (string, error)
	// Retire returns the operations that remove the key from the storage, for
	// the transaction after which it opens nothing any more. Retired removes what
	// is left after that transaction.
	Retire(ctx context.Context) ([]store.Op, error)
	Retired(log *zap.Logger)
	// Warn logs what is wrong with the way the key is kept, in a store whose
	// unseal key is wrapped for these fingerprints. An error means that this
	// could not be found out.
	Warn(ctx context.Context, log *zap.Logger, fingerprints []string) error
}

// Generator makes a key pair for a new store.
type Generator func() (*pgp.PrivateKey, error)

// Generate makes a new RSA-4096 key pair, which takes about a second.
func Generate() (*pgp.PrivateKey, error) { return pgp.Generate(time.Now()) }

// readTimeout bounds the reads of Warn.
const readTimeout = 4 * time.Second

// parsedKey remembers whose key a record holds, so that the record is not
// parsed for each snapshot: that takes 15 ms, in which the numbers of an RSA
// key are checked. It keeps the hash of the record. The key itself it keeps
// only until the unseal that follows, or until the next snapshot if none does.
type parsedKey struct {
	mu          sync.Mutex
	hash        [sha256.Size]byte // guarded by mu
	fingerprint string            // guarded by mu
	fresh       *pgp.PrivateKey   // guarded by mu
}

// fingerprintOf returns the fingerprint of the record's key; "" if it does not
// parse.
func (k *parsedKey) fingerprintOf(record []byte, parse func([]byte) (*pgp.PrivateKey, error)) string {
	hash := sha256.Sum256(record)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fresh = nil
	if k.hash != hash {
		k.hash, k.fingerprint = hash, ""
		if private, err := parse(record); err == nil {
			k.fingerprint, k.fresh = private.Fingerprint(), private
		}
	}
	return k.fingerprint
}

// take returns and forgets the key that the last snapshot parsed; nil if none
// was.
func (k *parsedKey) take() *pgp.PrivateKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	private := k.fresh
	k.fresh = nil
	return private
}
