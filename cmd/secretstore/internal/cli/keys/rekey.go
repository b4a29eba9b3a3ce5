package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
	"secretstore/cmd/secretstore/internal/cli/gpg"
)

// rekeyFlags are those of rekey and, in part, of reinit.
type rekeyFlags struct {
	holders  holderFlags
	current  gpg.ShareFlags // of the present holders
	newFiles []string       // decrypted shares of the new key
	wait     bool
}

func rekeyCommand(p *base.Process) *cobra.Command {
	var flags rekeyFlags
	var rotate, verify, status, cancel bool
	cmd := &cobra.Command{
		Use:   "rekey --pgp-key FILE... [--threshold T] [--rotate] | --verify | --status | --cancel",
		Short: "Replace the unseal key: other holders, or another threshold",
		Long: "rekey makes a new unseal key for the holders that are named. It is in force once --threshold of them have shown\n" +
			"that they can decrypt their shares; until then the old key alone unseals, afterwards the new one alone. No\n" +
			"secret is written again. Where the present key has several holders, it needs as many of their shares as\n" +
			"unseal: from the gpg on this machine, and from --current-share-file.\n\n" +
			"The gpg on this machine then verifies the new shares that it can. New holders elsewhere run rekey --verify.\n" +
			"Exit status 0 says that the new key is in force (with --verify: that your shares were taken).\n\n" +
			"--rotate also makes a new root key and encrypts every record anew: for a holder who left, or a key that\n" +
			"was stolen. Copies of the storage that were taken before still open with the old key." + fleet.LongHelp,
		Example: "  secretstore rekey --pgp-key alice.pub --pgp-key bob.pub --pgp-key carol.pub --threshold 2\n" +
			"  secretstore rekey --verify           # as a new holder, elsewhere\n" +
			"  secretstore rekey --status",
		Args: base.NoArgs,
	}
	flags.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&rotate, "rotate", false, "also make a new root key and encrypt everything anew")
	f.BoolVar(&verify, "verify", false, "verify your share of a new key, as its holder")
	f.BoolVar(&status, "status", false, "show the rekey that is under way")
	f.BoolVar(&cancel, "cancel", false, "cancel the rekey that is under way; the present key stays")
	cmd.MarkFlagsMutuallyExclusive("pgp-key", "verify", "status", "cancel")
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		switch {
		case status, cancel:
			return rekeyState(ctx, cmd, open, cancel)
		case verify:
			return rekeyVerify(ctx, cmd, p, open, &flags)
		}
		r, err := flags.run(ctx, cmd, p, open, rotate)
		if err != nil {
			return err
		}
		if err := r.finish(ctx, cmd); err != nil {
			return err
		}
		return r.unfinished()
	})
}

func (r *rekeyFlags) register(cmd *cobra.Command) {
	r.holders.register(cmd)
	r.current.Register(cmd, "current-share-file", "decrypted shares of the present unseal key")
	cmd.Flags().StringArrayVar(&r.newFiles, "key-file", nil, "`FILE` with decrypted shares of the new unseal key in hex, one a line, instead of gpg's (- is standard input)")
	cmd.Flags().BoolVar(&r.wait, "wait", false, "wait until new holders elsewhere have verified")
}

// rekeying is a rekey that this command works on.
type rekeying struct {
	f     *fleet.Fleet
	at    *fleet.Member // its keys are of this server
	state wire.Rekey
	err   error // why not all could be verified that was to be
}

// run starts a rekey and verifies what can be verified here.
func (r *rekeyFlags) run(ctx context.Context, cmd *cobra.Command, p *base.Process, open fleet.Opener, rotate bool) (*rekeying, error) {
	keys, threshold, err := r.holders.read(cmd, p)
	if err != nil {
		return nil, err
	}
	given, err := r.current.Read(p, "present unseal key")
	if err != nil {
		return nil, err
	}
	k, err := openRekey(ctx, open)
	if err != nil {
		return nil, err
	}
	current, err := k.currentShares(ctx, gpg.Holder{P: p, Program: r.current.Program}, given)
	if err != nil {
		return nil, err
	}
	req := wire.RekeyRequest{Shares: len(keys), Threshold: threshold, PGPKeys: keys, Current: current, Rotate: rotate}
	if k.state, err = fleet.Ask(ctx, k.f, func(ctx context.Context) (wire.Rekey, error) { return k.at.Client.StartRekey(ctx, req) }); err != nil {
		return nil, startFailure(err)
	}
	k.err = k.verify(ctx, p, r)
	return k, nil
}

