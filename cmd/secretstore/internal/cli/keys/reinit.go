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
		Short: "Move the store to other keys for good, without losing a secret (or, with --wipe, losing all)",
		Long: "reinit moves a store that made its own key at its first start, or any other, to the holders of the given PGP keys:\n" +
			"a new unseal key, which they verify, a new root key, and all records encrypted anew, while the store serves. It waits\n" +
			"for the end, and shows that the bootstrap key is gone. Current shares and holders elsewhere are as with rekey; where\n" +
			"holders elsewhere still have to verify, it stops there, unless --wait says to wait for them.\n\n" +
			"reinit --wipe instead removes everything and starts with the new keys, with all servers stopped. A bbolt file that is\n" +
			"in use is refused; a store on ZooKeeper is sealed first, so that no server that runs still writes. It shows how many\n" +
			"secrets will be lost, wants the name of the store typed, and before anything is removed writes a backup: a tar archive\n" +
			"of what secretstore recover would write (no earlier values, no deleted secrets), encrypted to the new keys, on the disk and opened once by the gpg on this\n" +
			"machine. The old store is opened with its bootstrap key, else by the gpg, or with --current-share-file. Where its key is\n" +
			"lost, say --no-backup. Cut off, it can be run again." + fleet.LongHelp,
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

// reinitDocument is the report of reinit in JSON.
type reinitDocument struct {
	wire.Rekey
	Rotation         wire.Rotation `json:"rotation"`
	BootstrapKeyHeld bool          `json:"bootstrap_key_held"`
	EarlierCopies    string        `json:"earlier_copies"` // what they still reveal
	fleet.ServersPart
}

func reinit(ctx context.Context, cmd *cobra.Command, p *base.Process, open fleet.Opener, flags *rekeyFlags) error {
	bootstrapped := false
	look := func(ctx context.Context) (*fleet.Fleet, error) {
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
	k, err := flags.run(ctx, cmd, p, look, true)
	if err != nil {
		return err
	}
	if k.state.Active {
		fmt.Fprintln(p.Stderr, "Nothing has changed yet. Once the new holders have verified (secretstore rekey --verify), the rotation begins by itself:\n"+
			"  secretstore rotate --status --wait\n  secretstore keys doctor")
		return errors.Join(k.finish(ctx, cmd), k.unfinished())
	}
	r, err := fleet.Ask(ctx, k.f, func(ctx context.Context) (wire.Rotation, error) { return rotation(ctx, k.f) })
	if err == nil {
		r, err = awaitRotation(ctx, k.f, r)
	}
	if err != nil {
		return fmt.Errorf("the new unseal key is in force, but the rotation has not ended: %w", err)
	}
	keys, err := k.keysAfter(ctx)
	if err != nil {
		return err
	}
	copies := earlierCopies(time.Now(), bootstrapped)
	sentence := fmt.Sprintf("The new unseal key is in force: %d of %d holders unseal. The old one opens nothing any more.\n"+
		"%s\n%s\n%s\n", k.state.Threshold, k.state.Shares, rotationSentence(r), bootstrapSentence(keys), copies)
	err = k.f.Finish(ctx, cmd, sentence, func(s fleet.ServersPart) any {
		return reinitDocument{k.state, r, keys.BootstrapKeyHeld, copies, s}
	})
	if err == nil && keys.BootstrapKeyHeld {
		err = errors.New("the bootstrap key, which opens nothing any more, could not be removed; look into the log of the server")
	}
	return err
}

// keysAfter reports on the keys once the bootstrap key is gone, or has had its
// time to go: a server forgets a record when it hears of it.
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
	return "No bootstrap key is kept: auto-unseal is refused from now on, and after a restart the holders unseal."
}

// earlierCopies states what remains true of copies of the storage.
func earlierCopies(now time.Time, bootstrapped bool) string {
	who := "to whoever has the old key"
	if bootstrapped {
		who = "to whoever has the old key; it was kept in the storage itself, so most such copies hold it"
	}
	return fmt.Sprintf("A copy of the storage taken before %s (a backup, a snapshot, ZooKeeper's own logs, blocks of the disk) still reveals\n"+
		"everything stored at that time %s. Remove such copies, or change the secrets themselves.", now.UTC().Format(time.RFC3339), who)
}

// wipeOnly are the flags that mean nothing without --wipe.
var wipeOnly = []string{"storage", "yes", "no-backup", "no-verify", "backup"}

// wipeFlags are those of reinit --wipe.
type wipeFlags struct {
	on, yes, noBackup, noVerify bool
	backup                      string
}

func (w *wipeFlags) register(cmd *cobra.Command) *config.Flags {
	f := cmd.Flags()
	f.BoolVar(&w.on, "wipe", false, "remove everything that is stored, with all servers stopped")
	f.BoolVar(&w.yes, "yes", false, "with --wipe: do not ask")
	f.BoolVar(&w.noBackup, "no-backup", false, "with --wipe: write no backup, for a store whose key is lost")
	f.BoolVar(&w.noVerify, "no-verify", false, "with --wipe: do not try whether gpg opens the backup and the new key")
	f.StringVar(&w.backup, "backup", "", "with --wipe: write the backup to this new `FILE` (default secretstore-backup-TIME.tar.pgp)")
	return config.RegisterStorage(f)
}
