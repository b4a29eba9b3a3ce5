package secrets

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// defaultFound is how many names search prints without -n.
const defaultFound = 100

// foundDoc is what search --json prints.
type foundDoc struct {
	Paths   []string `json:"paths"`
	Matches int      `json:"matches"`
	Total   int      `json:"total"`
}

func searchCommand(p *base.Process) *cobra.Command {
	limit := defaultFound
	cmd := &cobra.Command{
		Use:   "search TEXT [PATH] [-n LIMIT]",
		Short: "Find secrets by a part of their path",
		Long: "search prints the paths of the secrets below PATH, or of all, whose name relative to PATH contains TEXT.\n" +
			"Case does not matter. It searches what list would show you, even if you may list only some\n" +
			"folders. If it does not print all matches, it says on standard error how many there are.",
		Example: "  secretstore search password\n" +
			"  secretstore search DB team -n 10\n" +
			"  secretstore search tls/ --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return base.Usagef("name what to search for, as in: %s", cmd.UseLine())
			}
			return base.MaxArgs(2)(cmd, args)
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", limit, "print at most `LIMIT` paths")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		if limit < 1 {
			return base.Usagef("--limit must be at least 1")
		}
		var folder acl.Path
		if len(args) > 1 {
			var err error
			if folder, err = base.Folder("", args[1]); err != nil {
				return err
			}
		}
		doc, incomplete, err := search(ctx, c, folder, args[0], limit)
		if err != nil {
			return err
		}
		base.WarnIncomplete(p, incomplete)
		if doc.Matches > len(doc.Paths) || terminal(p) {
			fmt.Fprintf(p.Stderr, "secretstore: note: %d of %d matches, in %d names\n", len(doc.Paths), doc.Matches, doc.Total)
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, doc)
		}
		for _, name := range doc.Paths {
			if _, err := fmt.Fprintln(p.Stdout, name); err != nil {
				return fmt.Errorf("write the paths: %w", err)
			}
		}
		return nil
	})
}

// search reads pages until there are limit paths, or all.
func search(ctx context.Context, c *client.Client, folder acl.Path, text string, limit int) (doc foundDoc, incomplete bool, err error) {
	doc.Paths = []string{}
	for after := ""; len(doc.Paths) < limit; {
		page, err := c.Search(ctx, folder.String(), text, after, min(limit-len(doc.Paths), wire.MaxListLimit))
		if errors.Is(err, client.ErrNotFound) {
			return doc, false, errors.New("the server cannot search: it is of an earlier release")
		}
		if err != nil {
			return doc, false, err
		}
		if err := base.CheckNames(page.Array); err != nil {
			return doc, false, err
		}
		for _, name := range page.Array {
			doc.Paths = append(doc.Paths, path.Join(folder.String(), name))
		}
		doc.Matches, doc.Total, incomplete = page.Matches, page.Total, incomplete || page.Incomplete
		if strings.Compare(page.Next, after) <= 0 {
			break // the last page, or a server that would make this loop endless
		}
		after = page.Next
	}
	return doc, incomplete, nil
}

func terminal(p *base.Process) bool {
	_, ok := base.Terminal(p.Stderr)
	return ok
}