// startFailure says what to do about a rekey that did not start, or of which
// nobody knows.
func startFailure(err error) error {
	var refused *client.Error
	switch {
	case errors.Is(err, client.ErrExists):
		return errors.New("a rekey is already under way; look at it with: secretstore rekey --status; " +
			"go on with: secretstore rekey --verify; or drop it with: secretstore rekey --cancel")
	case errors.As(err, &refused) && !errors.Is(err, client.ErrUnknown):
		return err
	}
	return fmt.Errorf("%w; whether the rekey has begun is not known: look with: secretstore rekey --status", err)
}

func openRekey(ctx context.Context, open fleet.Opener) (*rekeying, error) {
	f, err := open(ctx)
	if err != nil {
		return nil, err
	}
	m, err := f.Leader()
	if err != nil {
		return nil, err
	}
	return &rekeying{f: f, at: m}, f.Trust()
}

// currentShares returns shares of the present key, where it has several
// holders: those that were given, and what the gpg here can decrypt.
func (k *rekeying) currentShares(ctx context.Context, h gpg.Holder, given []string) ([]string, error) {
	need := k.at.Seal.Threshold
	if k.at.Seal.Shares <= 1 || len(given) >= need {
		return given, nil
	}
	wrapped, err := encryptedShares(ctx, k.f, k.at)
	if err != nil {
		return nil, err
	}
	all := given
	_, err = h.Each(ctx, wrapped, func(share string) (bool, error) {
		all = append(all, share)
		return len(all) >= need+len(given), nil // what was given may be among them
	})
	if len(all) < need {
		text := fmt.Sprintf("a rekey needs %d shares of the present key, and only %d are here; another holder decrypts with "+
			"secretstore unseal --share-from FILE --print-share, for --current-share-file", need, len(all))
		if err != nil {
			return nil, fmt.Errorf("%s (%w)", text, err)
		}
		return nil, errors.New(text)
	}
	return all, nil
}

// verify sends the shares of the new key that are here.
func (k *rekeying) verify(ctx context.Context, p *base.Process, r *rekeyFlags) error {
	if len(r.newFiles) > 0 {
		given, err := (&gpg.ShareFlags{KeyFiles: r.newFiles}).Read(p, "new unseal key")
		if err != nil {
			return err
		}
		for _, share := range given {
			if done, err := k.send(ctx, share); done || err != nil {
				return err
			}
		}
	} else if _, err := (gpg.Holder{P: p, Program: r.current.Program}).Each(ctx, k.state.Keys, func(share string) (bool, error) { return k.send(ctx, share) }); err != nil && !r.wait {
		return err
	}
	if k.state.Active && r.wait {
		return k.await(ctx)
	}
	return nil
}

// send verifies one share. Each server counts by itself, so that all get it: of
// holders who name the servers in different orders, one completes the count.
// The first refusal as a wrong share ends it.
func (k *rekeying) send(ctx context.Context, share string) (done bool, err error) {
	var failed error
	taken := 0
	for _, m := range k.f.Members {
		if m.Err != nil || m.Seal.Sealed || m.UUID() != k.at.UUID() {
			continue
		}
		st, err := fleet.Ask(ctx, k.f, func(ctx context.Context) (wire.Rekey, error) { return m.Client.VerifyRekey(ctx, k.state.Nonce, share) })
		switch {
		case err == nil && !st.Active:
			k.state.Active, k.state.Progress = false, st.Progress
			return true, nil
		case err == nil:
			taken++
			k.state.Progress = max(k.state.Progress, st.Progress)
		case errors.Is(err, client.ErrBadRequest):
			return false, err
		case failed == nil:
			failed = err
		}
	}
	if taken == 0 {
		return k.lookFor(ctx, failed)
	}
	return false, nil
}

// lookFor finds out, after a share that was not taken, whether the new key is in
// force all the same: the answer may have been lost, or another holder has just
// completed the count.
func (k *rekeying) lookFor(ctx context.Context, failed error) (done bool, err error) {
	inForce, err := k.inForce(ctx)
	if err != nil || !inForce {
		return false, errors.Join(failed, err)
	}
	k.state.Active = false
	return true, nil
}

// inForce reports whether the shares of this rekey are the store's own now.
func (k *rekeying) inForce(ctx context.Context) (bool, error) {
	info, err := fleet.Ask(ctx, k.f, k.at.Client.InitInfo)
	if err != nil {
		return false, err
	}
	return len(info.Keys) > 0 && len(k.state.Keys) > 0 && info.Keys[0] == k.state.Keys[0], nil
}

