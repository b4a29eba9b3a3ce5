package keys

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/gpg"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/offline"
)

func recoverCommand(p *base.Process) *cobra.Command {
	var keyFiles []string
	var program, path, out string
	var printShares bool
	cmd := &cobra.Command{
		Use:   "recover --storage URL [--key-file FILE...] [--gpg] [--path PATH] -o DIR | recover --storage URL --print-shares",
		Short: "Read the secrets in a storage without a server",
		Long: "recover is for when no server can run. It reads a storage, sealed or not, with the shares of the unseal key:\n" +
			"decrypted ones in --key-file, with --gpg those that the gpg on this machine decrypts, or both together.\n" +
			"Without both it uses the bootstrap key that the storage keeps. It changes nothing. A bbolt file must not be\n" +
			"in use.\n\n" +
			"If several holders are needed and there is no server, --print-shares prints the encrypted shares. Each of\n" +
			"the other holders has theirs decrypted by unseal --share-from FILE --print-share, for --key-file.\n\n" +
			"recover writes each secret to a file with its path below DIR, which must be new or empty. Files have mode\n" +
			"0600, folders 0700. If a folder has the name of a secret, the file's name ends in \"@secret\", which no\n" +
			"path can contain. Earlier versions and deleted secrets are not written. index.json (or @index.json, if a\n" +
			"secret has that name) describes each secret, without values. It lists damaged secrets, and damaged records\n" +
			"whose secrets are not known; the exit status is then 1.",
		Example: "  secretstore recover --storage bolt:/var/lib/secretstore/secrets.db --gpg -o rescued\n" +
			"  secretstore recover --storage zk://zk1:2181,zk2:2181/dcos/secrets --zk-auth-file zk-auth --key-file - --path team -o rescued\n" +
			"  secretstore recover --storage bolt:secrets.db --print-shares > encrypted     # for the other holders\n" +
			"  secretstore recover --storage bolt:secrets.db --gpg --key-file bob.share -o rescued",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.StringArrayVar(&keyFiles, "key-file", nil, "`FILE` with decrypted shares of the unseal key in hex, one per line (- is standard input; repeatable)")
	f.StringVar(&program, "gpg", "", "have gpg decrypt the shares; --gpg=`PROGRAM` names another program")
	f.Lookup("gpg").NoOptDefVal = "gpg"
	f.StringVar(&path, "path", "", "only the secret `PATH` and those below it")
	f.StringVarP(&out, "output", "o", "", "write to the folder `DIR`")
	f.BoolP("json", "j", false, "print the index as JSON")
	f.BoolVar(&printShares, "print-shares", false, "only print the encrypted shares in the storage, as a document for unseal --share-from")
	cmd.MarkFlagsMutuallyExclusive("print-shares", "output")
	cmd.MarkFlagsMutuallyExclusive("print-shares", "key-file")
	cmd.MarkFlagsMutuallyExclusive("print-shares", "gpg")
	cmd.MarkFlagsOneRequired("print-shares", "output")
	flags := config.RegisterStorage(f)
	cmd.RunE = storage.Signaled(func(ctx context.Context, cmd *cobra.Command, _ []string) (err error) {
		scope, err := acl.ParseFolder(url.PathEscape(path))
		if err != nil {
			return base.Usagef("%s", base.BadPath)
		}
		given, err := (&gpg.ShareFlags{KeyFiles: keyFiles}).Read(p, "unseal key")
		if err != nil {
			return err
		}
		var h *gpg.Holder
		if cmd.Flags().Changed("gpg") {
			h = &gpg.Holder{P: p, Program: program}
		}
		s, err := storage.Open(ctx, p, flags)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		if printShares {
			return printWrappedShares(p, s)
		}
		return recoverTo(ctx, cmd, p, s, given, h, scope, out)
	})
	return cmd
}

// printWrappedShares prints the encrypted shares in the form of GET /init.
func printWrappedShares(p *base.Process, s *storage.Storage) error {
	if s.Info.UUID == "" {
		return storage.ErrNoHolders
	}
	return base.PrintJSON(p.Stdout, s.Info)
}

func recoverTo(ctx context.Context, cmd *cobra.Command, p *base.Process, s *storage.Storage, given []string, h *gpg.Holder, scope acl.Path, out string) (err error) {
	st, err := s.OpenStore(ctx, given, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	dir, err := offline.OpenDir(out)
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
		_, err = fmt.Fprintf(p.Stdout, "%d secret(s) are in %s, described in %s.\n", len(index.Secrets)-index.Failed, out, index.File)
	}
	if err == nil && index.Failed > 0 {
		err = fmt.Errorf("%d secret(s) are damaged and could not be read; %s lists them", index.Failed, index.File)
	}
	if err == nil && index.Incomplete {
		err = fmt.Errorf("secrets may be missing: damaged records were skipped; %s names them", index.File)
	}
	return err
}
