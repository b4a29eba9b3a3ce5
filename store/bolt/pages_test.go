package bolt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store/bolt"
)

// file is the content of a valid file, to be damaged.
type file struct {
	bytes   []byte
	root    uint64 // the page of the root bucket, which is a leaf
	records uint64 // the root page of the records, which is a branch
}

func newFile(t *testing.T) *file {
	t.Helper()
	f := &file{bytes: validFile(t)}
	path := filepath.Join(t.TempDir(), "secrets.db")
	if err := os.WriteFile(path, f.bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		f.root = uint64(tx.Cursor().Bucket().Root())
		f.records = uint64(tx.Bucket([]byte("records")).Root())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if flags := binary.NativeEndian.Uint16(f.page(f.records)[8:]); flags != 1 {
		t.Fatalf("the root page of the records is not a branch: %#x", flags)
	}
	return f
}

func (f *file) page(id uint64) []byte {
	return f.bytes[id*uint64(os.Getpagesize()):][:os.Getpagesize()]
}

// child returns the reference of a branch page to its n-th child.
func (f *file) child(page uint64, n int) []byte { return f.page(page)[16+16*n+8:][:8] }

// bucket returns the entry of a bucket in the root bucket.
func (f *file) bucket(name string) []byte {
	page := f.page(f.root)
	for e := page[16:]; ; e = e[16:] {
		pos, ksize := binary.NativeEndian.Uint32(e[4:]), binary.NativeEndian.Uint32(e[8:])
		if bytes.Equal(e[pos:pos+ksize], []byte(name)) {
			return e[pos+ksize:]
		}
	}
}

// refer overwrites a reference.
func refer(at []byte, to uint64) { binary.NativeEndian.PutUint64(at, to) }

// TestPageThatRefersBackToItselfIsRefused: bbolt would follow most of these
// until the process ends.
func TestPageThatRefersBackToItselfIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(*file)
	}{
		{"its first child", func(f *file) { refer(f.child(f.records, 0), f.records) }},
		{"its last child", func(f *file) {
			refer(f.child(f.records, int(binary.NativeEndian.Uint16(f.page(f.records)[10:]))-1), f.records)
		}},
		{"its grandchild", func(f *file) {
			child := f.page(binary.NativeEndian.Uint64(f.child(f.records, 1)))
			copy(child[8:], []byte{1, 0, 1, 0}) // a branch with one child
			refer(child[24:], f.records)
		}},
		{"the root bucket", func(f *file) {
			copy(f.page(f.root)[8:], []byte{1, 0, 1, 0})
			refer(f.child(f.root, 0), f.root)
		}},
		{"a bucket in the root bucket", func(f *file) { refer(f.child(f.records, 0), f.root) }},
		{"an inline bucket", func(f *file) {
			inline := f.bucket("secretstore")[16:]
			copy(inline[8:], []byte{1, 0, 1, 0})
			refer(inline[24:], 0)
		}},
		{"two buckets of one page", func(f *file) { refer(f.bucket("secretstore"), f.records) }},
		{"a child of two", func(f *file) { copy(f.child(f.records, 1), f.child(f.records, 0)) }},
	} {
		f := newFile(t)
		c.damage(f)
		wantRefused(t, c.name, f.bytes, "referred to twice")
	}
}

// TestFileWithoutAFreelistIsRefused: to rebuild the freelist, bbolt would follow
// all references before they can be checked.
func TestFileWithoutAFreelistIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	_ = openAt(t, path).Close()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("records")).Put([]byte("a"), []byte("x")) })
	if err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, "no freelist", content, "no list of free pages")

	// Now the newer meta page has a freelist again. Only the older one has none.
	db, err = bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	_ = openAt(t, path).Close()
}

// TestNewestMetaPageDecidesAboutTheFreelist tries both positions of that page.
func TestNewestMetaPageDecidesAboutTheFreelist(t *testing.T) {
	for commits := range 3 {
		for _, size := range []int{1 << 10, 1 << 12, 1 << 16} {
			path := filepath.Join(t.TempDir(), "secrets.db")
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, PageSize: size})
			if err != nil {
				t.Fatal(err)
			}
			for range 1 + commits {
				err = db.Update(func(tx *bbolt.Tx) error {
					_, err := tx.CreateBucketIfNotExists([]byte("records"))
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			_ = db.Close()
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			wantRefused(t, "whole", content, "no list of free pages")
			newest := (2 + commits) % 2
			clear(content[(1-newest)*size:][:size])
			wantRefused(t, "newest only", content, "no list of free pages")
		}
	}
}

func wantRefused(t *testing.T, name string, content []byte, reason string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secrets.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := bolt.Open(t.Context(), path)
	if err == nil {
		_ = b.Close()
	}
	if !errors.Is(err, bolt.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), reason) {
		t.Errorf("%s: %v", name, err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, content) {
		t.Errorf("%s: the file was changed: %v", name, err)
	}
}
