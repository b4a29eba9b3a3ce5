package secrets

import (
	"context"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

func listCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [PATH]",
		Short: "List the secrets below a path",
		Long: "list prints the names of all secrets below PATH, at any depth, relative to PATH. Without PATH it lists\nall secrets. " +
			"If damaged records of the storage are skipped, list says so on standard error.",
		Example: "  secretstore list\n" +
			"  secretstore list team --json",
		Args: base.MaxArgs(1),
	}
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		var folder acl.Path
		if len(args) > 0 {
			var err error
			if folder, err = acl.ParseFolder(url.PathEscape(args[0])); err != nil {
				return base.Usagef("%s", base.BadPath)
			}
		}
		names, incomplete, err := base.ListNames(ctx, c, folder)
		if err != nil {
			return err
		}
		base.WarnIncomplete(p, incomplete)
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, names)
		}
		for _, name := range names {
			if _, err := fmt.Fprintln(p.Stdout, name); err != nil {
				return fmt.Errorf("write the list: %w", err)
			}
		}
		return nil
	})
}
