package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"
)

// counted counts reads and their bytes.
type counted struct {
	io.ReaderAt
	reads, bytes int
}

func (c *counted) ReadAt(p []byte, at int64) (int, error) {
	c.reads++
	c.bytes += len(p)
	return c.ReaderAt.ReadAt(p, at)
}

// TestReferencesOfALargeFileAreCheckedCheaply: each page in use is read once, and
// most of them only in part: their header.
func TestReferencesOfALargeFileAreCheckedCheaply(t *testing.T) {
	t.Parallel()
	const records = 20_000
	path := filepath.Join(t.TempDir(), "secrets.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucket(recordsBucket)
		if err != nil {
			return err
		}
		key, value := make([]byte, 60), make([]byte, 500)
		for i := range records {
			binary.BigEndian.PutUint64(key, uint64(i))
			if err := bucket.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		c := &counted{ReaderAt: file}
		began := time.Now()
		if err := checkReferences(t.Context(), c, tx); err != nil {
			return err
		}
		pages := int(tx.Size()) / tx.DB().Info().PageSize
		t.Logf("%d records, %d pages: %d reads, %d bytes, %v", records, pages, c.reads, c.bytes, time.Since(began))
		if c.reads < records/20 || c.reads > pages+pages/10 || c.bytes > 40*pages {
			return fmt.Errorf("%d reads of %d bytes for %d pages", c.reads, c.bytes, pages)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		c.reads = 0
		if err := checkReferences(ended, c, tx); !errors.Is(err, context.Canceled) || c.reads > 0 {
			return fmt.Errorf("after the caller has left: %v, %d reads", err, c.reads)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
