// Package sealtest holds OpenPGP key pairs for tests. Generating an RSA-4096 key
// takes a second, and many seconds on a busy machine, so tests share these. The
// private keys are public: only tests may import this package.
package sealtest

import (
	"embed"
	"fmt"
	"sync"

	"secretstore/seal/pgp"
)

//go:embed testdata/*.asc
var files embed.FS

// The numbers of the keys, for Key.
const (
	Bootstrap = iota // the key that GenerateKey returns
	Holder           // the key of a share holder
	Other            // the key of somebody else
	keys             // how many there are
)

// GenerateKey returns the key Bootstrap. It fits seal.Options.GenerateKey.
func GenerateKey() (*pgp.PrivateKey, error) { return parsed[Bootstrap]() }

// Key returns the key with the given number, which must be one of the constants.
func Key(number int) *pgp.PrivateKey {
	key, err := parsed[number]()
	if err != nil {
		panic(err)
	}
	return key
}

// parsed parses each key on first use.
var parsed = func() (all [keys]func() (*pgp.PrivateKey, error)) {
	for i := range all {
		all[i] = sync.OnceValues(func() (*pgp.PrivateKey, error) {
			armored, err := files.ReadFile(fmt.Sprintf("testdata/key%d.asc", i))
			if err != nil {
				return nil, err
			}
			return pgp.ParsePrivateKey(armored)
		})
	}
	return all
}()
