package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/seal"
)

func historyCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history PATH",
		Short: "Show a secret's versions",
		Long: "history lists the versions of the secret PATH that the server keeps, newest first. It does not show\n" +
			"their values. For a deleted secret it says until when undelete can restore it.",
		Example: "  secretstore history team/db-password\n" +
			"  secretstore get team/db-password --version 3",
		Args: base.ExactArgs(1, "name the PATH of the secret"),
	}
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		versions, err := versionsOf(ctx, c, path)
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, versions)
		}
		return printVersions(p.Stdout, path, versions)
	})
}

// versionsOf returns the history of a secret, with at least one version.
func versionsOf(ctx context.Context, c *client.Client, path string) (wire.Versions, error) {
	versions, err := c.Versions(ctx, path)
	if err == nil && len(versions.Versions) == 0 {
		err = errors.New("the server returned an empty history; is it a Secret Store?")
	}
	return versions, err
}

func printVersions(out io.Writer, path string, versions wire.Versions) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tWRITTEN\tKIND\tBYTES\t")
	for _, v := range versions.Versions {
		note := ""
		if v.Current {
			note = "current"
		}
		written := "unknown"
		if v.Written != nil {
			written = v.Written.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\n", v.Version, written, base.OneLine(v.Kind), v.Bytes, note)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	if d := versions.Deleted; d != nil {
		fmt.Fprintf(out, "Deleted at %s. Until %s you can restore it with:\n  secretstore undelete %s\n",
			d.Format(time.RFC3339), d.Add(seal.UndeleteFor).Format(time.RFC3339), path)
	}
	return nil
}

func rollbackCommand(p *base.Process) *cobra.Command {
	var to uint64
	cmd := &cobra.Command{
		Use:   "rollback PATH --to N",
		Short: "Restore an earlier version of a secret",
		Long: "rollback writes the value of version N again, as a new version. Description and labels do not change.\n" +
			"If somebody else changes the secret at the same time, rollback writes nothing and fails.",
		Example: "  secretstore history team/db-password\n" +
			"  secretstore rollback team/db-password --to 3",
		Args: base.ExactArgs(1, "name the PATH of the secret"),
	}
	cmd.Flags().Uint64Var(&to, "to", 0, "the version `N` to restore")
	base.Required(cmd, "to")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		if to == 0 {
			return base.Usagef("versions start at 1; see: secretstore history %s", path)
		}
		w, err := rollback(ctx, c, path, to)
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, rolledBack{base.Result{Action: "replaced", Path: path, Version: w.Version}, to})
		}
		fmt.Fprintf(p.Stderr, "rolled %s back to version %d%s\n", path, to, asVersion(w.Version))
		return nil
	})
}

// rolledBack is what rollback --json prints.
type rolledBack struct {
	base.Result
	From uint64 `json:"from_version"`
}

func asVersion(version uint64) string {
	if version == 0 {
		return ""
	}
	return fmt.Sprintf(", as version %d", version)
}

func rollback(ctx context.Context, c *client.Client, path string, to uint64) (client.Written, error) {
	versions, err := versionsOf(ctx, c, path)
	if err != nil {
		return client.Written{}, err
	}
	current := versions.Versions[0]
	switch {
	case versions.Deleted != nil:
		return client.Written{}, fmt.Errorf("the secret is deleted; restore it with: secretstore undelete %s", path)
	case current.Version == to:
		return client.Written{}, fmt.Errorf("version %d is already the current one", to)
	}
	old, err := c.Get(ctx, path, client.GetOptions{Version: to})
	if errors.Is(err, client.ErrNotFound) {
		err = explainMissing(ctx, c, path, err)
	}
	if err != nil {
		return client.Written{}, err
	}
	return c.IfMatch(current.ETag).Update(ctx, path, client.Value{Data: old.Value, Binary: old.Binary})
}

func undeleteCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undelete PATH",
		Short: "Restore a deleted secret",
		Long: "undelete restores the secret PATH with all its versions, up to 30 days after it was deleted. It fails if\n" +
			"another secret has that name by now, or after delete --purge.",
		Example: "  secretstore undelete team/db-password",
		Args:    base.ExactArgs(1, "name the PATH of the secret"),
	}
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		w, err := c.Undelete(ctx, path)
		if errors.Is(err, client.ErrExists) {
			return errors.New("a secret of that name exists: it was not deleted, or somebody has created it again")
		}
		if errors.Is(err, client.ErrNotFound) {
			err = &base.Hinted{Err: err, Hint: "See what can be restored with: secretstore list --deleted"}
		}
		if err != nil {
			return err
		}
		return base.Result{Action: "restored", Path: path, Version: w.Version}.Print(p, cmd)
	})
}
