package barrier

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"secretstore/internal/scrub"
	"secretstore/seal/envelope"
)

// Keyring holds the keys that encrypt secrets: one for names, and one data key
// for each term. It is immutable; a new term makes a new keyring.
type Keyring struct {
	Name   *envelope.Key
	Terms  map[uint32]*envelope.Key
	Active uint32 // the term of new writes

	// Incarnation is that of the store, and Restored when the backup was made that
	// the store was restored from; both are zero unless it was.
	Incarnation Incarnation
	Restored    time.Time
	// Backup is when the backup was made that this keyring is in, or was restored
	// from; zero if it is not of a backup. Such a keyring is never in force.
	Backup time.Time
	// Contents is what that backup has; zero if it has nothing, or if an earlier
	// release has made it.
	Contents Contents
}

// Contents is how many records of some kinds a backup has. The others are not
// counted: without them nothing opens, or readers find that they are missing.
type Contents struct {
	Secrets int `json:"secrets,omitempty"`
	Deleted int `json:"deleted,omitempty"` // secrets
	Pieces  int `json:"pieces,omitempty"`  // of large values
	// Identities says that there are any: these have an index with a MAC.
	Identities bool `json:"identities,omitempty"`
}

// keyringFormat is the newest format of the keyring's plaintext.
const keyringFormat = 1

// keyringRecord is the plaintext of the keyring's envelope.
type keyringRecord struct {
	Format int          `json:"format"`
	Name   []byte       `json:"name_key"`
	Terms  []termRecord `json:"terms"`
	Active uint32       `json:"active"`
	// Earlier releases ignore these, and drop them when they write a keyring.
	Incarnation []byte    `json:"incarnation,omitempty"`
	Restored    time.Time `json:"restored,omitzero"`
	Backup      time.Time `json:"backup,omitzero"`
	Contents    Contents  `json:"backup_contents,omitzero"`
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
	next := *k
	next.Terms = maps.Clone(k.Terms)
	for term := range k.Terms {
		next.Active = max(next.Active, term+1)
	}
	next.Terms[next.Active] = NewKey()
	return &next, nil
}

// WithActiveOnly returns a keyring that has only the data key of new writes.
func (k *Keyring) WithActiveOnly() *Keyring {
	next := *k
	next.Terms = map[uint32]*envelope.Key{k.Active: k.Terms[k.Active]}
	return &next
}

// OfBackup returns the keyring for a backup with these contents that was made then,
// with the same keys.
func (k *Keyring) OfBackup(made time.Time, c Contents) *Keyring {
	next := *k
	next.Backup, next.Contents = made, c
	return &next
}

// Reincarnated returns the keyring of a store that was restored from a backup that
// was made then, with the same keys.
func (k *Keyring) Reincarnated(made time.Time) *Keyring {
	next := *k
	next.Incarnation, next.Restored = NewIncarnation(), made
	next.Backup, next.Contents = time.Time{}, Contents{}
	return &next
}

// Follows reports whether k may follow the keyring before in a running server: not
// if it is of a backup, or of another incarnation.
func (k *Keyring) Follows(before *Keyring) bool {
	return k.Backup.IsZero() && k.Incarnation == before.Incarnation
}

// encode returns the plaintext of the keyring; the caller clears it.
func (k *Keyring) encode() ([]byte, error) {
	rec := keyringRecord{Format: keyringFormat, Name: k.Name.Bytes(), Active: k.Active, Restored: k.Restored, Backup: k.Backup, Contents: k.Contents}
	if k.Incarnation != (Incarnation{}) {
		rec.Incarnation = k.Incarnation[:]
	}
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
	k := &Keyring{Name: name, Terms: make(map[uint32]*envelope.Key), Active: rec.Active, Restored: rec.Restored, Backup: rec.Backup, Contents: rec.Contents}
	if n := copy(k.Incarnation[:], rec.Incarnation); len(rec.Incarnation) != 0 && (n != len(k.Incarnation) || n != len(rec.Incarnation)) {
		return nil, errBadKeyring
	}
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
