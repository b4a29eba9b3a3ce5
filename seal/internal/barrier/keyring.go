package barrier

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"secretstore/internal/scrub"
	"secretstore/seal/envelope"
)

// Keyring holds the keys that encrypt secrets: one for names, and one data key
// for each term. It is immutable; a new term makes a new keyring.
type Keyring struct {
	Name   *envelope.Key
	Terms  map[uint32]*envelope.Key
	Active uint32 // the term of new writes
}

// keyringFormat is the newest format of the keyring's plaintext.
const keyringFormat = 1

// keyringRecord is the plaintext of the keyring's envelope.
type keyringRecord struct {
	Format int          `json:"format"`
	Name   []byte       `json:"name_key"`
	Terms  []termRecord `json:"terms"`
	Active uint32       `json:"active"`
}

func (r *keyringRecord) clear() {
	clear(r.Name)
	for _, t := range r.Terms {
		clear(t.Key)
	}
}

type termRecord struct {
	Term uint32 `json:"term"`
	Key  []byte `json:"key"`
}

var errBadKeyring = errors.New("the keyring is not well-formed")

// NewKeyring makes a keyring with one term.
func NewKeyring() *Keyring {
	name, data := NewKey(), NewKey()
	return &Keyring{Name: name, Terms: map[uint32]*envelope.Key{1: data}, Active: 1}
}

// NewKey makes a random key.
func NewKey() (key *envelope.Key) {
	scrub.Do(func() { key = envelope.NewKey() })
	return key
}

// maxTerms bounds how many data keys are kept at once: each unfinished rotation
// adds one.
const maxTerms = 16

// WithNewTerm returns a keyring in which new writes use a new data key. The old
// keys are shared. ErrTooManyTerms.
func (k *Keyring) WithNewTerm() (*Keyring, error) {
	if len(k.Terms) >= maxTerms {
		return nil, ErrTooManyTerms
	}
	next := &Keyring{Name: k.Name, Terms: maps.Clone(k.Terms)}
	for term := range k.Terms {
		next.Active = max(next.Active, term+1)
	}
	next.Terms[next.Active] = NewKey()
	return next, nil
}

// WithActiveOnly returns a keyring that has only the data key of new writes.
func (k *Keyring) WithActiveOnly() *Keyring {
	return &Keyring{Name: k.Name, Terms: map[uint32]*envelope.Key{k.Active: k.Terms[k.Active]}, Active: k.Active}
}

// encode returns the plaintext of the keyring; the caller clears it.
func (k *Keyring) encode() ([]byte, error) {
	rec := keyringRecord{Format: keyringFormat, Name: k.Name.Bytes(), Active: k.Active}
	defer rec.clear()
	for term, key := range k.Terms {
		rec.Terms = append(rec.Terms, termRecord{Term: term, Key: key.Bytes()})
	}
	return json.Marshal(rec)
}

// Seal makes the record of the keyring under a root key, for the store with
// this uuid.
func (k *Keyring) Seal(root *envelope.Key, uuid string) (record []byte, err error) {
	scrub.Do(func() { record, err = k.seal(root, uuid) })
	return record, err
}

func (k *Keyring) seal(root *envelope.Key, uuid string) ([]byte, error) {
	plain, err := k.encode()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", KeyKeyring, err)
	}
	defer clear(plain)
	return envelope.Seal(root, keyringPlace(uuid), envelope.Header{Kind: envelope.KindKeyring, Version: 1, ID: envelope.NewID()}, plain), nil
}

// OpenKeyring decrypts the record of the keyring. ErrCorrupt.
func OpenKeyring(uuid string, root *envelope.Key, data []byte) (ring *Keyring, err error) {
	scrub.Do(func() { ring, err = openKeyring(uuid, root, data) })
	return ring, err
}

func openKeyring(uuid string, root *envelope.Key, data []byte) (*Keyring, error) {
	plain, _, err := envelope.Open(root, keyringPlace(uuid), data)
	if err != nil {
		return nil, Corrupt(KeyKeyring, err)
	}
	defer clear(plain)
	ring, err := decodeKeyring(plain)
	if err != nil {
		return nil, Corrupt(KeyKeyring, err)
	}
	return ring, nil
}

func keyringPlace(uuid string) envelope.Place {
	return envelope.Place{Store: uuid, Kind: envelope.KindKeyring, Path: KeyKeyring}
}

// decodeKeyring reads an authenticated plaintext.
func decodeKeyring(plain []byte) (*Keyring, error) {
	var rec keyringRecord
	defer rec.clear()
	if err := json.Unmarshal(plain, &rec); err != nil {
		return nil, errBadKeyring // the text of err could quote a key
	}
	if rec.Format != keyringFormat {
		return nil, fmt.Errorf("%w: the keyring has format %d, this release knows %d", envelope.ErrNewerFormat, rec.Format, keyringFormat)
	}
	name, err := envelope.KeyFromBytes(rec.Name)
	if err != nil {
		return nil, errBadKeyring
	}
	k := &Keyring{Name: name, Terms: make(map[uint32]*envelope.Key), Active: rec.Active}
	for _, t := range rec.Terms {
		key, err := envelope.KeyFromBytes(t.Key)
		if err != nil || t.Term == 0 || k.Terms[t.Term] != nil {
			return nil, errBadKeyring
		}
		k.Terms[t.Term] = key
	}
	if k.Terms[k.Active] == nil {
		return nil, errBadKeyring
	}
	return k, nil
}

// Clear overwrites the keys, best effort.
func (k *Keyring) Clear() {
	k.Name.Clear()
	for _, key := range k.Terms {
		key.Clear()
	}
}
