// Package offline works on a storage without a server: it reads the record of the
// holders, exports the secrets, and removes everything. It opens secrets only through
// package seal, and has the plaintext of one secret at a time.
//
// It knows the keys of some records, because a storage may be too damaged for package
// seal to open.
package offline

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"secretstore/seal/pgp"
	"secretstore/store"
)

// The keys of records that are read directly; package seal describes the layout.
const (
	keyConfig    store.Key = "stores/default/config"
	keyRoot      store.Key = "stores/default/root"
	keyKeyring   store.Key = "stores/default/keyring"
	keyIntent    store.Key = "stores/default/seal"
	keyBootstrap store.Key = "keys/bootstrap_user.key"
	keySecrets   store.Key = "stores/default/secrets"
	keyDeleted   store.Key = "stores/default/deleted"
	keyMarks     store.Key = "stores/default/marks"
	keyBlobs     store.Key = "stores/default/blobs"
	keyIAM       store.Key = "stores/default/iam"
	keyRestoring store.Key = "stores/default/restoring"
)

// callTime is the time limit of one call of the storage.
const callTime = 30 * time.Second

// Info is the content of the record of the holders. It is not authenticated: anybody who
// can write to the storage may have written it. The zero value means no store.
type Info struct {
	UUID         string   `json:"uuid"`
	Shares       int      `json:"shares"`
	Threshold    int      `json:"threshold"`
	Keys         []string `json:"keys"`             // the wrapped shares, hex of OpenPGP messages
	Fingerprints []string `json:"pgp_fingerprints"` // of their holders
}

// ErrUnreadable: the record of the holders is malformed.
var ErrUnreadable = errors.New("the record of the holders is damaged")

// Look reads the record of the holders. It returns the zero Info if there is none.
// ErrUnreadable.
func Look(ctx context.Context, b store.Backend) (Info, error) {
	node, err := get(ctx, b, keyConfig)
	if errors.Is(err, store.ErrNotFound) {
		return Info{}, nil
	}
	if err != nil {
		return Info{}, err
	}
	return parseInfo(node.Data)
}

func parseInfo(data []byte) (info Info, err error) {
	if json.Unmarshal(data, &info) != nil || info.UUID == "" || info.Threshold < 1 || len(info.Keys) < info.Threshold {
		return Info{}, ErrUnreadable
	}
	return info, nil
}

// ErrNoBootstrapKey: the storage has no bootstrap private key, or a wrong one.
var ErrNoBootstrapKey = errors.New("no bootstrap key that opens the store is kept in the storage")

// BootstrapShare decrypts the unseal key of a bootstrapped store with the private key in
// file, or in the storage if file is "". ErrNoBootstrapKey.
func BootstrapShare(ctx context.Context, b store.Backend, file string, info Info) (string, error) {
	armored, err := bootstrapKey(ctx, b, file)
	if err != nil {
		return "", err
	}
	defer clear(armored)
	private, err := pgp.ParsePrivateKey(armored)
	if err != nil || len(info.Keys) != 1 {
		return "", ErrNoBootstrapKey
	}
	message, err := hex.DecodeString(info.Keys[0])
	if err != nil {
		return "", ErrNoBootstrapKey
	}
	share, err := private.Unwrap(message)
	if err != nil {
		return "", ErrNoBootstrapKey
	}
	return strings.TrimSpace(string(share)), nil
}

func bootstrapKey(ctx context.Context, b store.Backend, file string) ([]byte, error) {
	if file != "" {
		armored, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, ErrNoBootstrapKey
		}
		return armored, err
	}
	node, err := get(ctx, b, keyBootstrap)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoBootstrapKey
	}
	if err != nil {
		return nil, err
	}
	text := bytes.Trim(bytes.TrimSpace(node.Data), `"`)
	armored := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(armored, text)
	if err != nil {
		return nil, ErrNoBootstrapKey
	}
	return armored[:n], nil
}

func get(ctx context.Context, b store.Backend, key store.Key) (store.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	node, err := b.Get(ctx, key, store.Latest)
	if err != nil {
		return store.Node{}, fmt.Errorf("read %s: %w", key, err)
	}
	return node, nil
}

func children(ctx context.Context, b store.Backend, key store.Key) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	list, err := b.Children(ctx, key, store.Latest)
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", key, err)
	}
	return list.Names, nil
}

func apply(ctx context.Context, b store.Backend, ops ...store.Op) ([]store.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return b.Apply(ctx, ops...)
}
