// Package secrets holds the commands about one secret and its versions.
package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// Commands returns the commands about one secret.
func Commands(p *base.Process) []*cobra.Command {
	return []*cobra.Command{
		writeCommand(p, "create", "Create a secret",
			"  secretstore create team/db-password               # asks for the value\n"+
				"  secretstore create team/tls-key -t tls.key\n"+
				"  secretstore create team/keytab -f service.keytab", create),
		writeCommand(p, "update", "Replace the value of a secret",
			"  secretstore update team/db-password               # asks for the value\n"+
				"  pwgen -s 32 1 | tr -d '\\n' | secretstore update team/db-password", update),
		writeCommand(p, "put", "Create a secret or replace its value",
			"  secretstore put team/db-password                  # asks for the value\n"+
				"  secretstore put team/keytab -f service.keytab", put),
		getCommand(p), listCommand(p), historyCommand(p), rollbackCommand(p), deleteCommand(p), undeleteCommand(p),
	}
}

type writer func(ctx context.Context, c *client.Client, path string, v value) error

func create(ctx context.Context, c *client.Client, path string, v value) error {
	if v.binary {
		return c.CreateBinary(ctx, path, v.data)
	}
	return c.CreateText(ctx, path, wire.SecretWrite{Value: string(v.data)})
}

func update(ctx context.Context, c *client.Client, path string, v value) error {
	if v.binary {
		return c.UpdateBinary(ctx, path, v.data)
	}
	return c.UpdateText(ctx, path, wire.SecretWrite{Value: string(v.data)})
}

// put creates a secret, or updates it if it exists. Somebody else may create or
// delete it in between, so put tries to create it once more. A caller who may not
// create a secret may still have the permission to update it.
func put(ctx context.Context, c *client.Client, path string, v value) error {
	created := create(ctx, c, path, v)
	denied := errors.Is(created, client.ErrDenied)
	if !denied && !errors.Is(created, client.ErrExists) {
		return created
	}
	updated := update(ctx, c, path, v)
	switch {
	case !errors.Is(updated, client.ErrNotFound):
		return updated
	case denied:
		return created
	}
	return create(ctx, c, path, v)
}

func writeCommand(p *base.Process, name, short, example string, write writer) *cobra.Command {
	var from valueFlags
	cmd := &cobra.Command{
		Use:   name + " PATH [-v VALUE | -t FILE | -f FILE]",
		Short: short,
		Long: short + ".\n\n" +
			"Without -v, -t or -f, the value comes from standard input. On a terminal you type it twice, without echo.\n" +
			"From a pipe or file, every byte counts: echo adds a newline, printf %s does not. The value is stored\n" +
			"as text if it is valid UTF-8, otherwise as binary. -t refuses a file that is not text; -f stores any\n" +
			"file as binary.",
		Example: example,
		Args:    base.ExactArgs(1, "name the PATH of the secret"),
	}
	from.register(cmd)
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		v, err := from.read(ctx, cmd, p)
		if err != nil {
			return err
		}
		return write(ctx, c, path, v)
	})
}

func getCommand(p *base.Process) *cobra.Command {
	var out, service string
	var version uint64
	cmd := &cobra.Command{
		Use:   "get PATH [--version N] [-o FILE]",
		Short: "Print a secret",
		Long: "get prints the value exactly as it was stored, without adding a newline, or writes it to a file of\n" +
			"mode 0600. With --json it prints a JSON document, in which a binary value is base64.\n\n" +
			"The path of the file must not lead through a symbolic link, a folder of another user, or one that everybody\n" +
			"can write to. A pipe or device is written to if it belongs to root or to you.",
		Example: "  secretstore get team/db-password\n" +
			"  secretstore get team/keytab -o service.keytab\n" +
			"  secretstore get team/db-password --json | jq -r .value",
		Args: base.ExactArgs(1, "name the PATH of the secret"),
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to `FILE` (mode 0600) instead of standard output")
	cmd.Flags().Uint64Var(&version, "version", 0, "print version `N` instead of the current one; see history")
	cmd.Flags().StringVar(&service, "service", "", "read on behalf of the service `ID`, such as /group/app")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		var o client.GetOptions
		if cmd.Flags().Changed("service") {
			o.Service = &service
		}
		if o.Version = version; version == 0 && cmd.Flags().Changed("version") {
			return base.Usagef("versions start at 1; see: secretstore history %s", path)
		}
		s, err := c.Get(ctx, path, o)
		if err != nil {
			return err
		}
		data := s.Value
		if base.WantJSON(cmd) {
			data, err = secretJSON(s)
			if err != nil {
				return err
			}
		}
		if out != "" && out != "-" {
			return base.WriteFile(out, data)
		}
		if _, err := p.Stdout.Write(data); err != nil {
			return fmt.Errorf("write the value: %w", err)
		}
		return nil
	})
}

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
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, _ *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		if purge {
			return c.Purge(ctx, path)
		}
		return c.Delete(ctx, path)
	})
}

// secretDocument is what get --json prints.
type secretDocument struct {
	Value string `json:"value"`
	// Encoding is "base64" for a binary value, else absent.
	Encoding    string   `json:"encoding,omitempty"`
	Description string   `json:"description,omitempty"`
	Labels      []string `json:"labels,omitempty"`
	Author      string   `json:"author,omitempty"`
	Created     string   `json:"created,omitempty"`
}

func secretJSON(s client.Secret) ([]byte, error) {
	doc := secretDocument{Value: string(s.Value), Description: s.Description, Labels: s.Labels, Author: s.Author}
	if s.Binary {
		doc.Value, doc.Encoding = base64.StdEncoding.EncodeToString(s.Value), "base64"
	}
	if !s.Created.IsZero() {
		doc.Created = s.Created.Format(time.RFC3339)
	}
	var b bytes.Buffer
	err := base.PrintJSON(&b, doc)
	return b.Bytes(), err
}
