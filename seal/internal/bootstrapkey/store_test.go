package bootstrapkey

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

// TestTheBootstrapKeyIsParsedOnceForAnUnsealAndNotKept: parsing takes milliseconds
// of a start, and the key of a store that stays sealed does not stay in memory.
func TestTheBootstrapKeyIsParsedOnceForAnUnsealAndNotKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bootstrap.key")
	b := memory.New()
	inRecord, inFile := &record{backend: b, generation: generation{generate: sealtest.GenerateKey}}, &file{path: path, generation: generation{generate: sealtest.GenerateKey}}
	put := func(k Store) *pgp.PrivateKey {
		private, ops, err := k.Prepare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Apply(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
		return private
	}
	for _, k := range []struct {
		keys   Store
		parsed *parsedKey
		remove func() error
	}{
		{inRecord, &inRecord.parsed, func() error {
			node, err := b.Get(t.Context(), barrier.KeyBootstrap, store.Latest)
			if err == nil {
				_, err = b.Apply(t.Context(), store.Delete(barrier.KeyBootstrap, node.Version))
			}
			return err
		}},
		{inFile, &inFile.parsed, func() error { return os.Remove(path) }},
	} {
		look := func(want string) {
			t.Helper()
			if got, err := k.keys.Fingerprint(t.Context()); got != want || err != nil {
				t.Errorf("%T: %q, %v, want %q", k.keys, got, err, want)
			}
		}
		load := func() *pgp.PrivateKey {
			t.Helper()
			private, err := k.keys.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return private
		}
		look("")
		key := put(k.keys).Fingerprint()
		look(key)
		if parsed := k.parsed.fresh; parsed == nil || load() != parsed {
			t.Errorf("%T: what the look has parsed is not taken", k.keys)
		}
		if k.parsed.fresh != nil {
			t.Errorf("%T: a key that was taken is kept", k.keys)
		}
		if load().Fingerprint() != key {
			t.Errorf("%T: another key", k.keys)
		}

		*k.parsed = parsedKey{}
		look(key)
		look(key)
		if k.parsed.fresh != nil {
			t.Errorf("%T: a key that unseals nothing is kept", k.keys)
		}
		*k.parsed = parsedKey{}
		look(key)
		if err := k.remove(); err != nil {
			t.Fatal(err)
		}
		look("")
		if _, err := k.keys.Load(t.Context()); !errors.Is(err, ErrNone) {
			t.Errorf("%T: a key that was removed: %v", k.keys, err)
		}
	}
}
