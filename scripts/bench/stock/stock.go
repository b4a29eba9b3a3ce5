// Package stock makes backups of large stores, which the benchmarks restore: that
// takes seconds where a million requests would take minutes.
package stock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/seal"
	"secretstore/seal/pgp"
	"secretstore/store"
	"secretstore/store/memory"
)

// Secrets are what is in a store.
type Secrets struct {
	Count, Size int
	Name        func(n uint64) string
}

// Write writes a backup of secrets, and entries of the IAM, to a new file. The bootstrap
// key is in it, and in another file, which is for a store on bolt.
func Write(ctx context.Context, file, keyFile string, s Secrets, entries []iam.Entry) (err error) {
	key, err := pgp.Generate(time.Now()) // before, because Open waits only for a while
	if err != nil {
		return err
	}
	backend := memory.New()
	defer backend.Close()
	st, err := seal.Open(ctx, seal.Options{Backend: backend, Bootstrap: true, BootstrapKeyFile: keyFile, Mode: seal.ModeDisabled, Log: zap.NewNop(),
		GenerateKey: func() (*pgp.PrivateKey, error) { return key, nil }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	people, err := authority.New(authority.Config{Storage: st.Identities(), Log: zap.NewNop()})
	if err != nil {
		return err
	}
	defer people.Close()
	if _, err := st.AutoUnseal(ctx, ""); err != nil {
		return err
	}
	if err := fill(ctx, st, s); err != nil {
		return err
	}
	if err := enter(ctx, people, entries); err != nil {
		return err
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = st.Backup(ctx, out, seal.BackupOptions{Release: "bench", Storage: "memory", BootstrapKey: true})
	return errors.Join(err, out.Close())
}

func fill(ctx context.Context, st *seal.Store, s Secrets) error {
	value := bytes.Repeat([]byte("v"), s.Size)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := next.Add(1) - 1; n < int64(s.Count) && failed.Load() == nil; n = next.Add(1) - 1 {
				p, err := acl.ParsePath(s.Name(uint64(n)))
				if err == nil {
					_, err = st.Create(ctx, p, seal.Change{Kind: seal.Text, Value: bytes.Clone(value), Author: "bench"})
				}
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	workers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// together is how many entries one change has.
const together = 100

func enter(ctx context.Context, people *authority.Authority, entries []iam.Entry) error {
	for len(entries) > 0 {
		changed := people.Changed()
		_, err := people.Directory()
		switch {
		case errors.Is(err, iam.ErrNotLoaded): // the store has just been unsealed
			<-changed
			continue
		case err != nil:
			return err
		}
		some := entries[:min(together, len(entries))]
		err = people.Change(ctx, func(*iam.Directory) (iam.Change, error) { return iam.Change{Put: some}, nil })
		if errors.Is(err, store.ErrUnavailable) {
			continue // too slow, on a machine with much else to do
		}
		if err != nil {
			return fmt.Errorf("write %d entries: %w", len(some), err)
		}
		entries = entries[len(some):]
	}
	return nil
}
