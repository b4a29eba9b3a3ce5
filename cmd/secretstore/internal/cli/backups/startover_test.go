package backups

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/seal"
	"secretstore/store"
	"secretstore/store/bolt"
)

// runCommand runs a command of this package, and returns what it prints.
func runCommand(command func(*base.Process) *cobra.Command, args ...string) (string, error) {
	var out bytes.Buffer
	p := &base.Process{Stdin: bytes.NewReader(nil), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
	cmd := command(p)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.Execute()
	return out.String(), err
}

// halfRestore begins to restore a backup into a bbolt file, and is interrupted.
func halfRestore(t *testing.T, backup, file string) {
	t.Helper()
	err := storage.WithBackup(&base.Process{Stderr: io.Discard}, backup, func(_ string, b *seal.Backup) error {
		to, err := bolt.Open(t.Context(), file)
		if err != nil {
			return err
		}
		defer to.Close()
		ctx, cancel := context.WithCancel(t.Context())
		if err := b.Restore(ctx, to, seal.RestoreOptions{Progress: func(int) { cancel() }}); err == nil {
			t.Error("it was not interrupted")
		}
		_, err = to.Get(t.Context(), "stores/default/restoring", store.Latest)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnUnfinishedRestoreGivesWay to the same restore, which continues it, and with
// --start-over to another one, or a move. A store never does.
func TestAnUnfinishedRestoreGivesWay(t *testing.T) {
	first, second := backupOfMany(t, 250), backupOfMany(t, 3)
	source := "bolt:" + filepath.Join(t.TempDir(), "source.db")
	if out, err := runCommand(restoreCommand, first, "--storage", source); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	for name, c := range map[string]struct {
		command func(*base.Process) *cobra.Command
		args    []string // without the target
		again   bool     // it continues
	}{
		"the same":       {restoreCommand, []string{first, "--storage"}, true},
		"other flags":    {restoreCommand, []string{first, "--without-iam", "--storage"}, false},
		"another backup": {restoreCommand, []string{second, "--storage"}, false},
		"a move":         {moveCommand, []string{"--from", source, "--to"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "target.db")
			halfRestore(t, first, file)
			args := append(c.args, "bolt:"+file)
			out, err := runCommand(c.command, args...)
			if c.again != (err == nil) || err != nil && !strings.Contains(err.Error(), "--start-over") {
				t.Fatalf("%s%v", out, err)
			}
			if err != nil {
				if out, err := runCommand(c.command, append(args, "--start-over")...); err != nil {
					t.Fatalf("%s%v", out, err)
				}
			}
			out, err = runCommand(c.command, append(args, "--start-over")...)
			if err == nil || !strings.Contains(err.Error(), "the storage is not empty") {
				t.Errorf("a store gave way: %s%v", out, err)
			}
		})
	}
}

// TestStartOverRemovesNothingOfOthers: ROOT may be that of others too, such as /dcos in
// place of /dcos/secrets.
func TestStartOverRemovesNothingOfOthers(t *testing.T) {
	backup, file := backupOfMany(t, 3), filepath.Join(t.TempDir(), "target.db")
	const others = "secrets/stores/default/config"
	to, err := bolt.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = to.Apply(t.Context(), store.Create(others, []byte("x")))
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	halfRestore(t, backup, file)
	if out, err := runCommand(restoreCommand, backup, "--storage", "bolt:"+file, "--start-over"); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	if to, err = bolt.Open(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := to.Get(t.Context(), others, store.Latest); err != nil {
		t.Error(err)
	}
}
