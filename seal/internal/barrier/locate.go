package barrier

import (
	"crypto/aes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/tink-crypto/tink-go/v2/daead/subtle"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/store"
)

// Location is where a secret is stored. It is derived from the path once for
// each request, and is the same for the life of the store.
type Location struct {
	Path   acl.Path
	Folder store.Key // the record of its folder
	Key    store.Key // the record of the secret
}

// Deleted returns where the secret is stored once it is deleted.
func (l Location) Deleted() Location {
	return Location{Path: l.Path, Folder: DeletedKey(l.Folder), Key: DeletedKey(l.Key)}
}

// locator turns paths into keys and back, under keys that are dropped together
// with the keyring. Folders are found by a keyed hash of their path; the names
// of secrets are encrypted deterministically (AES-SIV, RFC 5297), so that one
// path always has one key, and a listing needs only the names of children.
type locator struct {
	siv       *subtle.AESSIV
	sivKey    []byte // the key of siv, kept to be overwritten
	folderKey []byte
	iamKey    []byte // finds records of the identities
	store     string // uuid: names of one store mean nothing in another
}

const (
	// namePad is what names are padded to a multiple of, in bytes, so that their
	// length reveals little.
	namePad = 32
	// maxPadded is the length of the longest name of 255 bytes, padded.
	maxPadded = 256
	// folderIDSize truncates the folder hash to 128 bits: collisions would need
	// 2^64 folders.
	folderIDSize = 16
	// folderFormat is the first byte of a folder's record.
	folderFormat = 1
)

// ErrBadName means that an encrypted name does not authenticate, or is not in
// its place.
var ErrBadName = errors.New("the name does not authenticate")

func newLocator(key *envelope.Key, store string) (*locator, error) {
	sivKey := key.Derive("secretstore names: AES-SIV", subtle.AESSIVKeySize)
	siv, err := subtle.NewAESSIV(sivKey)
	if err != nil {
		return nil, err
	}
	return &locator{siv: siv, sivKey: sivKey, folderKey: key.Derive("secretstore names: folders", sha256.Size),
		iamKey: key.Derive("secretstore names: identities", sha256.Size), store: store}, nil
}

// clear overwrites as much of the keys as can be reached.
func (l *locator) clear() {
	clear(l.sivKey)
	clear(l.folderKey)
	clear(l.iamKey)
}

// folderID is the hash under which a folder is kept.
func (l *locator) folderID(folder string) string {
	id := l.hash(l.folderKey, folder)
	return hex.EncodeToString(id[:])
}

// hash is the keyed hash under which a name of this store is kept.
func (l *locator) hash(key []byte, name string) (id [folderIDSize]byte) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(l.store))
	mac.Write([]byte{0})
	mac.Write([]byte(name))
	copy(id[:], mac.Sum(nil))
	return id
}

// FolderKey returns the key of a folder's record below KeySecrets or KeyDeleted.
// 256 buckets keep the children of one znode few at a million folders.
func FolderKey(root store.Key, id string) store.Key { return root + "/" + id[:2] + "/" + id }

// IsFolderKey reports whether key is that of the folder with this id below root.
func IsFolderKey(root, key store.Key, id string) bool {
	return isFolderID(id) && FolderKey(root, id) == key
}

// IsBucket reports whether a bucket can have this name. Malformed names are not
// of this program: they have no effect.
func IsBucket(name string) bool { return len(name) == 2 && isHex(name) }

func isFolderID(id string) bool { return len(id) == 2*folderIDSize && isHex(id) }

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// IsSecretName reports whether the record of a secret can have this name, in
// some folder.
func IsSecretName(child string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(child)
	padded := len(raw) - aes.BlockSize // of the synthetic IV
	return err == nil && padded > 0 && padded <= maxPadded && padded%namePad == 0
}

func (l *locator) locate(p acl.Path) (Location, error) {
	id := l.folderID(p.Folder().String())
	name, err := l.seal("name", id, p.Name())
	if err != nil {
		return Location{}, err
	}
	folder := FolderKey(KeySecrets, id)
	return Location{Path: p, Folder: folder, Key: folder + "/" + base64.RawURLEncoding.EncodeToString(name)}, nil
}

// openName is the inverse of locate for one child of a folder.
func (l *locator) openName(folderID, child string) (string, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(child)
	if err != nil {
		return "", ErrBadName
	}
	return l.open("name", folderID, raw)
}

// sealFolder encrypts a folder's path, for the record of the folder.
func (l *locator) sealFolder(path string) ([]byte, error) {
	sealed, err := l.seal("folder", l.folderID(path), path)
	return append([]byte{folderFormat}, sealed...), err
}

// openFolder decrypts the record of the folder with this id.
func (l *locator) openFolder(id string, data []byte) (string, error) {
	if len(data) < 1 || data[0] != folderFormat {
		return "", ErrBadName
	}
	return l.open("folder", id, data[1:])
}

func (l *locator) seal(kind, folderID, text string) ([]byte, error) {
	padded := make([]byte, (len(text)/namePad+1)*namePad)
	copy(padded, text)
	padded[len(text)] = 0x80 // no name contains this byte: the padding is unambiguous
	return l.siv.EncryptDeterministically(padded, l.associatedData(kind, folderID))
}

func (l *locator) open(kind, folderID string, sealed []byte) (string, error) {
	padded, err := l.siv.DecryptDeterministically(sealed, l.associatedData(kind, folderID))
	if err != nil {
		return "", ErrBadName
	}
	end := len(padded) - 1
	for end >= 0 && padded[end] == 0 {
		end--
	}
	if end < 0 || padded[end] != 0x80 {
		return "", ErrBadName
	}
	return string(padded[:end]), nil
}

func (l *locator) associatedData(kind, folderID string) []byte {
	return []byte(l.store + "\x00" + kind + "\x00" + folderID)
}