// await waits until other holders have verified.
func (k *rekeying) await(ctx context.Context) error {
	fmt.Fprintf(k.f.P.Stderr, "%d of %d new shares are verified. Waiting for the other new holders, who run: secretstore rekey --verify\n",
		k.state.Progress, k.state.Threshold)
	for {
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			return errors.New("nobody waits any more; the new holders can still run: secretstore rekey --verify")
		}
		if inForce, err := k.inForce(ctx); err == nil && inForce {
			k.state.Active = false
			return nil
		}
		if st, err := fleet.Ask(ctx, k.f, k.at.Client.RekeyStatus); err == nil && (!st.Active || st.Nonce != k.state.Nonce) {
			// It may have come into force between the two questions.
			if done, err := k.lookFor(ctx, nil); err == nil && !done {
				return errors.New("the rekey was cancelled; the old key is still in force")
			}
		}
	}
}

// rekeyDocument is a rekey in JSON.
type rekeyDocument struct {
	wire.Rekey
	fleet.ServersPart
}

func (k *rekeying) finish(ctx context.Context, cmd *cobra.Command) error {
	sentence := fmt.Sprintf("The new unseal key is in force: %d of %d holders unseal. The old one opens nothing any more.", k.state.Threshold, k.state.Shares)
	switch {
	case k.state.Active:
		sentence = fmt.Sprintf("%d of %d new shares are verified. Until all are, the old key stays in force. Another new holder runs: secretstore rekey --verify",
			k.state.Progress, k.state.Threshold)
	case k.state.Rotate:
		sentence += " The rotation goes on: secretstore rotate --status"
	}
	return k.f.Finish(ctx, cmd, sentence, func(s fleet.ServersPart) any { return rekeyDocument{k.state, s} })
}

// unfinished is the error of a rekey that is not in force.
func (k *rekeying) unfinished() error {
	if !k.state.Active {
		return nil
	}
	if k.err != nil {
		return fmt.Errorf("the new key is not in force yet: %w", k.err)
	}
	return errors.New("the new key is not in force yet")
}

// rekeyVerify goes on with a rekey that somebody else has started.
func rekeyVerify(ctx context.Context, cmd *cobra.Command, p *base.Process, open fleet.Opener, flags *rekeyFlags) error {
	k, err := openRekey(ctx, open)
	if err != nil {
		return err
	}
	if k.state, err = fleet.Ask(ctx, k.f, k.at.Client.RekeyStatus); err != nil {
		return err
	}
	if !k.state.Active {
		return errNoRekey
	}
	if err := k.verify(ctx, p, flags); err != nil {
		return err
	}
	return k.finish(ctx, cmd)
}

var errNoRekey = errors.New("no rekey is under way; start one with: secretstore rekey --pgp-key FILE")

// rekeyState shows or cancels the rekey that is under way.
func rekeyState(ctx context.Context, cmd *cobra.Command, open fleet.Opener, cancel bool) error {
	k, err := openRekey(ctx, open)
	if err != nil {
		return err
	}
	k.state, err = fleet.Ask(ctx, k.f, k.at.Client.RekeyStatus)
	if cancel {
		return k.cancel(ctx, cmd, err)
	}
	if err != nil {
		return err
	}
	sentence := "No rekey is under way."
	if k.state.Active {
		sentence = fmt.Sprintf("A rekey is under way since %s: %d of %d new shares verified, %d holders.", k.state.Started.Format(time.RFC3339),
			k.state.Progress, k.state.Threshold, k.state.Shares)
		for _, fingerprint := range k.state.Fingerprints {
			sentence += "\n  " + base.OneLine(fingerprint)
		}
	}
	return k.f.Finish(ctx, cmd, sentence, func(s fleet.ServersPart) any { return rekeyDocument{k.state, s} })
}

// cancel forgets the rekey. A record that somebody else has put into the
// storage has no nonce to be named by, and the server refuses to show it.
func (k *rekeying) cancel(ctx context.Context, cmd *cobra.Command, failed error) error {
	var refused *client.Error
	switch {
	case failed != nil && !(errors.As(failed, &refused) && refused.Status == 500):
		return failed
	case failed == nil && !k.state.Active:
		return errNoRekey
	}
	_, err := fleet.Ask(ctx, k.f, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, k.at.Client.CancelRekey(ctx, k.state.Nonce)
	})
	if errors.Is(err, client.ErrNotFound) {
		return errNoRekey
	}
	if err != nil {
		return err
	}
	k.state.Active = false
	return k.f.Finish(ctx, cmd, "The rekey is cancelled; the unseal key from before stays in force.", func(s fleet.ServersPart) any { return rekeyDocument{k.state, s} })
}
