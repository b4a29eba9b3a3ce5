package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"secretstore/seal/envelope"
)

// keyring holds what encrypts secrets: a key for names and one data key a
// term. It is immutable; a new term makes a new keyring.
type keyring struct {
	name   *envelope.Key
	terms  map[uint32]*envelope.Key
	active uint32 // the term of new writes
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

type termRecord struct {
	Term uint32 `json:"term"`
	Key  []byte `json:"key"`
}

var errBadKeyring = errors.New("the keyring is not well-formed")

func newKeyring() *keyring {
	return &keyring{
		name:   envelope.NewKey(),
		terms:  map[uint32]*envelope.Key{1: envelope.NewKey()},
		active: 1,
	}
}

// maxTerms bounds how many data keys are kept at once: each rotation that has
// not come to its end adds one.
const maxTerms = 16

// withNewTerm returns a keyring in which new writes use a new data key. The old
// keys are shared. ErrTooManyTerms.
func (k *keyring) withNewTerm() (*keyring, error) {
	if len(k.terms) >= maxTerms {
		return nil, ErrTooManyTerms
	}
	next := &keyring{name: k.name, terms: maps.Clone(k.terms)}
	for term := range k.terms {
		next.active = max(next.active, term+1)
	}
	next.terms[next.active] = envelope.NewKey()
	return next, nil
}

// withActiveOnly returns a keyring that has forgotten all keys but the one of
// new writes.
func (k *keyring) withActiveOnly() *keyring {
	return &keyring{name: k.name, terms: map[uint32]*envelope.Key{k.active: k.terms[k.active]}, active: k.active}
}

// encode returns the plaintext of the keyring; the caller clears it.
func (k *keyring) encode() ([]byte, error) {
	rec := keyringRecord{Format: keyringFormat, Name: k.name.Bytes(), Active: k.active}
	for term, key := range k.terms {
		rec.Terms = append(rec.Terms, termRecord{Term: term, Key: key.Bytes()})
	}
	return json.Marshal(rec)
}

// decodeKeyring reads an authenticated plaintext.
func decodeKeyring(plain []byte) (*keyring, error) {
	var rec keyringRecord
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
	k := &keyring{name: name, terms: make(map[uint32]*envelope.Key), active: rec.Active}
	for _, t := range rec.Terms {
		key, err := envelope.KeyFromBytes(t.Key)
		if err != nil || t.Term == 0 || k.terms[t.Term] != nil {
			return nil, errBadKeyring
		}
		k.terms[t.Term] = key
	}
	if k.terms[k.active] == nil {
		return nil, errBadKeyring
	}
	return k, nil
}

// clear overwrites the keys, best effort.
func (k *keyring) clear() {
	k.name.Clear()
	for _, key := range k.terms {
		key.Clear()
	}
}
