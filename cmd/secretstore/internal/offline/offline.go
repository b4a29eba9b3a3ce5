// Package offline works on a storage without a server: it tells whose the store
// is, writes its secrets out, and removes everything. It opens secrets only
// through package seal, and holds plaintext no longer than one secret takes.
//
// It knows the keys of the records by name, because what it has to deal with may
// be too damaged for package seal to open.
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

// The records that are looked at by name; the layout is described in package
// seal.
const (
	keyConfig    store.Key = "stores/default/config"
	keyIntent    store.Key = "stores/default/seal"
	keyBootstrap store.Key = "keys/bootstrap_user.key"
	keySecrets   store.Key = "stores/default/secrets"
	keyDeleted   store.Key = "stores/default/deleted"
	keyMarks     store.Key = "stores/default/marks"
	keyBlobs     store.Key = "stores/default/blobs"
)

// callTime bounds one call of the storage.
const callTime = 30 * time.Second

// Info is what the record of the holders says, in the clear: anybody who can
// write to the storage may have written it. The zero value is no store.
type Info struct {
	UUID         string   `json:"uuid"`
	Shares       int      `json:"shares"`
	Threshold    int      `json:"threshold"`
	Keys         []string `json:"keys"`             // the wrapped shares, hex of OpenPGP messages
	Fingerprints []string `json:"pgp_fingerprints"` // of their holders
}

// ErrUnreadable: the record of the holders is there, and makes no sense.
var ErrUnreadable = errors.New("the record of the holders is damaged")

// Look reads whose store the storage holds. The zero Info is none; ErrUnreadable.
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

// ErrNoBootstrapKey: the storage keeps no private key, or one that opens nothing.
var ErrNoBootstrapKey = errors.New("no bootstrap key that opens the store is kept in the storage")

// BootstrapShare returns the unseal key of a bootstrapped store, opened with the
// private key that is kept in file, or in the storage itself where file is "".
// ErrNoBootstrapKey.
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
