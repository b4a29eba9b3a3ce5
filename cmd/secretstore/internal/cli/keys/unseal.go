package keys

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
	"secretstore/cmd/secretstore/internal/cli/gpg"
)

func unsealCommand(p *base.Process) *cobra.Command {
	var from gpg.ShareFlags
	var shareFrom string
	var printShare, reset bool
	cmd := &cobra.Command{
		Use:   "unseal [--key-file FILE | --share-from FILE [--print-share]]",
		Short: "Unseal the store with your GPG key",
		Long: "unseal fetches the encrypted shares of the unseal key from a server, has the gpg on this machine decrypt\n" +
			"those that it can (which asks for a passphrase or a card as it always does), and sends them to the servers\n" +
			"until they are unsealed or no more is left. Where it takes several holders, each runs the same command;\n" +
			"shares that were entered are forgotten after 15 minutes. Exit status 0 says that the servers have taken\n" +
			"your shares; the table, or \"sealed\" with --json, says whether that was enough.\n\n" +
			"The key is never written to a file. With --key-file it takes shares that were decrypted before.\n" +
			"A holder on a machine that reaches no server decrypts there: --share-from reads the encrypted shares from\n" +
			"a document (init --json, GET /init) and --print-share prints what it has decrypted, to be piped on." + fleet.LongHelp,
		Example: "  secretstore unseal\n" +
			"  secretstore unseal --key-file -      # typed, not shown\n" +
			"  secretstore unseal --share-from keys.json --print-share | ssh admin@gate secretstore unseal --key-file -\n" +
			"  secretstore unseal --reset           # forget the shares entered so far",
		Args: base.NoArgs,
	}
	from.Register(cmd, "key-file", "decrypted shares of the unseal key")
	cmd.Flags().StringVar(&shareFrom, "share-from", "", "`FILE` with the encrypted shares, instead of the server's own (- is standard input)")
	cmd.Flags().BoolVar(&printShare, "print-share", false, "print the decrypted shares of --share-from and send nothing: whoever sees them can use them")
	cmd.Flags().BoolVar(&reset, "reset", false, "have the servers forget the shares that were entered")
	cmd.MarkFlagsMutuallyExclusive("key-file", "share-from", "reset")
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		h := gpg.Holder{P: p, Program: from.Program}
		switch {
		case printShare && shareFrom == "":
			return base.Usagef("--print-share needs --share-from FILE: it asks no server")
		case printShare:
			return printShares(ctx, h, shareFrom)
		case reset:
			return onEach(ctx, cmd, open, func(ctx context.Context, m *fleet.Member) (wire.SealStatus, error) { return m.Client.ResetUnseal(ctx) })
		}
		given, err := from.Read(p, "unseal key")
		if err != nil {
			return err
		}
		var wrapped []string
		if shareFrom != "" {
			if wrapped, err = gpg.ReadWrapped(p, shareFrom); err != nil {
				return err
			}
		}
		return unseal(ctx, cmd, open, h, given, wrapped)
	})
}

// printShares is for a holder who reaches no server.
func printShares(ctx context.Context, h gpg.Holder, file string) error {
	wrapped, err := gpg.ReadWrapped(h.P, file)
	if err != nil {
		return err
	}
	_, err = h.Each(ctx, wrapped, func(share string) (bool, error) {
		_, err := fmt.Fprintln(h.P.Stdout, share)
		return err != nil, err
	})
	return err
}

// unseal enters the given shares, or else those that the holder can decrypt.
func unseal(ctx context.Context, cmd *cobra.Command, open fleet.Opener, h gpg.Holder, given, wrapped []string) error {
	f, err := open(ctx)
	if err != nil {
		return err
	}
	m, err := f.Leader()
	if err != nil {
		return err
	}
	if err := f.Trust(); err != nil {
		return err
	}
	if len(given) == 0 && len(wrapped) == 0 {
		if wrapped, err = encryptedShares(ctx, f, m); err != nil {
			return err
		}
	}
	if !f.Unsealed() {
		err = enterAll(ctx, f, h, given, wrapped)
	}
	if err == nil {
		err = f.Failure() // of one server, which the next look at it forgets
	}
	if err != nil && len(f.Members) == 1 {
		return err
	}
	return errors.Join(err, finishSeal(ctx, f, cmd))
}

// enterAll enters shares until the servers are unsealed.
func enterAll(ctx context.Context, f *fleet.Fleet, h gpg.Holder, given, wrapped []string) error {
	for _, share := range given {
		if done, err := enter(ctx, f, share); done || err != nil {
			return err
		}
	}
	if len(given) > 0 {
		return nil
	}
	_, err := h.Each(ctx, wrapped, func(share string) (bool, error) { return enter(ctx, f, share) })
	return err
}

// encryptedShares fetches the encrypted shares.
func encryptedShares(ctx context.Context, f *fleet.Fleet, m *fleet.Member) ([]string, error) {
	info, err := fleet.Ask(ctx, f, m.Client.InitInfo)
	if err != nil {
		return nil, err
	}
	if !info.Initialized || len(info.Keys) == 0 {
		return nil, errors.New("the store is not initialised yet; do it with: secretstore init --pgp-key FILE")
	}
	return info.Keys, nil
}

// enter sends one share to every server that is sealed and whose store is
// known to be the one that is meant. done says that none is sealed any more.
func enter(ctx context.Context, f *fleet.Fleet, share string) (done bool, err error) {
	f.InTurn(ctx, func(ctx context.Context, m *fleet.Member) {
		if m.Err != nil || m.UUID() == "" || m.UUID() != f.UUID || !m.Seal.Sealed {
			return
		}
		st, err := m.Client.Unseal(ctx, share)
		if err != nil {
			m.Err = err
			return
		}
		m.Seal, m.Backend.Sealed = st, st.Sealed
	})
	if err := f.Failure(); errors.Is(err, client.ErrBadRequest) {
		return false, err // no other server will like it better
	}
	if _, err := f.Answering(); err != nil {
		return false, err
	}
	return f.Unsealed(), nil
}
