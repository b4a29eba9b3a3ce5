package backups

import (
	"context"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/cmd/secretstore/internal/config"
)

func restoreCommand(p *base.Process) *cobra.Command {
	var whole wholeFlags
	var part partFlags
	cmd := &cobra.Command{
		Use:   "restore FILE|DIR (--storage URL [--without-iam] [--start-over] | --path PATH [--as PATH] [--version N] | --into-other-store) [--dry-run]",
		Short: "Restore a backup into empty storage, or secrets of it into the running store",
		Long: "restore writes a backup into empty storage of either kind, while no server runs. So it can also move a store\n" +
			"from a bbolt file to ZooKeeper, or back. The store is then sealed, and opens with the shares that were in force\n" +
			"when the backup was made. To continue an interrupted restore, run the same command again. To restore another\n" +
			"backup instead, or with other flags, add --start-over: it removes what an unfinished restore or move left\n" +
			"behind, but never a store.\n\n" +
			storage.BackupFolderHelp + "\n\n" +
			wholeHelp + "\n\n" +
			partHelp + "\n\n" + keyHelp,
		Example: "  secretstore restore store.backup --storage bolt:/var/lib/secretstore/secrets.db\n" +
			"  secretstore restore store.backup --storage zk://zk1:2181,zk2:2181/dcos/secrets --zk-auth-file zk-auth\n" +
			"  secretstore restore /var/backups/secretstore --storage bolt:/var/lib/secretstore/secrets.db\n" +
			"  secretstore restore store.backup --path team/db --gpg\n" +
			"  secretstore restore store.backup --path team --as team-as-of-monday --gpg --dry-run\n" +
			"  secretstore restore store.backup --into-other-store --server https://other:1338 --gpg",
		Args: base.ExactArgs(1, "name the file with the backup, or the folder"),
	}
	flags := config.RegisterStorage(cmd.Flags())
	part.register(p, cmd)
	whole.register(cmd)
	cmd.RunE = storage.Signaled(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		if part.given(cmd) {
			return part.run(ctx, p, cmd, args[0])
		}
		if err := part.unused(cmd); err != nil {
			return err
		}
		return whole.run(ctx, p, cmd, flags, &part.keys, args[0])
	})
	return cmd
}
