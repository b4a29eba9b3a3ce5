package bolt_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
)

const benchRecords = 10_000

func benchKey(i int) store.Key {
	return fmt.Sprintf("stores/default/secrets/%02x/%032x/%064x", i%256, i%1000, i%benchRecords)
}

// filled returns a backend with benchRecords records, and its file.
func filled(b *testing.B) (store.Backend, string) {
	path := filepath.Join(b.TempDir(), "secrets.db")
	backend := openAt(b, path)
	data := bytes.Repeat([]byte("d"), 400)
	for i := 0; i < benchRecords; i += 250 {
		var ops []store.Op
		for j := range 250 {
			ops = append(ops, store.Create(benchKey(i+j), data))
		}
		if _, err := backend.Apply(b.Context(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	return backend, path
}

func benchKeys() []store.Key {
	keys := make([]store.Key, benchRecords)
	for i := range keys {
		keys[i] = benchKey(i)
	}
	return keys
}

func BenchmarkGet(b *testing.B) {
	backend, _ := filled(b)
	keys := benchKeys()
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := backend.Get(b.Context(), keys[i%benchRecords], store.Cached); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for i := int(n.Add(1000)); pb.Next(); i++ {
				if _, err := backend.Get(b.Context(), keys[i%benchRecords], store.Cached); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkBareGet measures bbolt alone, for comparison with BenchmarkGet.
func BenchmarkBareGet(b *testing.B) {
	backend, path := filled(b)
	if err := backend.Close(); err != nil {
		b.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoStatistics: true})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	keys := benchKeys()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		err := db.View(func(tx *bbolt.Tx) error {
			_ = append([]byte(nil), tx.Bucket([]byte("records")).Get([]byte(keys[i%benchRecords]))...)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	for _, writers := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			backend := openAt(b, filepath.Join(b.TempDir(), "secrets.db"))
			data := bytes.Repeat([]byte("d"), 400)
			var n atomic.Int64
			b.SetParallelism(writers) // a multiple of GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					key := benchKey(0) + fmt.Sprint(n.Add(1))
					if _, err := backend.Apply(b.Context(), store.Create(key, data)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
