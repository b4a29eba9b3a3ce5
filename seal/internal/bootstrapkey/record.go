package bootstrapkey

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// record keeps the key as the record keys/bootstrap_user.key: in double quotes,
// the base64 of the armored private key. DC/OS documented it so for zkCli.sh,
// and its procedure (`base64 -d`, `gpg --import`) has to work.
type record struct {
	backend store.Backend
	generation
	parsed parsedKey
}

// InStorage returns a Store that keeps the key in the storage.
func InStorage(b store.Backend, generate Generator) Store {
	return &record{backend: b, generation: generation{generate: generate}}
}

func (k *record) Prepare(ctx context.Context) (*pgp.PrivateKey, []store.Op, error) {
	private, err := k.key(ctx)
	if err != nil {
		return nil, nil, err
	}
	data, err := Encode(private)
	if err != nil {
		return nil, nil, err
	}
	return private, []store.Op{store.Create(barrier.KeyBootstrap, data)}, nil
}

// Encode returns the record of a private key.
func Encode(private *pgp.PrivateKey) ([]byte, error) {
	armored, err := private.Armor()
	if err != nil {
		return nil, err
	}
	defer clear(armored)
	data := make([]byte, 2+base64.StdEncoding.EncodedLen(len(armored)))
	data[0], data[len(data)-1] = '"', '"'
	base64.StdEncoding.Encode(data[1:], armored)
	return data, nil
}

func (k *record) Load(ctx context.Context) (*pgp.PrivateKey, error) {
	if private := k.parsed.take(); private != nil {
		return private, nil
	}
	node, err := k.backend.Get(ctx, barrier.KeyBootstrap, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", barrier.KeyBootstrap, err)
	}
	private, err := decodeRecord(node.Data)
	if err != nil {
		return nil, barrier.Corrupt(barrier.KeyBootstrap, err)
	}
	return private, nil
}

func decodeRecord(data []byte) (*pgp.PrivateKey, error) {
	text := bytes.Trim(bytes.TrimSpace(data), `"`)
	armored := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	defer clear(armored)
	n, err := base64.StdEncoding.Decode(armored, text)
	if err != nil {
		return nil, err
	}
	return pgp.ParsePrivateKey(armored[:n])
}

func (k *record) Fingerprint(ctx context.Context) (string, error) {
	node, err := k.backend.Get(ctx, barrier.KeyBootstrap, store.Latest)
	if err == nil {
		return k.parsed.fingerprintOf(node.Data, decodeRecord), nil
	}
	k.parsed.take() // that record is gone
	if errors.Is(err, store.ErrUnavailable) {
		return "", fmt.Errorf("read %s: %w", barrier.KeyBootstrap, err)
	}
	return "", nil // no record, or this server may not read it
}

func (k *record) Retire(ctx context.Context) ([]store.Op, error) {
	node, err := k.backend.Get(ctx, barrier.KeyBootstrap, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", barrier.KeyBootstrap, err)
	}
	return []store.Op{store.Delete(barrier.KeyBootstrap, node.Version)}, nil
}

func (k *record) Retired(*zap.Logger) {}

func (k *record) Warn(ctx context.Context, log *zap.Logger, _ []string) error {
	backend, ok := k.backend.(store.ExposureReporter)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	exposed, err := backend.WorldReadable(ctx, barrier.KeyBootstrap)
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return err
	case exposed:
		log.Warn("the bootstrap private key is world-readable in the storage: anyone who reaches the storage can unseal; "+
			"use --zk-auth-file, or initialize with a PGP key of your own", zap.String("record", barrier.KeyBootstrap))
	}
	return nil
}
