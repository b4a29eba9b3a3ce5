// Package handover gets a new root key to the other unsealed servers, so that
// nothing that the storage ever holds opens it. Each unsealed server announces the
// public half of a key pair that it made for this purpose, and that exists only in
// its memory. A new root key is encrypted to those keys. A server that has taken it
// over makes another pair.
//
// Both records are authenticated under the root key that is being replaced. Someone
// who has that root key, and can write to the storage, can therefore announce a key
// of their own: people check the list of recipients. Everything here is pure.
package handover

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"secretstore/seal/envelope"
)

// path is the key of the record with the handed over root key.
const path = "stores/default/handover"

// The parts of HPKE (RFC 9180) that are used.
var (
	kem  = hpke.DHKEM(ecdh.X25519())
	kdf  = hpke.HKDFSHA256()
	aead = hpke.AES256GCM()
)

// Key is the key pair of one server for one handover.
type Key struct{ private, public []byte }

// NewKey makes a key pair.
func NewKey() *Key {
	pair, err := kem.GenerateKey()
	if err != nil {
		panic("internal error: no X25519 key: " + err.Error()) // unreachable: crypto/rand does not fail
	}
	private, err := pair.Bytes()
	if err != nil {
		panic("internal error: an X25519 key has no bytes: " + err.Error()) // unreachable
	}
	return &Key{private: private, public: pair.PublicKey().Bytes()}
}

// Clear overwrites the private half. Nothing that was handed over to it opens
// from then on.
func (k *Key) Clear() { clear(k.private) }

// Announcement is what a server says about itself to the others.
type Announcement struct {
	Format int    `json:"format"`
	Name   string `json:"name"` // for people: the host, and where it listens
	// Key is the public key in hex, and MAC authenticates it, the name and the id
	// of the server under the root key. Both are empty while the server is sealed.
	Key string `json:"key,omitempty"`
	MAC string `json:"mac,omitempty"`
}

const (
	format = 1
	// maxName is the longest name in bytes.
	maxName = 512
)

var errMalformed = errors.New("not a valid announcement of a server")

// Sealed returns the announcement of a sealed server.
func Sealed(name string) []byte { return Announcement{Format: format, Name: name}.encode() }

// Unsealed returns the announcement of an unsealed server.
func Unsealed(store, id, name string, root *envelope.Key, key *Key) []byte {
	a := Announcement{Format: format, Name: name, Key: hex.EncodeToString(key.public)}
	a.MAC = hex.EncodeToString(a.mac(store, id, root))
	return a.encode()
}

func (a Announcement) encode() []byte {
	data, err := json.Marshal(a)
	if err != nil {
		panic("internal error: an announcement does not encode") // unreachable: plain fields
	}
	return data
}

func (a Announcement) mac(store, id string, root *envelope.Key) []byte {
	key := root.Derive("secretstore announcement\x00"+store, sha256.Size)
	defer clear(key)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "\x00" + a.Name + "\x00" + a.Key)) // no part contains a zero byte
	return mac.Sum(nil)
}

// Parse reads an announcement, which an attacker may have written.
func Parse(data []byte) (Announcement, error) {
	var a Announcement
	if json.Unmarshal(data, &a) != nil || a.Format != format || !ValidName(a.Name) {
		return Announcement{}, errMalformed
	}
	if raw, err := hex.DecodeString(a.Key); err != nil || len(raw) > 0 && hex.EncodeToString(raw) != a.Key {
		return Announcement{}, errMalformed
	}
	return a, nil
}

// ValidName says whether a server may announce itself by this name: printable
// ASCII, which cannot move a cursor or look like something else on a terminal.
func ValidName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' })
}

// PublicKey returns the key of the server id, if the announcement was made by
// someone who has the root key.
func (a Announcement) PublicKey(store, id string, root *envelope.Key) (hpke.PublicKey, bool) {
	got, err := hex.DecodeString(a.MAC)
	if err != nil || a.Key == "" || !hmac.Equal(got, a.mac(store, id, root)) {
		return nil, false
	}
	raw, err := hex.DecodeString(a.Key)
	if err != nil {
		return nil, false
	}
	key, err := kem.NewPublicKey(raw)
	return key, err == nil
}

// Recipient is a server that a root key is handed over to.
type Recipient struct {
	ID  string
	Key hpke.PublicKey
}

// sealedKey is the root key for one server.
type sealedKey struct {
	ID      string `json:"id"`
	Message []byte `json:"message"` // of HPKE
}

func place(store string) envelope.Place {
	return envelope.Place{Store: store, Kind: envelope.KindHandover, Path: path}
}

// info binds a message of HPKE to what it is for.
func info(store, id string) []byte { return []byte("secretstore handover\x00" + store + "\x00" + id) }

// Seal returns the record that hands over the root key next to servers that have
// the root key last.
func Seal(store string, last, next *envelope.Key, to []Recipient) ([]byte, error) {
	plain := next.Bytes()
	defer clear(plain)
	keys := make([]sealedKey, 0, len(to))
	for _, r := range to {
		message, err := hpke.Seal(r.Key, kdf, aead, info(store, r.ID), plain)
		if err != nil {
			return nil, err
		}
		keys = append(keys, sealedKey{r.ID, message})
	}
	data, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	return envelope.Seal(last, place(store), envelope.Header{Kind: envelope.KindHandover, ID: envelope.NewID()}, data), nil
}

// ErrNotForUs: the record is genuine, but does not hand over the root key to this
// key of this server.
var ErrNotForUs = errors.New("the new root key was not handed over to this server")

// Open returns the root key that was handed over to the key of the server id.
// envelope.ErrCorrupt, ErrNotForUs.
func Open(store, id string, last *envelope.Key, key *Key, record []byte) (*envelope.Key, error) {
	data, _, err := envelope.Open(last, place(store), record)
	if err != nil {
		return nil, err
	}
	private, err := kem.NewPrivateKey(key.private)
	if err != nil {
		return nil, ErrNotForUs
	}
	var keys []sealedKey
	if json.Unmarshal(data, &keys) != nil {
		return nil, envelope.ErrCorrupt
	}
	for _, k := range keys {
		if k.ID != id {
			continue
		}
		plain, err := hpke.Open(private, kdf, aead, info(store, id), k.Message)
		if err != nil {
			return nil, ErrNotForUs
		}
		defer clear(plain)
		return envelope.KeyFromBytes(plain)
	}
	return nil, ErrNotForUs
}
