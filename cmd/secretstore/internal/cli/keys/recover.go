package keys

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/gpg"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/offline"
	"secretstore/seal"
)

func recoverCommand(p *base.Process) *cobra.Command {
	var o recoverFlags
	cmd := &cobra.Command{
		Use: "recover (--storage URL | --from-backup FILE|DIR) [--key-file FILE...] [--gpg] (-o DIR [--path PATH] | --to-backup FILE) |\n" +
			"  recover (--storage URL | --from-backup FILE|DIR) --print-shares",
		Short: "Read the secrets in a storage or a backup without a server",
		Long: "recover is for when no server can run. It reads a storage, sealed or not, or a backup, with shares of the\n" +
			"unseal key: decrypted ones from --key-file, those that the gpg on this machine decrypts with --gpg, or both\n" +
			"together. With neither, it uses the bootstrap key that is kept there. It changes nothing. A bbolt file must\n" +
			"not be in use.\n\n" +
			"If several holders are needed and there is no server, --print-shares prints the encrypted shares. Each of\n" +
			"the other holders decrypts theirs with unseal --share-from FILE --print-share, for --key-file.\n\n" +
			"With --to-backup, recover writes a backup of the storage, as the command backup does: it has all versions,\n" +
			"deleted secrets and the IAM, opens with the same shares, and nothing in it is decrypted.\n\n" +
			"With -o, it writes each secret to a file with its path below DIR, which must be new or empty. Files have mode\n" +
			"0600, folders 0700. If a folder has the name of a secret, the file's name ends in \"@secret\", which no\n" +
			"path can contain. Earlier versions and deleted secrets are not written. index.json (or @index.json, if a\n" +
			"secret has that name) describes each secret, without values. It lists damaged secrets, and damaged records\n" +
			"whose secrets are not known; the exit status is then 1.",
		Example: "  secretstore recover --storage bolt:/var/lib/secretstore/secrets.db --gpg -o rescued\n" +
			"  secretstore recover --storage zk://zk1:2181,zk2:2181/dcos/secrets --zk-auth-file zk-auth --key-file - --path team -o rescued\n" +
			"  secretstore recover --storage bolt:secrets.db --print-shares > encrypted     # for the other holders\n" +
			"  secretstore recover --storage bolt:secrets.db --gpg --key-file bob.share --to-backup store.backup\n" +
			"  secretstore recover --from-backup store.backup --gpg -o rescued",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.keyFiles, "key-file", nil, "`FILE` with decrypted shares of the unseal key in hex, one per line (- is standard input; repeatable)")
	f.StringVar(&o.program, "gpg", "", "have gpg decrypt the shares; --gpg=`PROGRAM` names another program")
	f.Lookup("gpg").NoOptDefVal = "gpg"
	f.StringVar(&o.path, "path", "", "only the secret `PATH` and those below it")
	f.StringVarP(&o.out, "output", "o", "", "write to the folder `DIR`")
	f.StringVar(&o.from, "from-backup", "", "read the backup in `FILE` instead of a storage, or the newest one in a folder")
	f.StringVar(&o.to, "to-backup", "", "write a backup to the new file `FILE`")
	f.BoolP("json", "j", false, "print the index, or the manifest of the backup, as JSON")
	f.BoolVar(&o.printShares, "print-shares", false, "only print the encrypted shares, as a document for unseal --share-from")
	cmd.MarkFlagsMutuallyExclusive("print-shares", "output", "to-backup")
	cmd.MarkFlagsMutuallyExclusive("print-shares", "key-file")
	cmd.MarkFlagsMutuallyExclusive("print-shares", "gpg")
	cmd.MarkFlagsMutuallyExclusive("from-backup", "to-backup")
	cmd.MarkFlagsMutuallyExclusive("path", "to-backup")
	cmd.MarkFlagsOneRequired("print-shares", "output", "to-backup")
	flags := config.RegisterStorage(f)
	cmd.MarkFlagsMutuallyExclusive("from-backup", "storage")
	cmd.RunE = storage.Signaled(func(ctx context.Context, cmd *cobra.Command, _ []string) (err error) {
		if o.from != "" {
			return storage.WithBackup(p, o.from, func(_ string, b *seal.Backup) error {
				return o.run(ctx, cmd, p, func() (*storage.Storage, error) { return storage.OfBackup(ctx, b) })
			})
		}
		return o.run(ctx, cmd, p, func() (*storage.Storage, error) { return storage.Open(ctx, p, flags) })
	})
	return cmd
}

// recoverFlags are the flags of recover.
type recoverFlags struct {
	keyFiles    []string
	program     string
	path, out   string
	from, to    string
	printShares bool
}

func (o *recoverFlags) run(ctx context.Context, cmd *cobra.Command, p *base.Process, open func() (*storage.Storage, error)) (err error) {
	scope, err := base.Folder("", o.path)
	if err != nil {
		return err
	}
	given, err := (&gpg.ShareFlags{KeyFiles: o.keyFiles}).Read(p, "unseal key")
	if err != nil {
		return err
	}
	var h *gpg.Holder
	if cmd.Flags().Changed("gpg") {
		h = &gpg.Holder{P: p, Program: o.program}
	}
	s, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.printShares {
		return printWrappedShares(p, s)
	}
	st, err := s.OpenStore(ctx, given, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if o.to != "" {
		return o.backup(ctx, cmd, p, s, st)
	}
	return o.files(ctx, cmd, p, s, st, scope)
}

// printWrappedShares prints the encrypted shares in the form of GET /init.
func printWrappedShares(p *base.Process, s *storage.Storage) error {
	if s.Info.UUID == "" {
		return storage.ErrNoHolders
	}
	return base.PrintJSON(p.Stdout, s.Info)
}

// backup writes a backup of the store.
func (o *recoverFlags) backup(ctx context.Context, cmd *cobra.Command, p *base.Process, s *storage.Storage, st *seal.Store) error {
	m, err := offline.NewBackup(o.to, func(w io.Writer) error {
		_, err := st.Backup(ctx, w, backupOptions(s))
		return err
	})
	if err != nil {
		return base.UsageIfRefused(err)
	}
	return storage.ReportBackup(cmd, p, o.to, m)
}

// files writes the secrets into a folder.
func (o *recoverFlags) files(ctx context.Context, cmd *cobra.Command, p *base.Process, s *storage.Storage, st *seal.Store, scope acl.Path) error {
	dir, err := offline.OpenDir(o.out)
	if err != nil {
		return base.Usagef("%v", err)
	}
	defer dir.Close()
	index, err := offline.Export(ctx, st, s.Info.UUID, scope, dir)
	if err != nil {
		return err
	}
	if base.WantJSON(cmd) {
		err = base.PrintJSON(p.Stdout, index)
	} else {
		_, err = fmt.Fprintf(p.Stdout, "%d secret(s) are in %s, described in %s.\n", len(index.Secrets)-index.Failed, o.out, index.File)
	}
	if err == nil && index.Failed > 0 {
		err = fmt.Errorf("%d secret(s) are damaged and could not be read; %s lists them", index.Failed, index.File)
	}
	if err == nil && index.Incomplete {
		err = fmt.Errorf("secrets may be missing: damaged records were skipped; %s names them", index.File)
	}
	return err
}
