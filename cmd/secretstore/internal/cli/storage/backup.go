package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/offline"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/memory"
)

// BackupFolderHelp explains WithBackup to users.
const BackupFolderHelp = "For a folder that backup -o DIR fills, the newest complete backup in it is read; standard error says which."

// WithBackup calls do with the backup in the file called name, or with the newest
// complete one in the folder of that name.
func WithBackup(p *base.Process, name string, do func(file string, b *seal.Backup) error) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return newestBackup(p, name, do)
	}
	return withBackupFile(name, func(b *seal.Backup) error { return do(name, b) })
}

func withBackupFile(name string, do func(*seal.Backup) error) error {
	f, err := os.Open(name)
	if err != nil {
		return base.Usagef("%v", err)
	}
	defer f.Close() // only read
	b, err := offline.ReadBackup(f)
	if err != nil {
		return fmt.Errorf("%s is %w", name, err)
	}
	return do(b)
}

// OfBackup restores a backup into memory. OpenStore then refuses one that no server
// of its store has made.
func OfBackup(ctx context.Context, b *seal.Backup) (*Storage, error) {
	return inMemory(ctx, b, func(to store.Backend) error { return b.Restore(ctx, to, seal.RestoreOptions{}) })
}

// KeysOfBackup is OfBackup without any secret, to see who has made a backup.
func KeysOfBackup(ctx context.Context, b *seal.Backup) (*Storage, error) {
	return inMemory(ctx, b, func(to store.Backend) error { return offline.KeysOf(ctx, b, to) })
}

func inMemory(ctx context.Context, b *seal.Backup, fill func(store.Backend) error) (*Storage, error) {
	s := &Storage{Backend: memory.New(), backup: b}
	err := fill(s.Backend)
	if err == nil {
		s.Info, err = offline.Look(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// BackupDocument is the JSON output about a backup.
type BackupDocument struct {
	File string `json:"file"`
	seal.BackupManifest
}

// ReportBackup prints what is in a backup that was made.
func ReportBackup(cmd *cobra.Command, p *base.Process, file string, m seal.BackupManifest) error {
	if base.WantJSON(cmd) {
		return base.PrintJSON(p.Stdout, BackupDocument{file, m})
	}
	_, err := fmt.Fprintf(p.Stdout, "%s: %s\n", file, BackupSummary(m))
	return err
}

// BackupSummary says what is in a backup.
func BackupSummary(m seal.BackupManifest) string {
	text := fmt.Sprintf("%d secret(s), %d deleted, %d record(s) of large values, %d of identities, as of %s, of the store %s",
		m.Contents.Secrets, m.Contents.Deleted, m.Contents.Pieces, m.Contents.Identities, m.Made.Format(time.RFC3339), m.Store)
	if m.BootstrapKey {
		text += "; with the private key that opens it"
	}
	return text
}
