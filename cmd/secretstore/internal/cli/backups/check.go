package backups

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/gpg"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/cmd/secretstore/internal/offline"
	"secretstore/seal"
)

// keyFlags say where the unseal key of a backup comes from.
type keyFlags struct {
	files   []string
	program string
}

func (k *keyFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&k.files, "key-file", nil, "`FILE` with decrypted shares of the unseal key in hex, one per line (- is standard input; repeatable)")
	f.StringVar(&k.program, "gpg", "", "have gpg decrypt the shares; --gpg=`PROGRAM` names another program")
	f.Lookup("gpg").NoOptDefVal = "gpg"
}

const keyHelp = "The shares of the unseal key come from --key-file, or with --gpg from the gpg on this machine, or from both.\n" +
	"Without either, the backup must contain the bootstrap key. The backup is unsealed in the memory of this\n" +
	"process alone; nothing decrypted is written."

// open restores a backup into memory and opens the store there for reading.
func (k *keyFlags) open(ctx context.Context, p *base.Process, cmd *cobra.Command, b *seal.Backup) (st *seal.Store, closeAll func() error, err error) {
	return k.openIn(ctx, p, cmd, b, storage.OfBackup)
}

// openIn is open, with the storage that restore makes of the backup.
func (k *keyFlags) openIn(ctx context.Context, p *base.Process, cmd *cobra.Command, b *seal.Backup,
	restore func(context.Context, *seal.Backup) (*storage.Storage, error)) (st *seal.Store, closeAll func() error, err error) {
	given, err := (&gpg.ShareFlags{KeyFiles: k.files}).Read(p, "unseal key")
	if err != nil {
		return nil, nil, err
	}
	var h *gpg.Holder
	if cmd.Flags().Changed("gpg") {
		h = &gpg.Holder{P: p, Program: k.program}
	}
	s, err := restore(ctx, b)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if len(given) == 0 && h == nil && !b.BootstrapKey {
		return nil, nil, base.Usagef("the backup does not contain a key that opens it; use --gpg, or decrypted shares with --key-file")
	}
	if st, err = s.OpenStore(ctx, given, h); err != nil {
		return nil, nil, err
	}
	return st, func() error { return errors.Join(st.Close(), s.Close()) }, nil
}

// check checks who has made a backup, if there is a key, and reports whether it did.
func (k *keyFlags) check(ctx context.Context, p *base.Process, cmd *cobra.Command, b *seal.Backup) (checked bool, err error) {
	if !b.BootstrapKey && !k.given(cmd) {
		return false, nil
	}
	_, done, err := k.openIn(ctx, p, cmd, b, storage.KeysOfBackup)
	if err != nil {
		return false, err
	}
	return true, done()
}

// read opens a backup and reads every secret, whose values it drops.
func (k *keyFlags) read(ctx context.Context, p *base.Process, cmd *cobra.Command, file string, show func(*seal.Backup, offline.Index) error) error {
	return storage.WithBackup(p, file, func(_ string, b *seal.Backup) (err error) {
		st, done, err := k.open(ctx, p, cmd, b)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, done()) }()
		index, err := offline.Export(ctx, st, b.Store, acl.Path{}, offline.Nowhere{})
		if err != nil {
			return err
		}
		return show(b, index)
	})
}

func drillCommand(p *base.Process) *cobra.Command {
	var keys keyFlags
	cmd := &cobra.Command{
		Use:   "drill FILE|DIR [--key-file FILE...] [--gpg]",
		Short: "Restore a backup into memory and read every secret",
		Long: "drill shows that a backup can be restored, without a server and without changing anything. It checks who\n" +
			"made it, unseals it, reads every secret, and prints how many there are and how long that took. The exit\n" +
			"status is 1 if any secret or record is damaged. It needs about five times as much memory as the size of the backup.\n\n" + storage.BackupFolderHelp + "\n\n" + keyHelp,
		Example: "  secretstore backup drill store.backup --gpg",
		Args:    base.ExactArgs(1, "name the file with the backup, or the folder"),
	}
	keys.register(cmd)
	cmd.Flags().BoolP("json", "j", false, "print the result as JSON")
	cmd.RunE = storage.Signaled(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		began := time.Now()
		return keys.read(ctx, p, cmd, args[0], func(b *seal.Backup, index offline.Index) error {
			return report(p, cmd, b, index, time.Since(began))
		})
	})
	return cmd
}

// drillDocument is the JSON output of drill.
type drillDocument struct {
	seal.BackupManifest
	Read       int     `json:"secrets_read"`
	Failed     int     `json:"secrets_damaged"`
	Incomplete bool    `json:"incomplete"`
	Seconds    float64 `json:"seconds"`
}

func report(p *base.Process, cmd *cobra.Command, b *seal.Backup, index offline.Index, took time.Duration) error {
	read := len(index.Secrets) - index.Failed
	var err error
	if base.WantJSON(cmd) {
		err = base.PrintJSON(p.Stdout, drillDocument{b.Manifest, read, index.Failed, index.Incomplete, took.Seconds()})
	} else {
		_, err = fmt.Fprintf(p.Stdout, "%d secret(s) were read in %v, from a backup of %s.\n", read, took.Round(time.Millisecond), b.Made.Format(time.RFC3339))
	}
	if err == nil {
		err = lacking(index)
	}
	if err == nil && read != b.Contents.Secrets {
		err = fmt.Errorf("the backup has %d secret(s), of which %d can be found", b.Contents.Secrets, read)
	}
	return err
}

// lacking returns an error if an index does not have all secrets of a backup.
func lacking(index offline.Index) error {
	switch {
	case index.Failed > 0:
		return fmt.Errorf("%d secret(s) are damaged and could not be read", index.Failed)
	case index.Incomplete:
		return errors.New("secrets may be missing: damaged records were skipped")
	}
	return nil
}

func showCommand(p *base.Process) *cobra.Command {
	var keys keyFlags
	cmd := &cobra.Command{
		Use:   "show FILE|DIR [--key-file FILE...] [--gpg]",
		Short: "List the secrets in a backup",
		Long: "show prints the paths of the secrets in a backup, with their versions and when they were created. The exit\n" +
			"status is 1 if any secret or record is damaged.\n\n" +
			storage.BackupFolderHelp + "\n\n" + keyHelp,
		Example: "  secretstore backup show store.backup --gpg\n" +
			"  secretstore backup show store.backup --gpg --json | jq -r '.secrets[].path'",
		Args: base.ExactArgs(1, "name the file with the backup, or the folder"),
	}
	keys.register(cmd)
	cmd.Flags().BoolP("json", "j", false, "print the index as JSON")
	cmd.RunE = storage.Signaled(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		return keys.read(ctx, p, cmd, args[0], func(_ *seal.Backup, index offline.Index) error {
			if base.WantJSON(cmd) {
				return errors.Join(base.PrintJSON(p.Stdout, index), lacking(index))
			}
			for _, e := range index.Secrets {
				if _, err := fmt.Fprintf(p.Stdout, "%s\tversion %d\t%s\n", e.Path, e.Version, cmp.Or(e.Error, e.Created)); err != nil {
					return err
				}
			}
			return lacking(index)
		})
	})
	return cmd
}
