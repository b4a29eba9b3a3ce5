package secrets

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// writer writes a value and says what it did.
type writer func(ctx context.Context, c *client.Client, path string, v client.Value) (base.Result, error)

func create(ctx context.Context, c *client.Client, path string, v client.Value) (base.Result, error) {
	w, err := c.Create(ctx, path, v)
	return base.Result{Action: "created", Path: path, Version: w.Version}, err
}

func update(ctx context.Context, c *client.Client, path string, v client.Value) (base.Result, error) {
	w, err := c.Update(ctx, path, v)
	return base.Result{Action: "replaced", Path: path, Version: w.Version}, err
}

// put creates a secret, or updates it if it exists. Somebody else may create or
// delete it in between, so put tries to create it once more. A caller who may not
// create a secret may still have the permission to update it.
func put(ctx context.Context, c *client.Client, path string, v client.Value) (base.Result, error) {
	first, created := create(ctx, c, path, v)
	denied := errors.Is(created, client.ErrDenied)
	if !denied && !errors.Is(created, client.ErrExists) {
		return first, created
	}
	second, updated := update(ctx, c, path, v)
	switch {
	case !errors.Is(updated, client.ErrNotFound):
		return second, updated
	case denied:
		return first, created
	}
	return create(ctx, c, path, v)
}

// updateVersion replaces the value of a secret that is at the given version.
func updateVersion(ctx context.Context, c *client.Client, path string, v client.Value, version uint64) (base.Result, error) {
	versions, err := versionsOf(ctx, c, path)
	if err != nil {
		return base.Result{}, err
	}
	current := versions.Versions[0]
	switch {
	case versions.Deleted != nil:
		return base.Result{}, fmt.Errorf("the secret is deleted; nothing was written; restore it with: secretstore undelete %s", path)
	case current.Version != version:
		return base.Result{}, fmt.Errorf("the secret is at version %d, not %d; nothing was written", current.Version, version)
	}
	w, err := c.IfMatch(current.ETag).Update(ctx, path, v)
	return base.Result{Action: "replaced", Path: path, Version: w.Version}, err
}

func writeCommand(p *base.Process, name, short, example string, write writer) *cobra.Command {
	var from valueFlags
	var about aboutFlags
	var version uint64
	cmd := &cobra.Command{
		Use:   name + " PATH [-v VALUE | -t FILE | -f FILE]",
		Short: short,
		Long: short + ".\n\n" +
			"Without -v, -t or -f, the value comes from standard input. On a terminal you type it twice, without echo.\n" +
			"From a pipe or file, every byte counts: echo adds a newline, printf %s does not. The value is stored\n" +
			"as text if it is valid UTF-8, otherwise as binary. -t refuses a file that is not text; -f stores any\n" +
			"file as binary.\n\n" +
			"An update without --description or --label keeps what the secret has.",
		Example: example,
		Args:    base.ExactArgs(1, "name the PATH of the secret"),
	}
	from.register(cmd)
	about.register(cmd)
	switch name {
	case "put":
		cmd.Flags().Uint64Var(&version, "if-version", 0, "write only if the secret is at version `N` (0: if it does not exist)")
	case "update":
		cmd.Flags().Uint64Var(&version, "if-version", 0, "write only if the secret is at version `N`")
	}
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		conditional := cmd.Flags().Changed("if-version")
		if conditional && version == 0 && name == "update" {
			return base.Usagef("versions start at 1; for a secret that must not exist yet, see: secretstore create --help")
		}
		v, err := from.read(ctx, cmd, p)
		if err != nil {
			return err
		}
		about.add(cmd, &v)
		var done base.Result
		switch {
		case conditional && version == 0:
			if done, err = create(ctx, c, path, v); errors.Is(err, client.ErrExists) {
				err = fmt.Errorf("%s already exists; nothing was written", path) // the hint would be wrong
			}
		case conditional:
			done, err = updateVersion(ctx, c, path, v, version)
		default:
			done, err = write(ctx, c, path, v)
		}
		if err != nil {
			return err
		}
		return done.Print(p, cmd)
	})
}

// aboutFlags describe a secret.
type aboutFlags struct {
	description string
	labels      []string
}

func (a *aboutFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.description, "description", "", "`TEXT` that says what the secret is for ('' removes it)")
	cmd.Flags().StringArrayVar(&a.labels, "label", nil, "`LABEL` of the secret, replacing those it has (repeatable; '' removes all)")
}

// add puts what was given into v.
func (a *aboutFlags) add(cmd *cobra.Command, v *client.Value) {
	if cmd.Flags().Changed("description") {
		v.Description = &a.description
	}
	if cmd.Flags().Changed("label") {
		if len(a.labels) == 1 && a.labels[0] == "" {
			a.labels = []string{}
		}
		v.Labels = &a.labels
	}
}
