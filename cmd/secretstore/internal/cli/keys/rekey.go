package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
	"secretstore/cmd/secretstore/internal/cli/gpg"
)

// rekeyFlags are the flags of rekey. reinit has some of them.
type rekeyFlags struct {
	holders  holderFlags
	current  gpg.ShareFlags // of the current holders
	newFiles []string       // decrypted shares of the new key
	wait     bool
	leaveOut bool
}

func rekeyCommand(p *base.Process) *cobra.Command {
	var flags rekeyFlags
	var rotate, approve, verify, status, cancel, recipients bool
	cmd := &cobra.Command{
		Use:   "rekey --pgp-key FILE... [--threshold T] [--rotate] [--leave-out] | --approve | --verify | --status | --cancel | --recipients",
		Short: "Replace the unseal key or its holders",
		Long: "rekey makes a new unseal key for the given holders. The new key takes effect once --threshold of them have\n" +
			"proved that they can decrypt their shares. Until then only the old key unseals, afterwards only the new\n" +
			"one. Secrets are not rewritten. If the current key has several holders, as many of them as unseal approve\n" +
			"the rekey first. rekey does it for those whose shares the gpg on this machine or --current-share-file has;\n" +
			"the others run rekey --approve, which shows whom they approve.\n\n" +
			"rekey then has the gpg on this machine verify the new shares that it can decrypt. Other new holders run\n" +
			"rekey --verify. If it waits for others, the first line of the output begins with \"PENDING:\", the next ones\n" +
			"say who must do what, and the exit status is 0: the old key is still in force, so keep it. --json has\n" +
			"\"pending\". With --wait, also with --approve and --verify, the command ends when the rekey is decided: with\n" +
			"exit status 0 if the new key is in effect, and 1 if the rekey was canceled. Once others have approved, it\n" +
			"verifies the new shares that gpg can decrypt. Ctrl-C and SIGTERM (timeout 1h secretstore rekey …) end the\n" +
			"waiting, not the rekey.\n\n" +
			"--rotate also makes a new root key and re-encrypts every record, for example after a holder has left or a\n" +
			"key was stolen. The new root key is handed over to the other unsealed servers, encrypted to a key that each\n" +
			"of them announces; --recipients lists them. Look at the list first: somebody who has the old key, and can\n" +
			"write to the storage, can announce a server. If a live server would be left out, and so would seal, nothing\n" +
			"is changed unless you add --leave-out. The old key still opens earlier copies of the storage; with both,\n" +
			"the names of secrets can be read in a new copy.\n\n" +
			"No key is changed while a server of an earlier release is live, unless you add --leave-out." + fleet.LongHelp,
		Example: "  secretstore rekey --pgp-key alice.pub --pgp-key bob.pub --pgp-key carol.pub --threshold 2\n" +
			"  secretstore rekey --recipients       # before rekey --rotate\n" +
			"  secretstore rekey --approve --wait   # as another current holder\n" +
			"  secretstore rekey --verify           # as another new holder\n" +
			"  secretstore rekey --status",
		Args: base.NoArgs,
	}
	flags.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&rotate, "rotate", false, "also make a new root key and re-encrypt everything")
	f.BoolVar(&approve, "approve", false, "approve the rekey in progress with your share of the current key")
	f.BoolVar(&verify, "verify", false, "verify your share of a new key")
	f.BoolVar(&status, "status", false, "show the rekey in progress")
	f.BoolVar(&cancel, "cancel", false, "cancel the rekey in progress; the current key stays")
	f.BoolVar(&recipients, "recipients", false, "show which servers --rotate would hand the new root key over to; change nothing")
	cmd.MarkFlagsMutuallyExclusive("pgp-key", "approve", "verify", "status", "cancel", "recipients")
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		switch {
		case status, cancel:
			return rekeyState(ctx, cmd, open, cancel)
		case recipients:
			return rekeyRecipients(ctx, cmd, open)
		case approve:
			return rekeyApprove(ctx, cmd, p, open, &flags)
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
		if errors.Is(r.err, gpg.ErrNoKey) {
			return nil // the new holders are elsewhere
		}
		return r.err
	})
}

