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

// KeysOf copies the records of the keys of a backup into a storage, which then opens
// with the shares that open the backup, and has no secrets.
func KeysOf(ctx context.Context, b *seal.Backup, to store.Backend) error {
	var ops []store.Op
	err := b.Each(func(key store.Key, data []byte) error {
		if key == keyConfig || key == keyRoot || key == keyKeyring || key == keyBootstrap {
			ops = append(ops, store.Create(key, bytes.Clone(data)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = apply(ctx, to, ops...)
	return err
}

// ErrNotMade is a seal.ErrBadBackup: anybody may have made the file.
var ErrNotMade = fmt.Errorf("%w: its MAC is wrong, so no server of this store has made it", seal.ErrBadBackup)
