package seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/pgp"
	"secretstore/store"
)

// keyKeeper holds the bootstrap private key: in the storage (inStorage) or in a
// file beside it (inFile). Whoever can read it can unseal the store.
type keyKeeper interface {
	// prepare returns a private key for a new store, and what is to be written
	// in the transaction that creates it.
	prepare(ctx context.Context) (*pgp.PrivateKey, []store.Op, error)
	// load returns the key. ErrNoBootstrapKey.
	load(ctx context.Context) (*pgp.PrivateKey, error)
	// fingerprint returns that of the key that load would return; "" if there is
	// none that could be used. store.ErrUnavailable.
	fingerprint(ctx context.Context) (string, error)
	// retire returns the operations that remove the key from the storage, for
	// the transaction after which it opens nothing any more; retired does what
	// is left to do then.
	retire(ctx context.Context) ([]store.Op, error)
	retired(log *zap.Logger)
	// warn logs what is wrong with the way the key is kept, in a store whose
	// unseal key is wrapped for the fingerprints. An error is that it could not
	// be found out.
	warn(ctx context.Context, log *zap.Logger, fingerprints []string) error
}

func newKeyKeeper(o Options) keyKeeper {
	generate := o.GenerateKey
	if generate == nil {
		generate = newBootstrapKey
	}
	if o.BootstrapKeyFile != "" {
		return &inFile{path: o.BootstrapKeyFile, generate: generate}
	}
	return newInStorage(o.Backend, generate)
}

func newBootstrapKey() (*pgp.PrivateKey, error) { return pgp.Generate(time.Now()) }

// inStorage keeps the key as the record keys/bootstrap_user.key: in double
// quotes, the base64 of the armored private key. DC/OS documented it so for
// zkCli.sh, and its procedure (`base64 -d`, `gpg --import`) has to work.
type inStorage struct {
	backend  store.Backend
	generate func() (*pgp.PrivateKey, error)
	known    *knownKey
}

func newInStorage(b store.Backend, generate func() (*pgp.PrivateKey, error)) inStorage {
	return inStorage{backend: b, generate: generate, known: new(knownKey)}
}

func (k inStorage) prepare(context.Context) (*pgp.PrivateKey, []store.Op, error) {
	private, err := k.generate()
	if err != nil {
		return nil, nil, err
	}
	armored, err := private.Armor()
	if err != nil {
		return nil, nil, err
	}
	record := `"` + base64.StdEncoding.EncodeToString(armored) + `"`
	return private, []store.Op{store.Create(keyBootstrap, []byte(record))}, nil
}

func (k inStorage) load(ctx context.Context) (*pgp.PrivateKey, error) {
	if private := k.known.take(); private != nil {
		return private, nil
	}
	node, err := k.backend.Get(ctx, keyBootstrap, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoBootstrapKey
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", keyBootstrap, err)
	}
	private, err := decodeKeyRecord(node.Data)
	if err != nil {
		return nil, corrupt(keyBootstrap, err)
	}
	return private, nil
}

func decodeKeyRecord(data []byte) (*pgp.PrivateKey, error) {
	text := bytes.Trim(bytes.TrimSpace(data), `"`)
	armored := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(armored, text)
	if err != nil {
		return nil, err
	}
	defer clear(armored)
	return pgp.ParsePrivateKey(armored[:n])
}

// knownKey remembers whose key a record holds, so that it is not parsed at
// every look: 15 ms, in which the numbers of an RSA key are checked. It keeps
// the hash of the record, and the key itself only from the look that has found
// it to the unseal that follows, or else to the next look.
type knownKey struct {
	mu          sync.Mutex
	hash        [sha256.Size]byte // guarded by mu
	fingerprint string            // guarded by mu
	fresh       *pgp.PrivateKey   // guarded by mu
}

// of returns the fingerprint of the record's key; "" if it does not parse.
func (k *knownKey) of(record []byte, parse func([]byte) (*pgp.PrivateKey, error)) string {
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

// take returns the key that the last look has parsed, nil if it had not to. It
// is not kept any longer.
func (k *knownKey) take() *pgp.PrivateKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	private := k.fresh
	k.fresh = nil
	return private
}