func (r *rekeyFlags) register(cmd *cobra.Command) {
	r.holders.register(cmd)
	r.current.Register(cmd, "current-share-file", "decrypted shares of the current unseal key")
	cmd.Flags().StringArrayVar(&r.newFiles, "key-file", nil, "`FILE` with decrypted shares of the new unseal key in hex, one per line, instead of those from gpg (- is standard input)")
	cmd.Flags().BoolVar(&r.leaveOut, "leave-out", false, "continue even if live servers run an earlier release, or would not get the new root key and would seal")
	cmd.Flags().BoolVar(&r.wait, "wait", false, "wait until the rekey is decided")
}

// rekeying is the rekey that a command works on.
type rekeying struct {
	f     *fleet.Fleet
	at    *fleet.Member // the server that its keys are from
	state wire.Rekey
	// old is the first encrypted share of the key that is replaced.
	old string
	// own are the shares that this command has entered in the current phase.
	own []string
	// approved says that the approvals are complete since this command, whose user
	// may have a share of the new key, too.
	approved bool
	err      error // why shares could not be verified
}

// run starts a rekey and verifies the shares that it can.
func (r *rekeyFlags) run(ctx context.Context, cmd *cobra.Command, p *base.Process, open fleet.Opener, rotate bool) (*rekeying, error) {
	keys, threshold, err := r.holders.read(cmd, p)
	if err != nil {
		return nil, err
	}
	given, err := r.current.Read(p, "current unseal key")
	if err != nil {
		return nil, err
	}
	k, err := openRekey(ctx, open)
	if err != nil {
		return nil, err
	}
	if rotate {
		if err := k.showRecipients(ctx, r.leaveOut); err != nil {
			return nil, err
		}
	}
	current, err := k.currentShares(ctx, gpg.Holder{P: p, Program: r.current.Program}, given)
	if err != nil {
		return nil, err
	}
	if r.wait {
		wrapped, err := encryptedShares(ctx, k.f, k.at)
		if err != nil {
			return nil, err
		}
		k.old = wrapped[0]
	}
	req := wire.RekeyRequest{Shares: len(keys), Threshold: threshold, PGPKeys: keys, Current: wire.Shares(current), Rotate: rotate, LeaveOut: r.leaveOut}
	if k.state, err = fleet.Ask(ctx, k.f, func(ctx context.Context) (wire.Rekey, error) { return k.at.Client.StartRekey(ctx, req) }); err != nil {
		return nil, k.startFailure(ctx, err)
	}
	if k.state.Phase == phaseApproval {
		if _, k.err = k.approve(ctx, current); k.err != nil {
			return k, nil
		}
	}
	switch {
	case r.wait:
		k.err = k.wait(ctx, p, r)
	case k.state.Phase != phaseApproval:
		k.err = k.verify(ctx, p, r)
	}
	return k, nil
}

// startFailure says what to do about a rekey that did not start, or may have.
func (k *rekeying) startFailure(ctx context.Context, err error) error {
	var refused *client.Error
	switch {
	case errors.Is(err, client.ErrExists):
		if st, failed := fleet.Ask(ctx, k.f, k.at.Client.RekeyStatus); failed == nil && !st.Active {
			return err // a conflict with something else, which its text names
		}
		return errors.New("a rekey is already in progress; show it with: secretstore rekey --status; " +
			"continue it with: secretstore rekey --verify; or drop it with: secretstore rekey --cancel")
	case errors.As(err, &refused) && !errors.Is(err, client.ErrUnknown):
		return err
	}
	return fmt.Errorf("%w; the rekey may have begun; see: secretstore rekey --status", err)
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

// currentShares returns shares of the current key if it has several holders: the
// given ones and those that gpg can decrypt.
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
	_, err = h.Each(ctx, wrapped, func(_ int, share string) (bool, error) {
		all = append(all, share)
		return len(all) >= need+len(given), nil // the given ones may be among them
	})
	if err != nil && !errors.Is(err, gpg.ErrNoKey) {
		return nil, err
	}
	return all, nil
}

