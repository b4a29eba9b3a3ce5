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
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/offline"
)

func recoverCommand(p *base.Process) *cobra.Command {
	var keyFiles []string
	var program, path, out string
	cmd := &cobra.Command{
		Use:   "recover --storage URL [--key-file FILE... | --gpg] [--path PATH] -o DIR",
		Short: "Read the secrets of a storage without a server",
		Long: "recover is for when no server can be had. It reads a storage, sealed or not, as the holder of the unseal key or\n" +
			"of enough shares of it: decrypted ones in --key-file, or decrypted by the gpg on this machine with --gpg; without\n" +
			"both, with the bootstrap key that the storage keeps. Nothing is changed. A bbolt file must not be in use.\n\n" +
			"Each secret is written to a file named like its path below DIR, which must be new or empty: files have mode 0600,\n" +
			"folders 0700. A secret whose path is also a folder gets \"@secret\" after its name, which no path can hold.\n" +
			"Earlier values and deleted secrets are not written.\n" +
			"index.json (@index.json, if a secret is called so) has what is known about each secret, without values.\n" +
			"Secrets that are damaged are named there; the exit status is then 1.",
		Example: "  secretstore recover --storage bolt:/var/lib/secretstore/secrets.db --gpg -o rescued\n" +
			"  secretstore recover --storage zk://zk1:2181,zk2:2181/dcos/secrets --zk-auth-file zk-auth --key-file - --path team -o rescued",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.StringArrayVar(&keyFiles, "key-file", nil, "`FILE` with decrypted shares of the unseal key in hex, one a line (- is standard input; may be given again)")
	f.StringVar(&program, "gpg", "", "have gpg decrypt the shares; --gpg=PROGRAM names another one")
	f.Lookup("gpg").NoOptDefVal = "gpg"
	f.StringVar(&path, "path", "", "only the secret `PATH`, and those below it")
	f.StringVarP(&out, "output", "o", "", "write to the folder `DIR`")
	f.BoolP("json", "j", false, "print the index as JSON")
	cmd.MarkFlagsMutuallyExclusive("key-file", "gpg")
	base.Required(cmd, "output")
	flags := config.RegisterStorage(f)
	cmd.RunE = signalled(func(ctx context.Context, cmd *cobra.Command) (err error) {
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
		s, err := openStorage(ctx, p, flags)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		return recoverTo(ctx, cmd, p, s, given, h, scope, out)
	})
	return cmd
}

func recoverTo(ctx context.Context, cmd *cobra.Command, p *base.Process, s *storage, given []string, h *gpg.Holder, scope acl.Path, out string) (err error) {
	st, err := s.open(ctx, given, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	dir, err := offline.OpenDir(out)
	if err != nil {
		return base.Usagef("%v", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	index, err := offline.Export(ctx, st, s.info.UUID, scope, dir)
	if err != nil {
		return err
	}
	if base.WantJSON(cmd) {
		err = base.PrintJSON(p.Stdout, index)
	} else {
		_, err = fmt.Fprintf(p.Stdout, "%d secret(s) are in %s, described in %s.\n", len(index.Secrets)-index.Failed, out, index.File)
	}
	if err == nil && index.Failed > 0 {
		err = fmt.Errorf("%d secret(s) are damaged and could not be read; %s names them", index.Failed, index.File)
	}
	return err
}
