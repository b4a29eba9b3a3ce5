package envelope

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"sync"
)

// KeySize is the length of every key, in bytes.
const KeySize = 32

// Key is a 32-byte secret. The zero value is not a key: using it panics, so
// that a forgotten initialization cannot encrypt under a known key. A Key is
// passed by pointer, prints as a placeholder, and is safe for concurrent use
// except for Clear.
type Key struct {
	b   [KeySize]byte
	set bool
	// macs holds keyed HMACs (hash.Hash), ready for a message: keying one is half
	// the cost of a derivation.
	macs sync.Pool
}

// NewKey returns a random key.
func NewKey() *Key {
	k := &Key{set: true}
	rand.Read(k.b[:])
	return k
}

// KeyFromBytes copies a key of exactly KeySize bytes. It fails on any other
// length.
func KeyFromBytes(b []byte) (*Key, error) {
	if len(b) != KeySize {
		return nil, fmt.Errorf("a key has %d bytes, not %d", KeySize, len(b))
	}
	k := &Key{set: true}
	copy(k.b[:], b)
	return k, nil
}

// Bytes returns a copy of the key, for encoding into another envelope. The
// caller should clear it.
func (k *Key) Bytes() []byte { return append([]byte(nil), k.bytes()...) }

// Derive returns an n-byte key for another purpose, independent of this key and
// of every other label (HKDF-Expand, RFC 5869). It panics if n is more than
// 8160, which HKDF cannot provide.
func (k *Key) Derive(label string, n int) []byte {
	out, err := hkdf.Expand(sha256.New, k.bytes(), label, n)
	if err != nil {
		panic("internal error: HKDF refused the length") // unreachable: n is a constant of the caller
	}
	return out
}

// expand derives a key of KeySize bytes for label and salt: HKDF-Expand with
// their concatenation as info. An output of KeySize bytes, the size of a SHA-256
// digest, needs only the first block of it, HMAC(key, info ‖ 1).
func (k *Key) expand(out *[KeySize]byte, label string, salt []byte) {
	mac, reused := k.macs.Get().(hash.Hash)
	if !reused {
		mac = hmac.New(sha256.New, k.bytes())
	}
	mac.Reset()
	var info [128]byte
	mac.Write(append(append(append(info[:0], label...), salt...), 1))
	mac.Sum(out[:0])
	k.macs.Put(mac)
}

// Clear overwrites the key. This is best effort: the runtime may hold copies. Any
// later use of the key panics. Clear must not run while the key is in use.
func (k *Key) Clear() {
	if k == nil {
		return
	}
	clear(k.b[:])
	k.set = false
	k.macs = sync.Pool{} // its HMACs cannot be overwritten, only dropped
}

// String keeps the key out of logs and errors.
func (k *Key) String() string { return "key(hidden)" }

// GoString keeps the key out of %#v.
func (k *Key) GoString() string { return k.String() }

func (k *Key) bytes() []byte {
	if k == nil || !k.set {
		panic("internal error: use of an empty key")
	}
	return k.b[:]
}