// phaseApproval: see wire.Rekey.
const phaseApproval = "approval"

// approve sends shares of the current key to all servers, each of which collects
// them by itself.
func (k *rekeying) approve(ctx context.Context, shares []string) (taken int, err error) {
	k.own = shares
	var failed error
	for _, share := range shares {
		for _, m := range k.f.Members {
			if m.Err != nil || m.Seal.Sealed || m.UUID() != k.at.UUID() || k.state.Phase != phaseApproval {
				continue
			}
			st, err := fleet.Ask(ctx, k.f, func(ctx context.Context) (wire.Rekey, error) { return m.Client.ApproveRekey(ctx, k.state.Nonce, share) })
			switch {
			case errors.Is(err, client.ErrBadRequest):
				return taken, err
			case err != nil:
				failed = err
			case st.Phase != phaseApproval || st.Approvals >= k.state.Approvals:
				k.state, taken = st, taken+1
			}
		}
	}
	if taken > 0 || len(shares) == 0 {
		failed = nil
	}
	return taken, failed
}

// openActiveRekey is openRekey, for a rekey that somebody else has started.
func openActiveRekey(ctx context.Context, open fleet.Opener) (*rekeying, error) {
	k, err := openRekey(ctx, open)
	if err != nil {
		return nil, err
	}
	if k.state, err = fleet.Ask(ctx, k.f, k.at.Client.RekeyStatus); err != nil {
		return nil, err
	}
	if !k.state.Active {
		return nil, errNoRekey
	}
	return k, nil
}

// rekeyApprove approves a rekey that somebody else has started.
func rekeyApprove(ctx context.Context, cmd *cobra.Command, p *base.Process, open fleet.Opener, flags *rekeyFlags) error {
	given, err := flags.current.Read(p, "current unseal key")
	if err != nil {
		return err
	}
	k, err := openActiveRekey(ctx, open)
	if err != nil {
		return err
	}
	if k.state.Phase == phaseApproval {
		fmt.Fprintf(p.Stderr, "You approve that these holders replace the current ones, any %d of them unseal:%s\n", k.state.Threshold, nameLines(k.state.Holders))
		wrapped, err := encryptedShares(ctx, k.f, k.at)
		if err != nil {
			return err
		}
		k.old = wrapped[0]
		if len(given) == 0 {
			if _, err = (gpg.Holder{P: p, Program: flags.current.Program}).Each(ctx, wrapped, func(_ int, share string) (bool, error) {
				given = append(given, share)
				return false, nil
			}); err != nil {
				return err
			}
		}
		if _, err := k.approve(ctx, given); err != nil {
			return err
		}
		k.approved = k.state.Phase != phaseApproval
	}
	if flags.wait {
		if err := k.wait(ctx, p, flags); err != nil {
			return err
		}
	}
	return k.finish(ctx, cmd)
}

// pending says what the rekey waits for.
func (k *rekeying) pending() pending {
	if !k.state.Active {
		return pending{}
	}
	wait := pending{Text: "the old unseal key is still in force, keep it; the new holders have to verify their shares", Missing: k.state.Missing,
		more: k.state.Threshold - k.state.Progress, who: "new holders", command: "secretstore rekey --verify"}
	if k.state.Phase == phaseApproval {
		wait.Text, wait.more = "the old unseal key is still in force, keep it; the current holders have to approve the new ones", k.state.ApprovalsRequired-k.state.Approvals
		wait.who, wait.command, wait.advice = "current holders", "secretstore rekey --approve", "Then the new holders verify their shares, with: secretstore rekey --verify"
	}
	return wait
}

