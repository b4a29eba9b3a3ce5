// Package backups holds the commands that make, check and restore backups of the
// whole store.
package backups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/internal/atomicfile"
	"secretstore/seal"
)

// Commands returns the commands of this package.
func Commands(p *base.Process) []*cobra.Command {
	return []*cobra.Command{backupCommand(p), restoreCommand(p), moveCommand(p)}
}

// backupTimeout is enough for millions of secrets.
const backupTimeout = "1h0m0s"

// backupFlags are the flags of backup.
type backupFlags struct {
	out          string
	keep         int
	bootstrapKey bool
	pause        bool
}

func backupCommand(p *base.Process) *cobra.Command {
	var flags backupFlags
	cmd := &cobra.Command{
		Use:   "backup -o FILE|DIR|- [--keep N] [--pause] [--with-bootstrap-key]",
		Short: "Back up the store while it is in use",
		Long: "backup has the server write everything that it keeps, as it is at one moment: secrets with their versions,\n" +
			"deleted secrets, and the records of the keys. All of it is ciphertext: a backup is as safe as a copy of the\n" +
			"storage, and opens with the shares of the unseal key that are in force when it is made.\n\n" +
			"The file of -o FILE exists only once it is complete and checked. In a folder, -o DIR makes a file with the time\n" +
			"in its name, and removes the remains of backups that were killed more than a day ago; --keep N then keeps the new\n" +
			"backup and the newest N-1 others of the same store, by name, and removes the rest. -o - writes to standard\n" +
			"output; the exit status is 0 only if all of it was written and its hash is right. The server makes one backup at\n" +
			"a time, and ends one whose client reads less than 32 KiB/s on average.\n\n" +
			"On ZooKeeper the server reads again what has changed meanwhile, up to eight times; if that does not end, because\n" +
			"too much is written, the backup fails with \"too many writes\". With --pause all servers then hold back writes\n" +
			"once, for at most 500 ms: this delays writes, but makes none fail. Servers of earlier releases do not hold back\n" +
			"writes, so theirs may still be too many. On bbolt, --pause does nothing: there a backup fails in this way only\n" +
			"if its client reads much more slowly than others write.\n\n" +
			"It needs read on dcos:secrets:backup:default, a name that no wildcard covers. --with-bootstrap-key also\n" +
			"writes the private key with which a server unseals itself: anyone who has such a backup can read all secrets.\n" +
			"Only superusers can ask for it.\n\n" +
			"Not in a backup: a rekey that is not finished, and how often task tokens were used.",
		Example: "  secretstore backup -o store.backup\n" +
			"  secretstore backup -o /var/backups/secretstore --keep 14\n" +
			"  secretstore backup -o store.backup --pause\n" +
			"  secretstore backup -o - | ssh elsewhere 'cat > store.backup'\n" +
			"  secretstore backup verify store.backup",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.StringVarP(&flags.out, "output", "o", "", "write to a file, to a new one in a folder, or (-) to standard output")
	f.IntVar(&flags.keep, "keep", 0, "in a folder, keep the new backup and the newest others of the same store, `N` in all (0: all)")
	f.BoolVar(&flags.pause, "pause", false, "if too much is written, hold back writes on all servers for at most 500 ms")
	f.BoolVar(&flags.bootstrapKey, "with-bootstrap-key", false, "include the private key that unseals the store")
	cmd = base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		return flags.run(ctx, p, c, cmd)
	})
	timeout := cmd.Flags().Lookup("timeout")
	timeout.DefValue, timeout.Usage = backupTimeout, "give up if the backup takes longer than `DURATION`"
	if err := errors.Join(timeout.Value.Set(backupTimeout), cmd.MarkFlagRequired("output")); err != nil {
		panic(err) // unreachable: the flags are defined above
	}
	cmd.AddCommand(verifyCommand(p), showCommand(p), drillCommand(p))
	return cmd
}

func (o *backupFlags) run(ctx context.Context, p *base.Process, c *client.Client, cmd *cobra.Command) error {
	if o.keep < 0 {
		return base.Usagef("--keep must not be negative")
	}
	info, err := os.Stat(o.out)
	isDir := err == nil && info.IsDir()
	switch {
	case o.keep > 0 && !isDir:
		return base.Usagef("--keep needs a folder: -o DIR")
	case o.out == "-" && base.WantJSON(cmd):
		return base.Usagef("--json and -o - both write to standard output")
	case o.out == "-":
		return o.toStream(ctx, c, p.Stdout)
	case strings.HasSuffix(o.out, "/") && !isDir:
		return base.Usagef("%s is not a folder; make it first", o.out)
	}
	file := o.out
	var left error
	if isDir {
		file = strings.TrimSuffix(o.out, "/") + "/" + storage.BackupName(time.Now())
		left = storage.RemoveInterrupted(o.out) // first, to have room
	}
	m, err := o.toFile(ctx, c, file)
	if err != nil {
		return err
	}
	if o.bootstrapKey && !m.BootstrapKey {
		fmt.Fprintln(p.Stderr, "secretstore: warning: the backup has no bootstrap key: the server has none that opens the store")
	}
	if o.keep > 0 {
		left = errors.Join(left, storage.RemoveOldBackups(o.out, filepath.Base(file), m.Store, o.keep))
	}
	if left != nil {
		return fmt.Errorf("the backup is in %s, but older or interrupted ones could not be removed: %w", file, left)
	}
	return storage.ReportBackup(cmd, p, file, m)
}

// request returns what is asked of the server.
func (o *backupFlags) request() client.BackupOptions {
	return client.BackupOptions{BootstrapKey: o.bootstrapKey, Pause: o.pause}
}

// toStream writes a backup, and returns an error unless all of it was written.
func (o *backupFlags) toStream(ctx context.Context, c *client.Client, w io.Writer) error {
	check := seal.NewBackupCheck(w)
	err := c.Backup(ctx, check, o.request())
	if err == nil {
		err = check.Done()
	}
	if err != nil {
		return fmt.Errorf("what was written is not a complete backup: %w", err)
	}
	return nil
}

// toFile makes a file of mode 0600 that is complete and was read again, or none.
func (o *backupFlags) toFile(ctx context.Context, c *client.Client, name string) (seal.BackupManifest, error) {
	f, err := atomicfile.Create(name)
	if err != nil {
		return seal.BackupManifest{}, base.UsageIfRefused(err)
	}
	defer f.Discard() // does nothing after Commit
	size := counter{w: f}
	if err := c.Backup(ctx, &size, o.request()); err != nil {
		return seal.BackupManifest{}, err
	}
	b, err := seal.OpenBackup(f.Content(), size.n)
	if err != nil {
		return seal.BackupManifest{}, fmt.Errorf("the server sent %w", err)
	}
	return b.Manifest, f.Commit(0o600)
}

// counter counts the bytes that are written to w.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
