package seal

import (
	"context"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/store"
)

// Options are what a Store is made of.
type Options struct {
	Backend store.Backend
	// Bootstrap initialises an empty storage with a new key pair, keeps its
	// private key beside the data, and unseals with it.
	Bootstrap bool
	// BootstrapKeyFile is where the bootstrap private key is kept; "" keeps it
	// in the storage itself (keys/bootstrap_user.key).
	BootstrapKeyFile string
	// MaxSecretSize is the largest value in bytes; 0 means 1 MiB.
	MaxSecretSize int64
	Log           *zap.Logger
}

// Store is one secret store, as this server sees it.
type Store struct{}

// Open reads the state of the storage, bootstraps and unseals as the options
// say, and starts to follow what other servers do. Storage that is out of reach
// is not an error: the store is then in StateUnknown and goes on trying.
func Open(ctx context.Context, o Options) (*Store, error) { panic("soon") }

// Close drops the keys and waits for everything the Store has started. It
// records no intent.
func (s *Store) Close() error { panic("soon") }

// Status returns the seal status of this server, without I/O.
func (s *Store) Status() Status { panic("soon") }

// Ping asks the storage whether it answers.
func (s *Store) Ping(ctx context.Context) error { panic("soon") }

// MaxSecretSize returns the largest value in bytes.
func (s *Store) MaxSecretSize() int64 { panic("soon") }

// InitInfo returns the wrapped keys and whether the store is initialised.
func (s *Store) InitInfo(ctx context.Context) (InitInfo, error) { panic("soon") }

// Init makes the keys of an empty storage. The store is sealed afterwards.
// ErrInitialized, ErrBadShares, ErrDamaged, *pgp.KeyError.
func (s *Store) Init(ctx context.Context, p InitParams) (InitInfo, error) { panic("soon") }

// Unseal takes the unseal key as its holder's gpg prints it (hex).
// ErrBadKey, ErrWrongKey, ErrUninitialized, ErrDamaged.
func (s *Store) Unseal(ctx context.Context, key string) (Status, error) { panic("soon") }

// AutoUnseal unseals with the bootstrap private key. encrypted is the wrapped
// key as InitInfo gives it, or "" for the one in the storage.
// ErrNoBootstrapKey, ErrWrongKey, ErrUninitialized, ErrDamaged.
func (s *Store) AutoUnseal(ctx context.Context, encrypted string) (Status, error) { panic("soon") }

// Seal drops the keys and then records the intent, so that it survives a
// restart and reaches the other servers. ErrSealNotRecorded.
func (s *Store) Seal(ctx context.Context) (Status, error) { panic("soon") }

// Get reads a secret. ErrNotFound, ErrSealed, ErrCorrupt.
func (s *Store) Get(ctx context.Context, p acl.Path, c store.Consistency) (Secret, error) {
	panic("soon")
}

// Create stores a secret that does not exist yet. ErrExists, ErrTooLarge,
// ErrBadMetadata, ErrSealed.
func (s *Store) Create(ctx context.Context, p acl.Path, c Change) error { panic("soon") }

// Update replaces the value of a secret. ErrNotFound and those of Create.
func (s *Store) Update(ctx context.Context, p acl.Path, c Change) error { panic("soon") }

// Delete removes a secret. ErrNotFound, ErrSealed.
func (s *Store) Delete(ctx context.Context, p acl.Path) error { panic("soon") }

// List returns the names of all secrets below a folder (the zero Path is the
// root), however deep. An unknown folder is an empty list. ErrSealed,
// ErrCorrupt.
func (s *Store) List(ctx context.Context, folder acl.Path, pg Page, c store.Consistency) (Names, error) {
	panic("soon")
}
