package offline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"secretstore/internal/atomicfile"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/memory"
)

// NewBackup makes a file of mode 0600 with what write writes, which is on the disk
// and was read again when NewBackup returns. It replaces no file, and an error leaves
// none. seal.ErrBadBackup, and the errors of write and of atomicfile.CreateNew.
func NewBackup(name string, write func(io.Writer) error) (m seal.BackupManifest, err error) {
	f, err := atomicfile.CreateNew(name)
	if err != nil {
		return m, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(name) // it is useless
		}
	}()
	if err := write(f); err != nil {
		return m, fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return m, err
	}
	b, err := ReadBackup(f)
	if err != nil {
		return m, fmt.Errorf("%s is %w", name, err)
	}
	return b.Manifest, nil
}

// ReadBackup reads the backup in a file, and checks that it is whole.
// seal.ErrBadBackup.
func ReadBackup(f *os.File) (*seal.Backup, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is not a regular file", seal.ErrBadBackup)
	}
	return seal.OpenBackup(f, info.Size())
}

// OpensBackup checks that shares of an unseal key open the keys in a backup, and that
// these have made it. seal.ErrBadBackup, and the errors of seal.Recover.
func OpensBackup(ctx context.Context, b *seal.Backup, shares []string) error {
	keys := memory.New()
	defer keys.Close()
	var ops []store.Op
	err := b.Each(func(key store.Key, data []byte) error {
		if key == keyConfig || key == keyRoot || key == keyKeyring {
			ops = append(ops, store.Create(key, bytes.Clone(data)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := apply(ctx, keys, ops...); err != nil {
		return err
	}
	st, err := seal.Recover(ctx, keys, shares)
	if err != nil {
		return err
	}
	defer st.Close()
	if !st.Made(b) {
		return ErrNotMade
	}
	return nil
}

// ErrNotMade is a seal.ErrBadBackup: anybody may have made the file.
var ErrNotMade = fmt.Errorf("%w: its MAC is wrong, so no server of this store has made it", seal.ErrBadBackup)
