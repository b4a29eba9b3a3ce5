// Package oldstores reads the stores in testdata/stores, which an earlier
// release made: their records, the test keys of their holders, and their
// expected content. It is for tests only. Its tests open the stores with the
// current code; the package itself imports nothing from the module, so that the
// program that makes the stores, which builds against the earlier release, can
// use it too.
package oldstores

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/go-zookeeper/zk"
)

// Folder is the folder of the stores, relative to the root of the module.
const Folder = "testdata/stores"

// The files of a store. A store on bbolt has a BoltFile, and a BootstrapFile if
// it has a bootstrap key. A store on ZooKeeper has a DumpFile.
const (
	ExpectedFile  = "expected.json"
	BoltFile      = "store.db.gz"
	BootstrapFile = "bootstrap-test-key.txt"
	DumpFile      = "znodes.jsonl"
)

// Store is the expected content of a store.
type Store struct {
	UUID      string `json:"uuid"`
	Bootstrap bool   `json:"bootstrap"` // it has a bootstrap key
	Holders   []int  `json:"holders,omitempty"`
	Threshold int    `json:"threshold"`
	// SealedOnPurpose means that an operator sealed it, so that a bootstrap key
	// must not unseal it automatically.
	SealedOnPurpose bool     `json:"sealed_on_purpose"`
	Rekey           *Rekey   `json:"rekey,omitempty"` // in progress, if any
	Terms           int      `json:"terms"`           // data keys in the keyring
	Task            Task     `json:"task"`
	Secrets         []Secret `json:"secrets"`
	Deleted         []Secret `json:"deleted"`
}

// Rekey is a rekey that was started and not yet verified.
type Rekey struct {
	Nonce     string `json:"nonce"`
	Holders   []int  `json:"holders"`
	Threshold int    `json:"threshold"`
	Rotate    bool   `json:"rotate"`
}

// Task is a partly used task token.
type Task struct {
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"`
	Spent   int       `json:"spent"`
}

// Secret is a secret and all its values, newest first.
type Secret struct {
	Path        string    `json:"path"`
	Description string    `json:"description"`
	Labels      []string  `json:"labels"`
	Author      string    `json:"author"`
	Created     time.Time `json:"created"`
	Values      []Value   `json:"values"`
}

// Value is one value of a secret.
type Value struct {
	Version uint64    `json:"version"`
	ID      string    `json:"id"`
	Kind    int       `json:"kind"` // 1 text, 2 binary
	Written time.Time `json:"written"`
	Size    int       `json:"size"`
	SHA256  string    `json:"sha256"`
	Text    string    `json:"text,omitempty"` // set for short texts, for people who read the file
}

// Load reads the expected content of the store in dir.
func Load(dir string) (Store, error) {
	data, err := os.ReadFile(filepath.Join(dir, ExpectedFile))
	if err != nil {
		return Store{}, err
	}
	var s Store
	if err := json.Unmarshal(data, &s); err != nil {
		return Store{}, fmt.Errorf("%s: %w", dir, err)
	}
	return s, nil
}

// UnpackBolt writes the bbolt file of the store in dir to path, and its
// bootstrap key, if there is one, to path + ".bootstrap.key".
func UnpackBolt(dir, path string) error {
	packed, err := os.Open(filepath.Join(dir, BoltFile))
	if err != nil {
		return err
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	file, err := io.ReadAll(unpacked)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(dir, BootstrapFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path+".bootstrap.key", key, 0o600)
}

// Znode is one line of a ZooKeeper dump. Path is relative to the root of the
// store and has no leading slash. Parents come before their children.
type Znode struct {
	Path string `json:"path"`
	Data []byte `json:"data"` // base64
}

// ReadDump reads the ZooKeeper dump of the store in dir.
func ReadDump(dir string) ([]Znode, error) {
	file, err := os.Open(filepath.Join(dir, DumpFile))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var all []Znode
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var z Znode
		if err := json.Unmarshal(lines.Bytes(), &z); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		all = append(all, z)
	}
	return all, lines.Err()
}

// PutZnodes creates the znodes of a dump, and their root, in ZooKeeper. Their
// ACL admits everyone, like that of a server without a password.
func PutZnodes(conn *zk.Conn, root string, all []Znode) error {
	parent := ""
	for name := range strings.SplitSeq(strings.TrimPrefix(root, "/"), "/") {
		parent += "/" + name
		if _, err := conn.Create(parent, nil, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return fmt.Errorf("%s: %w", parent, err)
		}
	}
	for _, z := range all {
		if _, err := conn.Create(root+"/"+z.Path, z.Data, 0, zk.WorldACL(zk.PermAll)); err != nil {
			return fmt.Errorf("%s: %w", z.Path, err)
		}
	}
	return nil
}

// HolderFile returns the file with the private test key of a holder, relative to
// the folder of the stores. Holders are numbered from 1.
func HolderFile(holder int) string {
	return filepath.Join("holders", fmt.Sprintf("test-key-%d.asc", holder))
}

// Share decrypts a wrapped share, in hex as the store returns it, with the
// private test key of a holder.
func Share(stores string, holder int, wrapped string) (string, error) {
	key, err := readHolder(stores, holder)
	if err != nil {
		return "", err
	}
	message, err := hex.DecodeString(wrapped)
	if err != nil {
		return "", err
	}
	opened, err := openpgp.ReadMessage(bytes.NewReader(message), key, nil, nil)
	if err != nil {
		return "", err
	}
	share, err := io.ReadAll(opened.UnverifiedBody)
	return string(share), err
}

// PublicKey returns the public key of a holder in the form that Init takes:
// base64 of the binary key.
func PublicKey(stores string, holder int) (string, error) {
	key, err := readHolder(stores, holder)
	if err != nil {
		return "", err
	}
	var public bytes.Buffer
	if err := key[0].Serialize(&public); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(public.Bytes()), nil
}

func readHolder(stores string, holder int) (openpgp.EntityList, error) {
	armored, err := os.ReadFile(filepath.Join(stores, HolderFile(holder)))
	if err != nil {
		return nil, err
	}
	return openpgp.ReadArmoredKeyRing(bytes.NewReader(armored))
}
