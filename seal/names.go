package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/tink-crypto/tink-go/v2/daead/subtle"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/store"
)

// namer turns paths into keys and back, under keys that leave with the
// keyring. Folders are found by a keyed hash of their path; the names of
// secrets are encrypted deterministically (AES-SIV, RFC 5297), so that one
// path always has one key, and a listing needs nothing but children's names.
type namer struct {
	siv       *subtle.AESSIV
	sivKey    []byte // what siv works with, kept to be overwritten
	folderKey []byte
	store     string // uuid: names of one store mean nothing in another
	folders   *folderTable
	names     nameCache
	// known remembers the keys of paths that were asked for: deriving one takes
	// 1.7 µs and 14 allocations in a folder that is known. It goes with the name
	// keys.
	known *lru.Cache[string, store.Key]
	// knownFolders does the same for folders, which creates share.
	knownFolders *lru.Cache[string, folderKeys]
}

// folderKeys are where a folder is kept, and what its record holds.
type folderKeys struct {
	id     string
	key    store.Key
	record []byte
}

// maxKnown bounds the remembered keys; at some 350 bytes each, where paths are
// not long, they stay below 6 MB. Beyond it, a key is derived again.
const maxKnown = 1 << 14

// maxKnownFolders bounds the remembered keys of folders; at some 300 bytes each,
// and 2,500 if their paths are as long as can be, they stay below 10 MB.
const maxKnownFolders = 1 << 12

// Names are padded to multiples of namePad bytes, so that their length tells
// little.
const namePad = 32

// folderIDSize truncates the folder hash to 128 bits: collisions would need
// 2^64 folders.
const folderIDSize = 16

var errBadName = errors.New("the name does not authenticate")

func newNamer(key *envelope.Key, store string) (*namer, error) {
	sivKey := key.Derive("secretstore names: AES-SIV", subtle.AESSIVKeySize)
	siv, err := subtle.NewAESSIV(sivKey)
	if err != nil {
		return nil, err
	}
	known, err := lru.New[string, string](maxKnown)
	if err != nil {
		return nil, err
	}
	knownFolders, err := lru.New[string, folderKeys](maxKnownFolders)
	if err != nil {
		return nil, err
	}
	names, err := newNameCache()
	if err != nil {
		return nil, err
	}
	return &namer{known: known, knownFolders: knownFolders, siv: siv, sivKey: sivKey, folderKey: key.Derive("secretstore names: folders", sha256.Size), store: store,
		folders: new(folderTable), names: names}, nil
}

// clear overwrites what can be reached of the keys.
func (n *namer) clear() {
	clear(n.sivKey)
	clear(n.folderKey)
	n.folders.clear()
	n.names.clear()
	n.known.Purge()
	n.knownFolders.Purge()
}

// folderTable remembers the paths of folders by id while the store is
// unsealed, so that a list does not read the record of every folder. The zero
// value is empty.
type folderTable struct {
	mu    sync.RWMutex
	paths map[string]string // guarded by mu
	set   *folderSet        // of the last list; guarded by mu
}

// maxFolders bounds the table; beyond it folders are read each time. At some
// 150 bytes each it stays below 40 MB.
const maxFolders = 1 << 18

func (t *folderTable) get(id string) (string, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	path, known := t.paths[id]
	return path, known
}

func (t *folderTable) put(id, path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paths == nil {
		t.paths = make(map[string]string)
	}
	if len(t.paths) < maxFolders {
		t.paths[id] = path
	}
}

// all returns the folders of the last list, nil if there was none.
func (t *folderTable) all() *folderSet {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.set
}

func (t *folderTable) putAll(set *folderSet) {
	if len(set.folders) > maxFolders {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set = set
}

func (t *folderTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paths, t.set = nil, nil
}

// folderID is the hash under which a folder is kept.
func (n *namer) folderID(folder string) string {
	mac := hmac.New(sha256.New, n.folderKey)
	mac.Write([]byte(n.store))
	mac.Write([]byte{0})
	mac.Write([]byte(folder))
	return hex.EncodeToString(mac.Sum(nil)[:folderIDSize])
}

// folderKeyFor returns the key of a folder's record. 256 buckets keep the
// children of one znode few at a million folders.
func folderKeyFor(id string) store.Key { return keySecrets + "/" + id[:2] + "/" + id }

// secretKey returns the keys of a secret's folder and of the secret itself.
func (n *namer) secretKey(p acl.Path) (folder, secret store.Key, err error) {
	if secret, ok := n.known.Get(p.String()); ok {
		return secret[:strings.LastIndexByte(secret, '/')], secret, nil
	}
	f, err := n.folder(p.Folder().String())
	if err != nil {
		return "", "", err
	}
	name, err := n.seal("name", f.id, p.Name())
	if err != nil {
		return "", "", err
	}
	secret = f.key + "/" + base64.RawURLEncoding.EncodeToString(name)
	n.known.Add(strings.Clone(p.String()), secret) // p may be part of a long line of a request
	return f.key, secret, nil
}

// folder returns the keys of a folder and the record that it has.
func (n *namer) folder(path string) (folderKeys, error) {
	if f, ok := n.knownFolders.Get(path); ok {
		return f, nil
	}
	id := n.folderID(path)
	sealed, err := n.seal("folder", id, path)
	if err != nil {
		return folderKeys{}, err
	}
	f := folderKeys{id, folderKeyFor(id), append([]byte{folderFormat}, sealed...)}
	n.knownFolders.Add(strings.Clone(path), f) // as with secrets
	return f, nil
}

// openName is the inverse of secretKey for one child of a folder.
func (n *namer) openName(folderID, child string) (string, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(child)
	if err != nil {
		return "", errBadName
	}
	return n.open("name", folderID, raw)
}

// sealFolder encrypts a folder's path, for the record of the folder. Callers do
// not modify it.
func (n *namer) sealFolder(path string) ([]byte, error) {
	f, err := n.folder(path)
	return f.record, err
}

const folderFormat = 1

// openFolder decrypts a folder's record, which must be that of the folder id.
func (n *namer) openFolder(id string, data []byte) (string, error) {
	if len(data) < 1 || data[0] != folderFormat {
		return "", errBadName
	}
	return n.open("folder", id, data[1:])
}

func (n *namer) seal(kind, folderID, text string) ([]byte, error) {
	padded := make([]byte, (len(text)/namePad+1)*namePad)
	copy(padded, text)
	padded[len(text)] = 0x80 // no name holds this byte: the padding is unambiguous
	return n.siv.EncryptDeterministically(padded, n.aad(kind, folderID))
}

func (n *namer) open(kind, folderID string, sealed []byte) (string, error) {
	padded, err := n.siv.DecryptDeterministically(sealed, n.aad(kind, folderID))
	if err != nil {
		return "", errBadName
	}
	end := len(padded) - 1
	for end >= 0 && padded[end] == 0 {
		end--
	}
	if end < 0 || padded[end] != 0x80 {
		return "", errBadName
	}
	return string(padded[:end]), nil
}

func (n *namer) aad(kind, folderID string) []byte {
	return []byte(n.store + "\x00" + kind + "\x00" + folderID)
}