// verify sends the shares of the new key that it has. If it waits for other holders
// anyway, it may have none.
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
		return nil
	}
	_, err := (gpg.Holder{P: p, Program: r.current.Program}).Each(ctx, k.state.Keys, func(_ int, share string) (bool, error) { return k.send(ctx, share) })
	switch {
	case err == nil || !r.wait || ctx.Err() != nil:
		return err
	case !errors.Is(err, gpg.ErrNoKey):
		fmt.Fprintf(p.Stderr, "secretstore: %v\n", err)
	}
	return nil
}

// send verifies one share. Each server counts shares by itself, so all servers get
// it: otherwise holders who name the servers in different orders might never complete
// the count. It ends at the first server that calls the share wrong.
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
			k.state.Recipients, k.state.LeftOut = st.Recipients, st.LeftOut
			return true, nil
		case err == nil:
			taken++
			if st.Progress >= k.state.Progress {
				k.state.Progress, k.state.Missing = st.Progress, st.Missing
			}
		case errors.Is(err, client.ErrBadRequest):
			return false, err
		case failed == nil:
			failed = err
		}
	}
	if taken == 0 {
		return k.recheck(ctx, failed)
	}
	k.own = append(k.own, share)
	return false, nil
}

// recheck finds out, after a share was refused, whether the new key is in effect
// anyway: the answer may have been lost, or another holder completed the count.
func (k *rekeying) recheck(ctx context.Context, failed error) (done bool, err error) {
	inForce, err := k.inForce(ctx)
	if err != nil || !inForce {
		return false, errors.Join(failed, err)
	}
	k.state.Active = false
	return true, nil
}

// inForce reports whether the store has the shares of this rekey by now.
func (k *rekeying) inForce(ctx context.Context) (bool, error) {
	info, err := fleet.Ask(ctx, k.f, k.at.Client.InitInfo)
	if err != nil {
		return false, err
	}
	if len(info.Keys) == 0 {
		return false, nil
	}
	if len(k.state.Keys) == 0 { // when it was last seen, it was not approved
		return k.old != "" && info.Keys[0] != k.old && slices.Equal(info.Fingerprints, k.state.Fingerprints), nil
	}
	return info.Keys[0] == k.state.Keys[0], nil
}

// wait waits until the rekey is decided. Once the current holders have approved it,
// it verifies the shares that it has.
func (k *rekeying) wait(ctx context.Context, p *base.Process, r *rekeyFlags) error {
	if k.state.Phase != phaseApproval {
		if err := k.verify(ctx, p, r); err != nil || !k.state.Active {
			return err
		}
	}
	fmt.Fprintf(p.Stderr, "Waiting for the other holders. %s\n", k.pending())
	for {
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			wait := k.pending()
			return fmt.Errorf("stopped waiting; the %s can still run: %s", wait.who, wait.command)
		}
		phase := k.state.Phase
		if decided, err := k.look(ctx); decided || err != nil {
			return err
		}
		if phase != phaseApproval || k.state.Phase == phaseApproval {
			continue
		}
		k.own = nil
		if err := k.verify(ctx, p, r); err != nil || !k.state.Active {
			return err
		}
		fmt.Fprintf(p.Stderr, "The current holders have approved. %s\n", k.pending())
	}
}

// look reads the state of the rekey again, and says whether it is decided. If the
// server has forgotten shares, as it does after a pause, it enters its own again.
func (k *rekeying) look(ctx context.Context) (decided bool, err error) {
	if inForce, err := k.inForce(ctx); err == nil && inForce {
		k.state.Active = false
		return true, nil
	}
	st, err := fleet.Ask(ctx, k.f, k.at.Client.RekeyStatus)
	if err != nil {
		return false, nil // the server may answer later
	}
	if !st.Active || st.Nonce != k.state.Nonce {
		// It may have taken effect between the two requests.
		if done, err := k.recheck(ctx, nil); done || err != nil {
			return done, nil
		}
		return true, errors.New("the rekey was canceled; the old key is still in effect")
	}
	forgotten := st.Phase == k.state.Phase && st.Approvals+st.Progress < k.state.Approvals+k.state.Progress
	st.Recipients, st.LeftOut = k.state.Recipients, k.state.LeftOut // as they were at the start
	k.state = st
	if forgotten {
		err = k.enterAgain(ctx)
	}
	return !k.state.Active, err
}

