package backup

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"

	"github.com/google/uuid"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/restored"
	"secretstore/store"
)

// Backup is a backup that is whole: its hash is right. Whether a server of the
// store has made it, only [Backup.Authentic] says.
type Backup struct {
	Manifest

	file io.ReaderAt
	size int64
	last map[store.Digest]int // the number of the last frame of each key
	sum  []byte
	mac  []byte
}

// Open reads a backup of size bytes, and checks that it is whole. Anyone may have
// written it. ErrDamaged, and the errors of file.
func Open(file io.ReaderAt, size int64) (*Backup, error) {
	b := &Backup{file: file, size: size, last: make(map[store.Digest]int)}
	if size < sums {
		return nil, damaged("it is too short")
	}
	tail := make([]byte, sums)
	if _, err := file.ReadAt(tail, size-sums); err != nil {
		return nil, err
	}
	b.sum, b.mac = tail[:sha256.Size], tail[sha256.Size:]
	hash := sha256.New()
	manifest, err := b.frames(io.TeeReader(b.content(), hash), func(n int, key store.Key, _ []byte) error {
		b.last[store.RecordDigest(key)] = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(hash.Sum(nil), b.sum) {
		return nil, damaged("its hash is wrong")
	}
	if err := json.Unmarshal(manifest, &b.Manifest); err != nil || b.Format < 1 {
		return nil, damaged("its manifest is malformed")
	}
	if b.Format > manifestFormat {
		return nil, damaged("a newer release has made it (format %d)", b.Format)
	}
	if id, err := uuid.Parse(b.Store); err != nil || id.String() != b.Store {
		return nil, damaged("its manifest names no store")
	}
	var contents Counts
	if err := b.Each(func(key store.Key, _ []byte) error { contents.add(key, 1); return nil }); err != nil {
		return nil, err
	}
	if contents != b.Contents {
		return nil, damaged("it does not contain what its manifest says")
	}
	return b, nil
}

// sums is the length of the hash and the MAC.
const sums = 2 * sha256.Size

// content is what the hash is of.
func (b *Backup) content() io.Reader { return io.NewSectionReader(b.file, 0, b.size-sums) }

// Authentic reports whether a server of the store with this root key has made the
// backup.
func (b *Backup) Authentic(root *envelope.Key) bool { return b.restored().Genuine(root) }

// restored returns the record of a restore of the backup.
func (b *Backup) restored() restored.Record {
	return restored.Record{Sum: b.sum, MAC: b.mac, Made: b.Made}
}

// Each calls visit with each record, in the order of the backup. visit must not
// keep data. Its error ends Each. If the file has changed since Open, Each ends with
// ErrDamaged; until then, nothing that visit got is to be relied on.
func (b *Backup) Each(visit func(key store.Key, data []byte) error) error {
	hash := sha256.New()
	_, err := b.frames(io.TeeReader(b.content(), hash), func(n int, key store.Key, data []byte) error {
		if len(data) == 0 || b.last[store.RecordDigest(key)] != n {
			return nil
		}
		return visit(key, data)
	})
	if err == nil && !hmac.Equal(hash.Sum(nil), b.sum) {
		err = damaged("it was changed while it was read")
	}
	return err
}

// frames reads all frames, numbered from 1, and returns the manifest. Data is only
// good during the call.
func (b *Backup) frames(r io.Reader, visit func(n int, key store.Key, data []byte) error) (manifest []byte, err error) {
	in := &input{r: bufio.NewReaderSize(r, 64<<10)}
	if string(in.take(len(magic))) != magic {
		return nil, damaged("it does not begin as one")
	}
	for n := 1; in.err == nil; n++ {
		switch kind := in.uint(1); kind {
		case frameManifest:
			manifest := bytes.Clone(in.take(in.length(4, maxManifest)))
			if in.err != nil {
				return nil, in.failure()
			}
			if _, err := in.r.ReadByte(); !errors.Is(err, io.EOF) {
				return nil, damaged("something follows its manifest")
			}
			return manifest, nil
		case frameRecord, frameGone:
			key := string(in.take(in.length(2, store.MaxKey)))
			var data []byte
			if kind == frameRecord {
				data = in.take(in.length(4, store.MaxData))
			}
			switch {
			case in.err != nil:
				return nil, in.failure()
			case !inBackup(key) || kind == frameRecord && len(data) == 0:
				return nil, damaged("frame %d is not a record", n)
			}
			if err := visit(n, key, data); err != nil {
				return nil, err
			}
		default:
			if in.err == nil {
				return nil, damaged("frame %d has an unknown kind", n)
			}
		}
	}
	return nil, in.failure()
}

// input reads numbers and bytes, and remembers the first error.
type input struct {
	r   *bufio.Reader
	buf []byte
	err error
}

// take returns the next n bytes, which are good until the next call.
func (in *input) take(n int) []byte {
	if in.err != nil {
		return nil
	}
	if cap(in.buf) < n {
		in.buf = make([]byte, n)
	}
	if _, in.err = io.ReadFull(in.r, in.buf[:n]); in.err != nil {
		return nil
	}
	return in.buf[:n]
}

// uint returns the number in the next size bytes, 0 after an error.
func (in *input) uint(size int) uint64 {
	var wide [8]byte
	copy(wide[8-size:], in.take(size))
	return binary.BigEndian.Uint64(wide[:])
}

var errLong = errors.New("a part is too long")

// length returns the length in the next size bytes, at most limit.
func (in *input) length(size, limit int) int {
	n := in.uint(size)
	if n > uint64(limit) && in.err == nil {
		in.err = errLong
	}
	if in.err != nil {
		return 0
	}
	return int(n)
}

// failure returns the error as that of the backup, unless it is that of the file.
func (in *input) failure() error {
	switch {
	case errors.Is(in.err, io.EOF), errors.Is(in.err, io.ErrUnexpectedEOF):
		return damaged("it ends too early")
	case errors.Is(in.err, errLong):
		return damaged("%v", in.err)
	}
	return in.err
}
