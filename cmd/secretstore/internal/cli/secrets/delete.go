package secrets

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// deleteFlags are the flags of delete.
type deleteFlags struct {
	purge, recursive bool
	confirm          base.Confirm
	missing          base.Incomplete
}

func deleteCommand(p *base.Process) *cobra.Command {
	var flags deleteFlags
	cmd := &cobra.Command{
		Use:   "delete PATH [-r] [--purge] [--yes]",
		Short: "Delete a secret, or all below a path",
		Long: "delete deletes the secret PATH. Secrets below a folder of the same name stay. For 30 days undelete can\n" +
			"restore it. With --purge the secret and all its versions are removed for good, even if it is already\n" +
			"deleted.\n\n" +
			"With -r, delete lists the secret PATH and all secrets below it, and deletes them. It stops at the first\n" +
			"secret that it cannot delete, and says how far it got. -r --purge removes the listed secrets for good; it\n" +
			"does not find secrets that are already deleted.\n\n" +
			"-r and --purge ask for confirmation on a terminal. Elsewhere they need --yes.",
		Example: "  secretstore delete team/db-password\n" +
			"  secretstore delete team/db-password --purge\n" +
			"  secretstore delete -r team/old-app --yes",
		Args: base.ExactArgs(1, "name the PATH of the secret"),
	}
	cmd.Flags().BoolVar(&flags.purge, "purge", false, "remove all versions for good; undelete cannot restore them")
	cmd.Flags().BoolVarP(&flags.recursive, "recursive", "r", false, "delete the secret and all secrets below it")
	flags.confirm.Register(cmd)
	flags.missing.Register(cmd)
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		secret, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		if flags.recursive {
			return flags.all(ctx, p, c, cmd, secret)
		}
		if flags.purge {
			if err := flags.confirm.Ask(ctx, p, fmt.Sprintf("Remove %s and all its versions for good?", secret)); err != nil {
				return err
			}
		}
		done, err := flags.one(ctx, c, secret)
		if err != nil {
			return err
		}
		return done.Print(p, cmd)
	})
}

// one deletes or purges a secret.
func (d *deleteFlags) one(ctx context.Context, c *client.Client, secret string) (base.Result, error) {
	if d.purge {
		return base.Result{Action: "purged", Path: secret}, c.Purge(ctx, secret)
	}
	return base.Result{Action: "deleted", Path: secret}, c.Delete(ctx, secret)
}

// all deletes or purges a secret and all secrets below it.
func (d *deleteFlags) all(ctx context.Context, p *base.Process, c *client.Client, cmd *cobra.Command, folder string) error {
	paths, err := d.find(ctx, p, c, folder)
	if err != nil {
		return err
	}
	for _, secret := range paths {
		fmt.Fprintln(p.Stderr, secret)
	}
	question := fmt.Sprintf("Delete %d secret(s)?", len(paths))
	if d.purge {
		question = fmt.Sprintf("Remove %d secret(s) and all their versions for good?", len(paths))
	}
	if err := d.confirm.Ask(ctx, p, question); err != nil {
		return err
	}
	done := []base.Result{}
	var failed error
	for _, secret := range paths {
		one, err := d.one(ctx, c, secret)
		if errors.Is(err, client.ErrNotFound) {
			continue // somebody else was first
		}
		if err != nil {
			failed = fmt.Errorf("%s: %w", secret, err)
			break
		}
		done = append(done, one)
	}
	if base.WantJSON(cmd) {
		return errors.Join(failed, base.PrintJSON(p.Stdout, done))
	}
	verb := "deleted"
	if d.purge {
		verb = "purged"
	}
	fmt.Fprintf(p.Stderr, "%s %d of %d secret(s)\n", verb, len(done), len(paths))
	return failed
}

// find returns the paths of a secret, if it exists, and of all secrets below it.
func (d *deleteFlags) find(ctx context.Context, p *base.Process, c *client.Client, folder string) (paths []string, err error) {
	scope, err := base.Folder("", folder)
	if err != nil {
		return nil, err
	}
	names, incomplete, err := base.ListNames(ctx, c, scope)
	if err == nil {
		err = d.missing.Check(p, incomplete)
	}
	if err != nil {
		return nil, err
	}
	versions, err := c.Versions(ctx, folder)
	switch {
	case err == nil && versions.Deleted == nil:
		paths = append(paths, folder)
	case err != nil && !errors.Is(err, client.ErrNotFound):
		return nil, err
	case len(names) == 0:
		return nil, fmt.Errorf("no secret at or below %s: %w", folder, client.ErrNotFound)
	}
	for _, name := range names {
		paths = append(paths, path.Join(folder, name))
	}
	return paths, nil
}
