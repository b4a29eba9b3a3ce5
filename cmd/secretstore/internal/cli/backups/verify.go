package backups

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/seal"
	"secretstore/store"
)

func verifyCommand(p *base.Process) *cobra.Command {
	var keys keyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE|DIR [--key-file FILE...] [--gpg]",
		Short: "Check that a backup is complete",
		Long: "verify reads all of a backup and compares it with its hash and its counts. That needs no key, and so does not\n" +
			"show who made the backup. With a key it checks that too, and opens every record: each version of each secret,\n" +
			"deleted ones included, with all of its pieces, and the users, groups and grants. The exit status is 1 if\n" +
			"anything is damaged or missing.\n\n" +
			"The shares of the unseal key come from --key-file, or with --gpg from the gpg on this machine, or from both. A\n" +
			"backup with the bootstrap key needs neither. The backup is unsealed in the memory of this process alone;\n" +
			"nothing decrypted is written.\n\n" + storage.BackupFolderHelp,
		Example: "  secretstore backup verify store.backup\n" +
			"  secretstore backup verify store.backup --gpg",
		Args: base.ExactArgs(1, "name the file with the backup, or the folder"),
	}
	keys.register(cmd)
	cmd.Flags().BoolP("json", "j", false, "print the manifest as JSON")
	cmd.RunE = storage.Signaled(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		return storage.WithBackup(p, args[0], func(file string, b *seal.Backup) error {
			var all *records
			if keys.given(cmd) || b.BootstrapKey {
				var err error
				if all, err = keys.openAll(ctx, p, cmd, b); err != nil {
					return err
				}
			}
			if base.WantJSON(cmd) {
				return base.PrintJSON(p.Stdout, verifyDocument{storage.BackupDocument{File: file, BackupManifest: b.Manifest}, all})
			}
			return all.print(p.Stdout, file, b.Manifest)
		})
	})
	return cmd
}

// verifyDocument is the JSON output of verify.
type verifyDocument struct {
	storage.BackupDocument
	Opened *records `json:"opened,omitempty"` // with a key
}

// records are the records of a backup that were opened.
type records struct {
	Secrets    int `json:"secrets"`
	Deleted    int `json:"deleted"`
	Versions   int `json:"versions"` // of secrets, deleted or not
	Identities int `json:"identities"`
}

func (r *records) print(out io.Writer, file string, m seal.BackupManifest) error {
	if r == nil {
		_, err := fmt.Fprintf(out, "%s is complete: %s\n", file, storage.BackupSummary(m))
		return err
	}
	_, err := fmt.Fprintf(out, "%s is complete, and a server of the store has made it: %s\n"+
		"Every record opens: %d secret(s) and %d deleted one(s) with %d version(s), and %d record(s) of users, groups and grants.\n",
		file, storage.BackupSummary(m), r.Secrets, r.Deleted, r.Versions, r.Identities)
	return err
}

// given reports whether the user has named a key.
func (k *keyFlags) given(cmd *cobra.Command) bool {
	return len(k.files) > 0 || cmd.Flags().Changed("gpg")
}

// openAll opens every record of a backup. Values are dropped.
func (k *keyFlags) openAll(ctx context.Context, p *base.Process, cmd *cobra.Command, b *seal.Backup) (r *records, err error) {
	st, done, err := k.open(ctx, p, cmd, b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	r = &records{}
	var damaged []error
	for _, list := range []struct {
		names func(context.Context) (seal.Names, error)
		read  func(context.Context, acl.Path) (seal.Whole, error)
		n     *int
		want  int
		what  string
	}{
		{func(ctx context.Context) (seal.Names, error) {
			return st.List(ctx, acl.Path{}, seal.Page{}, store.Latest)
		}, st.Whole, &r.Secrets, b.Contents.Secrets, "secret(s)"},
		{st.ListAllDeleted, st.WholeDeleted, &r.Deleted, b.Contents.Deleted, "deleted secret(s)"},
	} {
		names, err := list.names(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the secrets: %w", err)
		}
		for _, name := range names.Names {
			switch n, err := versionsOf(ctx, list.read, name); {
			case errors.Is(err, seal.ErrCorrupt):
				damaged = append(damaged, fmt.Errorf("%s: %w", base.OneLine(name), err))
			case err != nil:
				return nil, fmt.Errorf("%s: %w", base.OneLine(name), err)
			default:
				*list.n++
				r.Versions += n
			}
		}
		if *list.n != list.want {
			damaged = append(damaged, fmt.Errorf("the backup has %d %s, of which %d open", list.want, list.what, *list.n))
		}
	}
	var bad int
	if r.Identities, bad, err = st.CountIdentities(ctx); err != nil {
		return nil, err
	}
	if bad > 0 || r.Identities == 0 && b.Contents.Identities > 0 {
		damaged = append(damaged, fmt.Errorf("%d record(s) of users, groups and grants open, and %d do not", r.Identities, bad))
	}
	return r, errors.Join(damaged...)
}

// versionsOf reads a secret and returns how many versions it has.
func versionsOf(ctx context.Context, read func(context.Context, acl.Path) (seal.Whole, error), name string) (int, error) {
	p, err := acl.ParsePath(name)
	if err != nil {
		return 0, fmt.Errorf("internal error: the store lists %q: %w", name, err)
	}
	whole, err := read(ctx, p)
	if err != nil {
		return 0, err
	}
	defer whole.Clear()
	return len(whole.Versions), nil
}
