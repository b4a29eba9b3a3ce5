package backups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/seal"
)

// wholeFlags are the flags of restore that are for a whole store.
type wholeFlags struct {
	withoutIAM, startOver bool
}

const wholeHelp = "Everything is as it was then: versions, deleted secrets, who could unseal, and the users, groups, passwords and\n" +
	"grants of the IAM. --without-iam leaves those of the IAM out: a server with --iam builtin then needs\n" +
	"--superuser-password-file for its first start. If the backup has the bootstrap key, it is written to where a\n" +
	"server of that storage reads it.\n\n" +
	"The first unseal checks that a server of the store has made the backup; with a key, restore does so before it\n" +
	"writes. The first unseal begins a new incarnation of the store: tokens of accounts, sessions, task tokens and\n" +
	"ETags from before are void, and tokens are signed with a new key."

func (o *wholeFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.withoutIAM, "without-iam", false, "leave out users, groups, passwords and grants of the IAM")
	cmd.Flags().BoolVar(&o.startOver, "start-over", false, storage.StartOverHelp)
	cmd.MarkFlagsMutuallyExclusive("without-iam", "path")
	cmd.MarkFlagsMutuallyExclusive("start-over", "path")
}

// run writes a backup into empty storage.
func (o *wholeFlags) run(ctx context.Context, p *base.Process, cmd *cobra.Command, flags *config.Flags, keys *keyFlags, file string) error {
	return storage.WithBackup(p, file, func(_ string, b *seal.Backup) (err error) {
		checked, err := keys.check(ctx, p, cmd, b)
		if err != nil {
			return fmt.Errorf("nothing was restored: %w", err)
		}
		s, err := storage.Make(ctx, p, flags)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		line := base.NewProgress(p)
		defer line.End()
		if o.startOver {
			if err := s.StartOver(ctx, line); err != nil {
				return stopServers(err)
			}
		}
		total := b.Contents.Secrets + b.Contents.Deleted + b.Contents.Pieces + b.Contents.Identities + b.Contents.Others
		err = b.Restore(ctx, s.Backend, seal.RestoreOptions{
			WithoutIAM: o.withoutIAM, BootstrapKeyFile: s.BootstrapFile(), Progress: func(records int) { line.Bar(records, total) },
			Waiting: waiting(p, line),
		})
		line.End()
		switch {
		case errors.Is(err, seal.ErrUnfinished):
			return fmt.Errorf("%s: %w\n%s", s.Name(), err, removeFirst)
		case errors.Is(err, seal.ErrNotEmpty):
			return fmt.Errorf("%s: %w; restore into empty storage", s.Name(), err)
		case err != nil:
			return fmt.Errorf("%w\n%s has a part of the backup, which no server serves. Run the same command again: it continues.\n%s", err, s.Name(), removeFirst)
		}
		return o.report(p.Stdout, s, b.Manifest, checked)
	})
}

// removeFirst says how to get rid of what is unfinished.
const removeFirst = "With --start-over the same command first removes what an unfinished restore or move left there."

// waiting says, once, that the storage does not answer.
func waiting(p *base.Process, line *base.Progress) func(error) {
	said := false
	return func(err error) {
		if !said {
			line.End()
			fmt.Fprintf(p.Stderr, "secretstore: warning: %s; trying again for some minutes\n", base.OneLine(err.Error()))
		}
		said = true
	}
}

// report says what is in force again, and what is to do next.
func (o *wholeFlags) report(out io.Writer, s *storage.Storage, m seal.BackupManifest, checked bool) error {
	if o.withoutIAM {
		m.Contents.Identities = 0
	}
	say := func(format string, args ...any) {
		fmt.Fprintf(out, format+"\n", args...) // the last line reports errors
	}
	say("%s has %s.", s.Name(), storage.BackupSummary(m))
	if checked {
		say("A server of that store has made the backup.")
	}
	made := m.Made.Format(time.RFC3339)
	switch {
	case o.withoutIAM:
		say("Users, groups, passwords and grants were left out: a server with --iam builtin needs --superuser-password-file for its first start.")
	case m.Contents.Identities > 0:
		say("The accounts, passwords and grants of %s are in force again: what was revoked or changed since then is undone.", made)
	}
	say("The holders of %s unseal it. All tokens of accounts, sessions and task tokens from before are refused from then on.", made)
	switch place := s.BootstrapFile(); {
	case m.BootstrapKey && place != "":
		say("The bootstrap key is in %s.", place)
	case m.BootstrapKey:
		say("The bootstrap key is in the storage.")
	case place != "":
		say("The backup has no bootstrap key. If the store unsealed itself with one, copy its file to %s (mode 0600).", place)
	default:
		say("The backup has no bootstrap key. If the store unsealed itself with one, put it into the record keys/bootstrap_user.key again.")
	}
	_, err := fmt.Fprintln(out, "The store is sealed. Next: start a server, and run: secretstore unseal (or, with a bootstrap key, secretstore auto-unseal)")
	return err
}