func (k inStorage) fingerprint(ctx context.Context) (string, error) {
	node, err := k.backend.Get(ctx, keyBootstrap, store.Latest)
	if err == nil {
		return k.known.of(node.Data, decodeKeyRecord), nil
	}
	k.known.take() // what was there is not any more
	if errors.Is(err, store.ErrUnavailable) {
		return "", fmt.Errorf("read %s: %w", keyBootstrap, err)
	}
	return "", nil // not there, or closed to this server
}

func (k inStorage) retire(ctx context.Context) ([]store.Op, error) {
	node, err := k.backend.Get(ctx, keyBootstrap, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", keyBootstrap, err)
	}
	return []store.Op{store.Delete(keyBootstrap, node.Version)}, nil
}

func (k inStorage) retired(*zap.Logger) {}

func (k inStorage) warn(ctx context.Context, log *zap.Logger, _ []string) error {
	backend, ok := k.backend.(store.ExposureReporter)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	open, err := backend.WorldReadable(ctx, keyBootstrap)
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return err
	case open:
		log.Warn("the bootstrap private key is world-readable in the storage: whoever reaches it can unseal; "+
			"use --zk-auth-file, or initialise with a PGP key of your own", zap.String("record", keyBootstrap))
	}
	return nil
}

// inFile keeps the armored key in a file of mode 0600.
type inFile struct {
	path     string
	generate func() (*pgp.PrivateKey, error)
	known    knownKey
}

// prepare reuses a key that is there already: it was made for a store that was
// not committed, or belongs to a database that is not where it was, and must
// not be lost.
func (k *inFile) prepare(context.Context) (*pgp.PrivateKey, []store.Op, error) {
	if private, err := k.load(context.Background()); !errors.Is(err, ErrNoBootstrapKey) {
		return private, nil, err
	}
	private, err := k.generate()
	if err != nil {
		return nil, nil, err
	}
	armored, err := private.Armor()
	if err != nil {
		return nil, nil, err
	}
	return private, nil, writeDurably(k.path, armored)
}

// writeDurably creates a file of mode 0600 that is complete or absent, also
// after a power cut: the store that is created next opens with it alone.
func writeDurably(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write the bootstrap key: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write the bootstrap key: %w", err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (k *inFile) load(context.Context) (*pgp.PrivateKey, error) {
	if private := k.known.take(); private != nil {
		return private, nil
	}
	armored, err := os.ReadFile(k.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoBootstrapKey
	}
	if err != nil {
		return nil, fmt.Errorf("read the bootstrap key: %w", err)
	}
	defer clear(armored)
	private, err := pgp.ParsePrivateKey(armored)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, k.path)
	}
	return private, nil
}

func (k *inFile) fingerprint(context.Context) (string, error) {
	armored, err := os.ReadFile(k.path)
	if err != nil {
		k.known.take() // what was there is not any more
		return "", nil
	}
	defer clear(armored)
	return k.known.of(armored, pgp.ParsePrivateKey), nil
}

func (k *inFile) retire(context.Context) ([]store.Op, error) { return nil, nil }

// retired removes the file. It opens nothing any more, so a failure costs
// nothing but tidiness, and is told.
func (k *inFile) retired(log *zap.Logger) {
	if err := os.Remove(k.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("the bootstrap key, which opens nothing any more, could not be removed", zap.Error(err))
	}
}

func (k *inFile) warn(ctx context.Context, log *zap.Logger, fingerprints []string) error {
	info, err := os.Stat(k.path)
	if err != nil {
		return nil
	}
	held, err := k.fingerprint(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(fingerprints, held) {
		// A rekey was cut off before retired, or the database is another than the
		// key is for: then it must not be lost, so that people decide.
		log.Warn("a bootstrap key is kept that opens nothing of this store; if it was left by a rekey, remove it: older copies of the storage open with it",
			zap.String("file", k.path))
	}
	if info.Mode().Perm()&0o077 != 0 {
		log.Warn("the bootstrap private key can be read by others: whoever has it and the database can read every secret; chmod 600 it",
			zap.String("file", k.path), zap.Stringer("mode", info.Mode().Perm()))
	}
	return nil
}
