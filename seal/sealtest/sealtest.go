// Package sealtest holds OpenPGP key pairs for tests. A new RSA-4096 key takes
// a second, and many seconds on a busy machine, so tests share these. Everybody
// has the private keys: nothing but tests may import this package.
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
	Bootstrap = iota // what GenerateKey returns
	Holder           // of an operator
	Other            // of anybody else
	keys
)

// GenerateKey returns the key Bootstrap. It is for seal.Options.
func GenerateKey() (*pgp.PrivateKey, error) { return parsed[Bootstrap]() }

// Key returns one of the keys. It panics on a number that is not one of the
// constants.
func Key(number int) *pgp.PrivateKey {
	key, err := parsed[number]()
	if err != nil {
		panic(err)
	}
	return key
}

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
