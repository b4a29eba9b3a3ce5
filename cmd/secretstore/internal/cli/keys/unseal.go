package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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
		Long: "unseal gets the encrypted shares of the unseal key from a server and has the gpg on this machine decrypt\n" +
			"those that it can; gpg asks for a passphrase or smart card as usual. It sends them to the servers until\n" +
			"they are unsealed. If several holders are needed, each runs this command; the servers forget entered\n" +
			"shares 15 minutes after the newest, and an hour after the first. Exit status 0 means that the servers\n" +
			"accepted your shares. The table, or \"sealed\" in the output of --json, shows whether they were enough.\n\n" +
			"The key is never written to a file. With --key-file, unseal uses shares that are decrypted already.\n" +
			"If the machine with the private key cannot reach a server, decrypt there: --share-from reads the encrypted\n" +
			"shares from a document (init --json, GET /init), and --print-share prints the decrypted ones to a pipe." + fleet.LongHelp,
		Example: "  secretstore unseal\n" +
			"  secretstore unseal --key-file -      # typed without echo\n" +
			"  secretstore unseal --share-from keys.json --print-share | ssh admin@gate secretstore unseal --key-file -\n" +
			"  secretstore unseal --reset           # forget the entered shares",
		Args: base.NoArgs,
	}
	from.Register(cmd, "key-file", "decrypted shares of the unseal key")
	cmd.Flags().StringVar(&shareFrom, "share-from", "", "`FILE` with the encrypted shares, instead of those of the server (- is standard input)")
	cmd.Flags().BoolVar(&printShare, "print-share", false, "print the decrypted shares of --share-from and send nothing (anybody who sees them can use them)")
	cmd.Flags().BoolVar(&reset, "reset", false, "make the servers forget the entered shares")
	cmd.MarkFlagsMutuallyExclusive("key-file", "share-from", "reset")
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		h := gpg.Holder{P: p, Program: from.Program}
		switch {
		case printShare && shareFrom == "":
			return base.Usagef("--print-share needs --share-from FILE, because it contacts no server")
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

// printShares prints decrypted shares for a holder who cannot reach a server.
func printShares(ctx context.Context, h gpg.Holder, file string) error {
	wrapped, err := gpg.ReadWrapped(h.P, file)
	if err != nil {
		return err
	}
	_, err = h.Each(ctx, wrapped, func(_ int, share string) (bool, error) {
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
	all, err := f.Answering()
	if err != nil {
		return err
	}
	if err := f.Trust(); err != nil {
		return err
	}
	current := len(given) == 0 && len(wrapped) == 0
	if current {
		if wrapped, err = encryptedShares(ctx, f, toUnseal(all)); err != nil {
			return err
		}
	}
	var got entry
	if !f.Unsealed() {
		got, err = enterAll(ctx, f, h, given, wrapped)
	}
	if err == nil {
		err = f.Failure() // of one server; Look overwrites it
	}
	err = inUnsealWords(err, f, current)
	if err != nil && len(f.Members) == 1 {
		return err
	}
	return errors.Join(err, finishSeal(ctx, f, cmd, got.sentence))
}

// entry is what has become of the shares that a command entered.
type entry struct {
	accepted bool // a server took one
	counted  bool // a server did not have it before
}

func (e entry) sentence(st wire.SealStatus) string {
	switch {
	case !e.accepted:
		return fmt.Sprintf("this command entered no share. %d of %d shares were entered before.", st.Progress, st.Threshold)
	case !e.counted:
		return enteredSentence(st) + " Yours was entered already. Another holder runs: secretstore unseal"
	}
	return enteredSentence(st) + " Another holder runs: secretstore unseal"
}

// inUnsealWords puts an error in the words of the command: the server's are for users
// of the API. current says that the encrypted shares came from the server.
func inUnsealWords(err error, f *fleet.Fleet, current bool) error {
	refused, ok := errors.AsType[*client.Error](err)
	wrong := ok && strings.HasPrefix(refused.Description, "wrong unseal key")
	switch {
	case wrong && current:
		return errors.New("wrong unseal key: one of the shares entered does not belong to the current key. " +
			"The store stays sealed. Every holder must run again: secretstore unseal")
	case wrong:
		share := "this share"
		if f.Members[0].Seal.Threshold > 1 {
			share = "this share, or one entered before,"
		}
		return fmt.Errorf("wrong unseal key: %s does not belong to the current key. The store stays sealed. "+
			"Enter your share of the current key with: secretstore unseal (without --key-file and --share-from)", share)
	case errors.Is(err, gpg.ErrNoKey) && keepsBootstrapKey(f):
		return fmt.Errorf("%w. The server keeps a bootstrap key, which unseals without gpg: secretstore auto-unseal", err)
	}
	return err
}

// keepsBootstrapKey reports whether a sealed server says that auto-unseal works.
func keepsBootstrapKey(f *fleet.Fleet) bool {
	return slices.ContainsFunc(f.Members, func(m *fleet.Member) bool {
		return m.State() == "sealed" && m.Seal.Server != nil && m.Seal.Server.AutoUnseal
	})
}

// enterAll enters shares until the servers are unsealed.
func enterAll(ctx context.Context, f *fleet.Fleet, h gpg.Holder, given, wrapped []string) (got entry, err error) {
	send := func(share string) (done bool, err error) {
		before := make(map[*fleet.Member]int)
		for _, m := range f.Members {
			before[m] = m.Seal.Progress
		}
		accepted, done, err := enter(ctx, f, share)
		for _, m := range accepted {
			got.accepted = true
			got.counted = got.counted || !m.Seal.Sealed || m.Seal.Progress > before[m]
		}
		return done, err
	}
	for _, share := range given {
		if done, err := send(share); done || err != nil {
			return got, err
		}
	}
	if len(given) > 0 {
		return got, nil
	}
	_, err = h.Each(ctx, wrapped, func(_ int, share string) (bool, error) { return send(share) })
	return got, err
}

// toUnseal returns the first server that is sealed, else the first. An unsealed
// one does not show a record of the holders that has lost its MAC.
func toUnseal(all []*fleet.Member) *fleet.Member {
	for _, m := range all {
		if m.Seal.Sealed {
			return m
		}
	}
	return all[0]
}

// encryptedShares fetches the encrypted shares.
func encryptedShares(ctx context.Context, f *fleet.Fleet, m *fleet.Member) ([]string, error) {
	info, err := fleet.Ask(ctx, f, m.Client.InitInfo)
	if err != nil {
		return nil, err
	}
	if !info.Initialized || len(info.Keys) == 0 {
		return nil, errors.New("the store is not initialized yet; run: secretstore init --pgp-key FILE")
	}
	return info.Keys, nil
}

// enter sends one share to every sealed server that has the trusted store, and
// returns those that accepted it. done says that all are unsealed.
func enter(ctx context.Context, f *fleet.Fleet, share string) (accepted []*fleet.Member, done bool, err error) {
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
		accepted = append(accepted, m)
	})
	if err := f.Failure(); errors.Is(err, client.ErrBadRequest) {
		return accepted, false, err // it is wrong for every server
	}
	if _, err := f.Answering(); err != nil {
		return accepted, false, err
	}
	return accepted, f.Unsealed(), nil
}
