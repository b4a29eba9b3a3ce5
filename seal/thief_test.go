package seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"sync"
	"testing"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
	"secretstore/store/memory"
)

// recording is a backend that keeps everything that was ever written to it.
type recording struct {
	*memory.Backend
	mu      sync.Mutex
	written [][]byte // guarded by mu
}

func (r *recording) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	r.mu.Lock()
	for _, op := range ops {
		r.written = append(r.written, bytes.Clone(op.Data))
	}
	r.mu.Unlock()
	return r.Backend.Apply(ctx, ops...)
}

func (r *recording) records() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written
}

// thief has an unseal key, and envelopes that the storage holds or held. It finds
// out which other keys follow from them.
type thief struct {
	store   string
	records [][]byte
	roots   map[[envelope.KeySize]byte]*envelope.Key
	terms   map[[envelope.KeySize]byte]*envelope.Key
}

func newThief(t *testing.T, storeID, unsealKey string, records [][]byte) *thief {
	t.Helper()
	raw, err := hex.DecodeString(unsealKey)
	if err != nil {
		t.Fatal(err)
	}
	first, err := envelope.KeyFromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	th := &thief{store: storeID, roots: make(map[[envelope.KeySize]byte]*envelope.Key), terms: make(map[[envelope.KeySize]byte]*envelope.Key)}
	for _, r := range records {
		if _, err := envelope.ParseHeader(r); err == nil {
			th.records = append(th.records, r)
		}
	}
	th.learn(first, envelope.Place{Kind: envelope.KindRoot, Path: barrier.KeyRoot})
	for known := -1; known != len(th.roots); {
		known = len(th.roots)
		for _, root := range th.roots {
			// What was handed over under a root key, as it is now and as it was.
			th.learn(root, envelope.Place{Kind: envelope.KindHandover, Path: barrier.KeyHandover})
			th.learn(root, envelope.Place{Kind: 6, Path: barrier.KeyHandover})
			for _, r := range th.records {
				if ring, err := barrier.OpenKeyring(storeID, root, r); err == nil {
					for _, key := range ring.Terms {
						th.terms[[envelope.KeySize]byte(key.Bytes())] = key
					}
				}
			}
		}
	}
	return th
}

// learn opens the records of a place, and takes whatever in them opens a keyring
// for a root key.
func (th *thief) learn(key *envelope.Key, at envelope.Place) {
	at.Store = th.store
	for _, r := range th.records {
		plain, _, err := envelope.Open(key, at, r)
		if err != nil {
			continue
		}
		texts := [][]byte{plain}
		var decoded []struct{ Message []byte }
		if json.Unmarshal(plain, &decoded) == nil {
			for _, d := range decoded {
				texts = append(texts, d.Message)
			}
		}
		for _, text := range texts {
			for i := 0; i+envelope.KeySize <= len(text); i++ {
				if guess, err := envelope.KeyFromBytes(text[i : i+envelope.KeySize]); err == nil && th.isRoot(guess) {
					th.roots[[envelope.KeySize]byte(guess.Bytes())] = guess
				}
			}
		}
	}
}

func (th *thief) isRoot(key *envelope.Key) bool {
	for _, r := range th.records {
		if _, err := barrier.OpenKeyring(th.store, key, r); err == nil {
			return true
		}
	}
	return false
}

// opens says whether some record of the secret p opens.
func (th *thief) opens(t *testing.T, p string) bool {
	t.Helper()
	at := envelope.Place{Store: th.store, Kind: envelope.KindSecret, Path: path(t, p).String()}
	for _, key := range th.terms {
		for _, r := range th.records {
			if _, _, err := envelope.Open(key, at, r); err == nil {
				return true
			}
		}
	}
	return false
}
