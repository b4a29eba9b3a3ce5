package bootstrapkey

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"go.uber.org/zap"

	"secretstore/internal/atomicfile"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// file keeps the armored key in a file of mode 0600.
type file struct {
	path string
	generation
	parsed parsedKey
}

// InFile returns a Store that keeps the key in a file.
func InFile(path string, generate Generator) Store {
	return &file{path: path, generation: generation{generate: generate}}
}

// Prepare reuses a key that is in the file already: it was made for a store
// that was not committed, or belongs to a database that is not in its place
// now, and must not be lost.
func (k *file) Prepare(ctx context.Context) (*pgp.PrivateKey, []store.Op, error) {
	if private, err := k.Load(ctx); !errors.Is(err, ErrNone) {
		return private, nil, err
	}
	private, err := k.key(ctx)
	if err != nil {
		return nil, nil, err
	}
	armored, err := private.Armor()
	if err != nil {
		return nil, nil, err
	}
	// The store that is created next opens only with this file. Folders of
	// services are often reached through links of root, as systemd makes them.
	if err := (atomicfile.Rules{Links: true}).WriteFile(k.path, armored, 0o600); err != nil {
		return nil, nil, fmt.Errorf("write the bootstrap key: %w", err)
	}
	return private, nil, nil
}

func (k *file) Load(context.Context) (*pgp.PrivateKey, error) {
	if private := k.parsed.take(); private != nil {
		return private, nil
	}
	armored, err := os.ReadFile(k.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("read the bootstrap key: %w", err)
	}
	defer clear(armored)
	private, err := pgp.ParsePrivateKey(armored)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", barrier.ErrCorrupt, k.path)
	}
	return private, nil
}

func (k *file) Fingerprint(context.Context) (string, error) {
	armored, err := os.ReadFile(k.path)
	if err != nil {
		k.parsed.take() // that file is gone
		return "", nil
	}
	defer clear(armored)
	return k.parsed.fingerprintOf(armored, pgp.ParsePrivateKey), nil
}

func (k *file) Retire(context.Context) ([]store.Op, error) { return nil, nil }

// Retired removes the file. It opens nothing any more, so a failure does no
// harm and is only logged.
func (k *file) Retired(log *zap.Logger) {
	if err := os.Remove(k.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("could not remove the bootstrap key, which no longer opens anything", zap.Error(err))
	}
}

func (k *file) Warn(ctx context.Context, log *zap.Logger, fingerprints []string) error {
	info, err := os.Stat(k.path)
	if err != nil {
		return nil
	}
	held, err := k.Fingerprint(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(fingerprints, held) {
		// Either a rekey was cut off before Retired, or the key is for another
		// database and must not be lost: let people decide.
		log.Warn("a bootstrap key is kept that does not open this store; if a rekey left it, remove it: it opens older copies of the storage",
			zap.String("file", k.path))
	}
	if info.Mode().Perm()&0o077 != 0 {
		log.Warn("the bootstrap private key can be read by others: anyone who has it and the database can read every secret; chmod 600 it",
			zap.String("file", k.path), zap.Stringer("mode", info.Mode().Perm()))
	}
	return nil
}

// ErrOtherKey means that a file holds a key that is not the one to be written.
var ErrOtherKey = errors.New("it holds another bootstrap key; move that away first")

// WriteFile writes the private key of a record, as InStorage keeps it, where InFile
// finds it. A file with another key stays as it is: ErrOtherKey.
func WriteFile(path string, record []byte) error {
	private, err := decodeRecord(record)
	if err != nil {
		return barrier.Corrupt(barrier.KeyBootstrap, err)
	}
	if there, err := InFile(path, nil).Load(context.Background()); !errors.Is(err, ErrNone) {
		if err != nil || there.Fingerprint() != private.Fingerprint() {
			return fmt.Errorf("%s: %w", path, ErrOtherKey)
		}
		return nil
	}
	armored, err := private.Armor()
	if err != nil {
		return err
	}
	defer clear(armored)
	if err := (atomicfile.Rules{Links: true}).WriteFile(path, armored, 0o600); err != nil {
		return fmt.Errorf("write the bootstrap key: %w", err)
	}
	return nil
}
