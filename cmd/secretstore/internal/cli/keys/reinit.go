package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
	"secretstore/cmd/secretstore/internal/config"
)

func reinitCommand(p *base.Process) *cobra.Command {
	var rekey rekeyFlags
	var wipe wipeFlags
	cmd := &cobra.Command{
		Use:   "reinit --pgp-key FILE... [--threshold T] | reinit --wipe --storage URL --pgp-key FILE...",
		Short: "Move the store to other keys, or wipe it",
		Long: "reinit moves a store to the holders of the given PGP keys without losing a secret. It makes a new unseal key,\n" +
			"which the holders verify, and a new root key, and re-encrypts all records, while the store serves requests.\n" +
			"It waits for the end and checks that the bootstrap key is gone. Current shares and other holders work as\n" +
			"with rekey: if other holders have to verify their shares, reinit stops there, unless --wait is given.\n\n" +
			"reinit --wipe removes everything and starts with the new keys. All servers must be stopped: it refuses a\n" +
			"bbolt file that is in use, and seals a store on ZooKeeper first, so that a running server cannot write. It\n" +
			"shows how many secrets will be lost and asks for the name of the store. Before it removes anything, it\n" +
			"reads every secret, writes a backup that opens with the new keys instead of the old ones, and has the gpg on\n" +
			"this machine decrypt its share of it. restore --into-other-store brings secrets back from it, restore\n" +
			"--storage the whole old store. It opens the old store with the bootstrap key, gpg or --current-share-file. If\n" +
			"the key is lost, use --no-backup. If it is interrupted, run it again." + fleet.LongHelp,
		Example: "  secretstore reinit --pgp-key alice.pub\n" +
			"  secretstore reinit --pgp-key alice.pub --pgp-key bob.pub --pgp-key carol.pub --threshold 2 --wait\n" +
			"  secretstore reinit --wipe --storage bolt:secretstore.db --pgp-key alice.pub",
		Args: base.NoArgs,
	}
	rekey.register(cmd)
	flags := wipe.register(cmd)
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		if wipe.on {
			return wipe.run(ctx, cmd, p, &rekey, flags)
		}
		for _, name := range wipeOnly {
			if cmd.Flags().Changed(name) {
				return base.Usagef("--%s needs --wipe", name)
			}
		}
		return reinit(ctx, cmd, p, open, &rekey)
	})
}

// reinitDocument is the JSON output of reinit.
type reinitDocument struct {
	wire.Rekey
	Rotation         wire.Rotation `json:"rotation"`
	BootstrapKeyHeld bool          `json:"bootstrap_key_held"`
	EarlierCopies    string        `json:"earlier_copies"` // what earlier copies of the storage still reveal
	fleet.ServersPart
}

func reinit(ctx context.Context, cmd *cobra.Command, p *base.Process, open fleet.Opener, flags *rekeyFlags) error {
	bootstrapped := false
	openAndCheck := func(ctx context.Context) (*fleet.Fleet, error) {
		f, err := open(ctx)
		if err != nil {
			return nil, err
		}
		if m, err := f.Leader(); err == nil {
			keys, err := fleet.Ask(ctx, f, m.Client.Keys)
			bootstrapped = err == nil && keys.BootstrapKeyHeld
		}
		return f, nil
	}
	k, err := flags.run(ctx, cmd, p, openAndCheck, true)
	if err != nil {
		return err
	}
	if k.state.Active {
		fmt.Fprintln(p.Stderr, "Nothing has changed yet. Once the new holders have verified their shares (secretstore rekey --verify), the rotation begins:\n"+
			"  secretstore rotate --status --wait\n  secretstore keys doctor")
		return errors.Join(k.finish(ctx, cmd), k.unfinished())
	}
	r, err := fleet.Ask(ctx, k.f, func(ctx context.Context) (wire.Rotation, error) { return rotation(ctx, k.f) })
	if err == nil {
		r, err = awaitRotation(ctx, k.f, r)
	}
	if err != nil {
		return fmt.Errorf("the new unseal key is in effect, but the rotation has not ended: %w", err)
	}
	keys, err := k.keysAfter(ctx)
	if err != nil {
		return err
	}
	copies := earlierCopies(time.Now(), bootstrapped)
	sentence := fmt.Sprintf("The new unseal key is in effect: it takes %d of %d holders to unseal. The old key is useless now.\n"+
		"%s\n%s\n%s%s\n", k.state.Threshold, k.state.Shares, rotationSentence(r), bootstrapSentence(keys), copies, rotatedText(k.state))
	err = k.f.Finish(ctx, cmd, sentence, func(s fleet.ServersPart) any {
		return reinitDocument{k.state, r, keys.BootstrapKeyHeld, copies, s}
	})
	if err == nil && keys.BootstrapKeyHeld {
		err = errors.New("the bootstrap key, now useless, could not be removed; see the log of the server")
	}
	return err
}

// keysAfter reports the keys once the bootstrap key is gone, or after settleTime: a
// server takes a moment to see that another one has removed it.
func (k *rekeying) keysAfter(ctx context.Context) (keys wire.Keys, err error) {
	for until := time.Now().Add(settleTime); ; pause(ctx, 200*time.Millisecond) {
		keys, err = fleet.Ask(ctx, k.f, k.at.Client.Keys)
		if err == nil && !keys.BootstrapKeyHeld || time.Now().After(until) || ctx.Err() != nil {
			return keys, err
		}
	}
}

func bootstrapSentence(k wire.Keys) string {
	if k.BootstrapKeyHeld {
		return "The bootstrap key is still there."
	}
	return "There is no bootstrap key: from now on auto-unseal fails, and after a restart the holders must unseal."
}

// earlierCopies says what earlier copies of the storage still reveal.
func earlierCopies(now time.Time, bootstrapped bool) string {
	who := "to anybody who has the old key"
	if bootstrapped {
		who = "to anybody who has the old key; it was kept in the storage itself, so most copies contain it"
	}
	return fmt.Sprintf("A copy of the storage taken before %s (a backup, a snapshot, ZooKeeper's own logs, blocks of the disk) still reveals\n"+
		"everything stored at that time %s. Remove such copies, or change the secrets themselves.", now.UTC().Format(time.RFC3339), who)
}

// wipeOnly are the flags that need --wipe.
var wipeOnly = []string{"storage", "yes", "no-backup", "no-verify", "backup"}

// wipeFlags are the flags of reinit --wipe.
type wipeFlags struct {
	on, yes, noBackup, noVerify bool
	backup                      string
}

func (w *wipeFlags) register(cmd *cobra.Command) *config.Flags {
	f := cmd.Flags()
	f.BoolVar(&w.on, "wipe", false, "remove everything in the storage; all servers must be stopped")
	f.BoolVar(&w.yes, "yes", false, "with --wipe: do not ask for confirmation")
	f.BoolVar(&w.noBackup, "no-backup", false, "with --wipe: write no backup")
	f.BoolVar(&w.noVerify, "no-verify", false, "with --wipe: do not check that gpg opens the backup and the new store")
	f.StringVar(&w.backup, "backup", "", "with --wipe: write the backup to the new file `FILE` (default secretstore-TIME.backup)")
	return config.RegisterStorage(f)
}