// enterAgain enters the shares that this command has entered already.
func (k *rekeying) enterAgain(ctx context.Context) error {
	own := k.own
	if k.state.Phase == phaseApproval {
		_, err := k.approve(ctx, own)
		return err
	}
	k.own = nil
	for _, share := range own {
		if done, err := k.send(ctx, share); done || err != nil {
			return err
		}
	}
	return nil
}

// rekeyDocument is a rekey in JSON.
type rekeyDocument struct {
	wire.Rekey
	// Pending is what it waits for. Missing are those who can do it.
	Pending string `json:"pending,omitempty"`
	fleet.ServersPart
}

func (k *rekeying) document(s fleet.ServersPart) any {
	return rekeyDocument{k.state, k.pending().Text, s}
}

func (k *rekeying) finish(ctx context.Context, cmd *cobra.Command) error {
	sentence := fmt.Sprintf("The new unseal key is in effect: it takes %d of %d holders to unseal. The old key is useless now.", k.state.Threshold, k.state.Shares)
	switch {
	case k.state.Active:
		wait := k.pending()
		if k.approved {
			wait.advice = "If you are one of them, verify your share, too. Type next: " + wait.command
		}
		sentence = wait.String()
	case k.state.Rotate:
		sentence += " The rotation continues; see: secretstore rotate --status" + rotatedText(k.state)
	}
	return k.f.Finish(ctx, cmd, sentence, k.document)
}

// unfinished returns the error of a rekey that has not taken effect.
func (k *rekeying) unfinished() error {
	if !k.state.Active {
		return nil
	}
	if k.err != nil {
		return fmt.Errorf("the new key is not in effect yet: %w", k.err)
	}
	return errors.New("the new key is not in effect yet")
}

// rekeyVerify continues a rekey that somebody else has started.
func rekeyVerify(ctx context.Context, cmd *cobra.Command, p *base.Process, open fleet.Opener, flags *rekeyFlags) error {
	k, err := openActiveRekey(ctx, open)
	if err != nil {
		return err
	}
	if k.state.Phase == phaseApproval && !flags.wait {
		return errors.New("the current holders have not approved this rekey yet; they run: secretstore rekey --approve")
	}
	act := k.verify
	if flags.wait {
		act = k.wait
		wrapped, err := encryptedShares(ctx, k.f, k.at)
		if err != nil {
			return err
		}
		k.old = wrapped[0]
	}
	if err := act(ctx, p, flags); err != nil {
		return err
	}
	return k.finish(ctx, cmd)
}

var errNoRekey = errors.New("no rekey is in progress; start one with: secretstore rekey --pgp-key FILE")

// rekeyState shows or cancels the rekey in progress.
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
	sentence := "No rekey is in progress."
	if k.state.Active {
		sentence = k.describe()
	}
	return k.f.Finish(ctx, cmd, sentence, k.document)
}

// describe says everything about a rekey in progress.
func (k *rekeying) describe() string {
	out := k.pending().String()
	if len(k.state.Entered) > 0 {
		out += fmt.Sprintf("\nThis server has the shares of these, until %s:%s", k.state.EnteredUntil.Format(time.RFC3339), nameLines(k.state.Entered))
	}
	out += fmt.Sprintf("\nThe rekey is in progress since %s", k.state.Started.Format(time.RFC3339))
	if k.state.Rotate {
		out += ", and makes a new root key (--rotate)"
	}
	return out + fmt.Sprintf(". Its new holders, any %d of whom unseal:%s", k.state.Threshold, nameLines(k.state.Holders))
}

// cancel cancels the rekey. The server refuses to show a record that somebody else
// has put into the storage, so failed may be that error, and there is no nonce.
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
	return k.f.Finish(ctx, cmd, "The rekey is canceled; the current unseal key stays in effect.", k.document)
}
