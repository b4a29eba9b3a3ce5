package backup

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

const magic = "secretstore backup 1\n"

// The kinds of frame.
const (
	frameRecord   = 'r' // length of the key (2), key, length of the data (4), data
	frameGone     = 'g' // length of the key (2), key
	frameManifest = 'm' // length (4), JSON
)

// maxManifest is longer than any manifest, in bytes.
const maxManifest = 64 << 10

// manifestFormat is the version of what a manifest says.
const manifestFormat = 1

// ErrDamaged: a file that is not a whole backup.
var ErrDamaged = errors.New("not a complete backup")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// Manifest says what a backup contains. It holds no names of secrets or users.
type Manifest struct {
	Format  int       `json:"format"`
	Store   string    `json:"store"`   // its UUID
	Made    time.Time `json:"made"`    // by the clock of the server
	Release string    `json:"release"` // of the server
	Storage string    `json:"storage"` // what the records were read from: bolt, zookeeper, memory
	// BootstrapKey says that the private key is in the backup, which opens it.
	BootstrapKey bool   `json:"bootstrap_key,omitempty"`
	Contents     Counts `json:"contents"`
}

// Counts is how many records of each kind a backup has.
type Counts struct {
	Secrets    int `json:"secrets"`
	Deleted    int `json:"deleted_secrets"`
	Pieces     int `json:"pieces"` // of large values
	Identities int `json:"identities"`
	Others     int `json:"others"`
}

// add counts n more records under key.
func (c *Counts) add(key store.Key, n int) {
	parts := strings.Split(strings.TrimPrefix(key, prefix+"/"), "/")
	switch {
	case parts[0] == "secrets" && len(parts) == 4:
		c.Secrets += n
	case parts[0] == "deleted" && len(parts) == 4:
		c.Deleted += n
	case parts[0] == "blobs" && len(parts) == 3:
		c.Pieces += n
	case parts[0] == "iam":
		c.Identities += n
	default:
		c.Others += n
	}
}

// counted returns what the first unseal of a restored store counts again.
func (c Counts) counted() barrier.Contents {
	return barrier.Contents{Secrets: c.Secrets, Deleted: c.Deleted, Pieces: c.Pieces, Identities: c.Identities > 0}
}

// prefix is what all records but the bootstrap key are below.
const prefix = "stores/default"

// Writer writes a backup.
type Writer struct {
	out  *bufio.Writer
	hash hash.Hash
	// last says of which keys the last frame is a record.
	last     map[store.Digest]bool
	contents Counts
}

// NewWriter begins a backup.
func NewWriter(w io.Writer) (*Writer, error) {
	sum := sha256.New()
	b := &Writer{out: bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10), hash: sum, last: make(map[store.Digest]bool)}
	_, err := b.out.WriteString(magic)
	return b, err
}

// Put writes a record; without data, that there is none under key any more.
func (w *Writer) Put(key store.Key, data []byte) error {
	d, kind := store.RecordDigest(key), byte(frameRecord)
	if w.last[d] {
		w.contents.add(key, -1)
	}
	if w.last[d] = len(data) > 0; w.last[d] {
		w.contents.add(key, 1)
	} else {
		kind = frameGone
	}
	head := binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(key)))
	head = append(head, key...)
	if kind == frameRecord {
		head = binary.BigEndian.AppendUint32(head, uint32(len(data)))
	}
	if _, err := w.out.Write(head); err != nil {
		return err
	}
	_, err := w.out.Write(data)
	return err
}

// Close ends the backup with the manifest and the MAC that authenticate returns for
// its hash. It returns the manifest as it was written.
func (w *Writer) Close(m Manifest, authenticate func(sum []byte) ([]byte, error)) (Manifest, error) {
	m.Format, m.Contents = manifestFormat, w.contents
	text, err := json.Marshal(m)
	if err != nil {
		return Manifest{}, err
	}
	head := binary.BigEndian.AppendUint32([]byte{frameManifest}, uint32(len(text)))
	if _, err := w.out.Write(append(head, text...)); err != nil {
		return Manifest{}, err
	}
	if err := w.out.Flush(); err != nil {
		return Manifest{}, err
	}
	sum := w.hash.Sum(nil)
	mac, err := authenticate(sum)
	if err != nil {
		return Manifest{}, err
	}
	if _, err := w.out.Write(append(sum, mac...)); err != nil {
		return Manifest{}, err
	}
	return m, w.out.Flush()
}
