package secrets

import (
	"context"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

func deleteCommand(p *base.Process) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "delete PATH [--purge]",
		Short: "Delete a secret",
		Long: "delete deletes the secret PATH. Secrets below a folder of the same name stay. For 30 days undelete can\n" +
			"restore it. With --purge the secret and all its versions are removed for good, even if it is already\n" +
			"deleted.",
		Example: "  secretstore delete team/db-password\n" +
			"  secretstore delete team/db-password --purge",
		Args: base.ExactArgs(1, "name the PATH of the secret"),
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove all versions for good; undelete cannot restore them")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		if purge {
			if err := c.Purge(ctx, path); err != nil {
				return err
			}
			return result{Action: "purged", Path: path}.print(p, cmd)
		}
		if err := c.Delete(ctx, path); err != nil {
			return err
		}
		return result{Action: "deleted", Path: path}.print(p, cmd)
	})
}
