package secrets

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

func copyCommand(p *base.Process) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "cp SOURCE TARGET [--force]",
		Short: "Copy a secret",
		Long: "cp copies the current value of a secret, text or binary, with its description and labels. It does not copy\n" +
			"earlier versions. It refuses a TARGET that exists, unless you add --force, which replaces its value.",
		Example: "  secretstore cp team/db-password other/db-password\n" +
			"  secretstore cp team/tls-key team/tls-key-old --force",
		Args: base.ExactArgs(2, "name the SOURCE and the TARGET"),
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the value of a TARGET that exists")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		from, to, err := sourceAndTarget(args)
		if err != nil {
			return err
		}
		done, _, err := copySecret(ctx, c, from, to, force)
		if err != nil {
			return err
		}
		return done.Print(p, cmd)
	})
}

func moveCommand(p *base.Process) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "mv SOURCE TARGET [--force]",
		Short: "Move a secret",
		Long: "mv copies a secret as cp does, and then deletes SOURCE if it still has the value that was copied. These are\n" +
			"two steps: if the second fails, both secrets exist, and mv says so. Earlier versions stay with SOURCE, which\n" +
			"undelete restores for 30 days.",
		Example: "  secretstore mv team/db-password team/postgres/password",
		Args:    base.ExactArgs(2, "name the SOURCE and the TARGET"),
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the value of a TARGET that exists")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		from, to, err := sourceAndTarget(args)
		if err != nil {
			return err
		}
		done, etag, err := copySecret(ctx, c, from, to, force)
		if err != nil {
			return err
		}
		if err := c.IfMatch(etag).Delete(ctx, from); err != nil {
			return notDeleted(from, to, err)
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, []base.Result{done, {Action: "deleted", Path: from}})
		}
		fmt.Fprintf(p.Stderr, "moved %s to %s%s\n", from, to, base.VersionSuffix(done.Version))
		return nil
	})
}

// notDeleted says how far a move came. The hint for ErrChanged would be wrong here.
func notDeleted(from, to string, err error) error {
	if errors.Is(err, client.ErrChanged) {
		return fmt.Errorf("%s was copied to %s, but changed meanwhile and was not deleted: both exist now", from, to)
	}
	return fmt.Errorf("%s was copied to %s, but could not be deleted; both may exist now: %w", from, to, err)
}

func sourceAndTarget(args []string) (from, to string, err error) {
	if from, err = base.SecretPath(args[0]); err != nil {
		return "", "", err
	}
	if to, err = base.SecretPath(args[1]); err != nil {
		return "", "", err
	}
	if from == to {
		return "", "", base.Usagef("SOURCE and TARGET are the same")
	}
	return from, to, nil
}

// copySecret copies the current value of a secret, whose ETag it returns.
func copySecret(ctx context.Context, c *client.Client, from, to string, force bool) (done base.Result, etag string, err error) {
	s, err := c.GetWhole(ctx, from)
	if errors.Is(err, client.ErrNotFound) {
		err = explainMissing(ctx, c, from, err)
	}
	if err != nil {
		return base.Result{}, "", err
	}
	write := create
	if force {
		write = put
	}
	labels := append([]string{}, s.Labels...)
	done, err = write(ctx, c, to, client.Value{Data: s.Value, Binary: s.Binary, Description: &s.Description, Labels: &labels})
	if errors.Is(err, client.ErrExists) {
		err = fmt.Errorf("%s already exists; replace its value with --force", to) // the hint of ErrExists is for put
	}
	return done, s.ETag, err
}
