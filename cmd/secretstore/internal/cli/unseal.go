package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
)

func unsealCommand(p *Process) *cobra.Command {
	var from shareFlags
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
			"a document (init --json, GET /init) and --print-share prints what it has decrypted, to be piped on." + fleetLong,
		Example: "  secretstore unseal\n" +
			"  secretstore unseal --key-file -      # typed, not shown\n" +
			"  secretstore unseal --share-from keys.json --print-share | ssh admin@gate secretstore unseal --key-file -\n" +
			"  secretstore unseal --reset           # forget the shares entered so far",
		Args: noArgs,
	}
	from.register(cmd, "key-file", "decrypted shares of the unseal key")
	cmd.Flags().StringVar(&shareFrom, "share-from", "", "`FILE` with the encrypted shares, instead of the server's own (- is standard input)")
	cmd.Flags().BoolVar(&printShare, "print-share", false, "print the decrypted shares of --share-from and send nothing: whoever sees them can use them")
	cmd.Flags().BoolVar(&reset, "reset", false, "have the servers forget the shares that were entered")
	cmd.MarkFlagsMutuallyExclusive("key-file", "share-from", "reset")
	return fleetCommand(p, cmd, func(ctx context.Context, cmd *cobra.Command, open opener) error {
		h := holder{p, from.gpg}
		switch {
		case printShare && shareFrom == "":
			return usage("--print-share needs --share-from FILE: it asks no server")
		case printShare:
			return printShares(ctx, h, shareFrom)
		case reset:
			return onEach(ctx, cmd, open, func(ctx context.Context, m *member) (wire.SealStatus, error) { return m.c.ResetUnseal(ctx) })
		}
		given, err := from.read(p, "unseal key")
		if err != nil {
			return err
		}
		var wrapped []string
		if shareFrom != "" {
			if wrapped, err = readWrapped(p, shareFrom); err != nil {
				return err
			}
		}
		return unseal(ctx, cmd, open, h, given, wrapped)
	})
}

// printShares is for a holder who reaches no server.
func printShares(ctx context.Context, h holder, file string) error {
	wrapped, err := readWrapped(h.p, file)
	if err != nil {
		return err
	}
	_, err = h.each(ctx, wrapped, func(share string) (bool, error) {
		_, err := fmt.Fprintln(h.p.Stdout, share)
		return err != nil, err
	})
	return err
}

// unseal enters the given shares, or else those that the holder can decrypt.
func unseal(ctx context.Context, cmd *cobra.Command, open opener, h holder, given, wrapped []string) error {
	f, err := open(ctx)
	if err != nil {
		return err
	}
	m, err := f.leader()
	if err != nil {
		return err
	}
	if err := f.trust(); err != nil {
		return err
	}
	if len(given) == 0 && len(wrapped) == 0 {
		if wrapped, err = f.wrapped(ctx, m); err != nil {
			return err
		}
	}
	if !f.unsealed() {
		err = f.enterAll(ctx, h, given, wrapped)
	}
	if err == nil {
		err = f.failure() // of one server, which the next look at it forgets
	}
	if err != nil && len(f.members) == 1 {
		return err
	}
	return errors.Join(err, f.finishSeal(ctx, cmd))
}

// enterAll enters shares until the servers are unsealed.
func (f *fleet) enterAll(ctx context.Context, h holder, given, wrapped []string) error {
	for _, share := range given {
		if done, err := f.enter(ctx, share); done || err != nil {
			return err
		}
	}
	if len(given) > 0 {
		return nil
	}
	_, err := h.each(ctx, wrapped, func(share string) (bool, error) { return f.enter(ctx, share) })
	return err
}

// wrapped fetches the encrypted shares.
func (f *fleet) wrapped(ctx context.Context, m *member) ([]string, error) {
	info, err := ask(ctx, f, m.c.InitInfo)
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
func (f *fleet) enter(ctx context.Context, share string) (done bool, err error) {
	f.inTurn(ctx, func(ctx context.Context, m *member) {
		if m.err != nil || m.uuid() == "" || m.uuid() != f.uuid || !m.seal.Sealed {
			return
		}
		st, err := m.c.Unseal(ctx, share)
		if err != nil {
			m.err = err
			return
		}
		m.seal, m.backend.Sealed = st, st.Sealed
	})
	if err := f.failure(); errors.Is(err, client.ErrBadRequest) {
		return false, err // no other server will like it better
	}
	if _, err := f.answering(); err != nil {
		return false, err
	}
	return f.unsealed(), nil
}

// unsealed reports whether every server that answers is unsealed.
func (f *fleet) unsealed() bool {
	all, err := f.answering()
	if err != nil {
		return false
	}
	for _, m := range all {
		if m.seal.Sealed || m.uuid() == "" {
			return false
		}
	}
	return true
}
