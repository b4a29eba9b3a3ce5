package secrets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/seal"
)

func listCommand(p *base.Process) *cobra.Command {
	var long, deleted bool
	cmd := &cobra.Command{
		Use:   "list [PATH] [-l] [--deleted]",
		Short: "List the secrets below a path",
		Long: "list prints the names of all secrets below PATH, at any depth, relative to PATH. Without PATH it lists\nall secrets. " +
			"If damaged records of the storage are skipped, list says so on standard error.\n\n" +
			"With -l it also asks the server about each secret, and prints version, time of the last write, kind and\n" +
			"size. Secrets that you may not read show dashes.\n\n" +
			"With --deleted it lists the deleted secrets that undelete can restore, and with -l also when they were\n" +
			"deleted and until when they can be restored.",
		Example: "  secretstore list\n" +
			"  secretstore list team -l\n" +
			"  secretstore list team --deleted\n" +
			"  secretstore list team --json",
		Args: base.MaxArgs(1),
	}
	cmd.Flags().BoolVarP(&long, "long", "l", false, "also print version, time, kind and size")
	cmd.Flags().BoolVar(&deleted, "deleted", false, "list the deleted secrets that undelete can restore")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		read := base.ListNames
		if deleted {
			read = base.ListDeletedNames
		}
		folder, names, err := listed(ctx, p, c, args, read)
		if err != nil {
			return err
		}
		if long {
			all, err := describe(ctx, c, folder, names, deleted)
			if err != nil {
				return err
			}
			if base.WantJSON(cmd) {
				return base.PrintJSON(p.Stdout, all)
			}
			return printDescriptions(p.Stdout, all, deleted)
		}
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

// reader is base.ListNames or base.ListDeletedNames.
type reader func(ctx context.Context, c *client.Client, folder acl.Path) (names []string, incomplete bool, err error)

// listed returns the names below the folder in args, or below the root. It warns if
// secrets may be missing.
func listed(ctx context.Context, p *base.Process, c *client.Client, args []string, read reader) (folder acl.Path, names []string, err error) {
	if len(args) > 0 {
		if folder, err = base.Folder("", args[0]); err != nil {
			return folder, nil, err
		}
	}
	names, incomplete, err := read(ctx, c, folder)
	if err != nil {
		return folder, nil, err
	}
	base.WarnIncomplete(p, incomplete)
	if _, ok := base.Terminal(p.Stderr); ok && len(names) == 0 {
		fmt.Fprintln(p.Stderr, "secretstore: note: there is nothing to list")
	}
	return folder, names, nil
}

// description is what list -l says about a secret. All but the name is absent for a
// secret that the caller may not read.
type description struct {
	Name    string     `json:"name"`
	Version uint64     `json:"version,omitempty"`
	Written *time.Time `json:"written,omitempty"`
	Kind    string     `json:"kind,omitempty"`
	Bytes   *uint64    `json:"bytes,omitempty"`
	// Deleted is when a deleted secret was deleted, and Until when it can be restored
	// no longer.
	Deleted *time.Time `json:"deleted,omitempty"`
	Until   *time.Time `json:"undelete_until,omitempty"`
}

// atOnce is how many requests are under way at a time.
const atOnce = 8

// describe returns the descriptions of the secrets below a folder, all of them deleted
// or not, without those that were deleted or restored meanwhile.
func describe(ctx context.Context, c *client.Client, folder acl.Path, names []string, deleted bool) ([]description, error) {
	found := make([]*description, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, name := range names {
		g.Go(func() error {
			versions, err := versionsOf(ctx, c, path.Join(folder.String(), name))
			switch {
			case errors.Is(err, client.ErrDenied):
				found[i] = &description{Name: name}
			case errors.Is(err, client.ErrNotFound), err == nil && (versions.Deleted != nil) != deleted:
			case err != nil:
				return err
			default:
				v := versions.Versions[0]
				found[i] = &description{Name: name, Version: v.Version, Written: v.Written, Kind: base.OneLine(v.Kind), Bytes: &v.Bytes}
				if deleted {
					found[i].Deleted, found[i].Until = versions.Deleted, new(versions.Deleted.Add(seal.UndeleteFor))
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := []description{}
	for _, d := range found {
		if d != nil {
			all = append(all, *d)
		}
	}
	return all, nil
}

func printDescriptions(out io.Writer, all []description, deleted bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if deleted {
		fmt.Fprintln(w, "VERSION\tDELETED\tUNDELETE UNTIL\tKIND\tBYTES\tNAME")
	} else {
		fmt.Fprintln(w, "VERSION\tWRITTEN\tKIND\tBYTES\tNAME")
	}
	for _, d := range all {
		version, bytes := "-", "-"
		if d.Version != 0 {
			version = fmt.Sprint(d.Version)
		}
		times := timeOrDash(d.Written)
		if deleted {
			times = timeOrDash(d.Deleted) + "\t" + timeOrDash(d.Until)
		}
		if d.Bytes != nil {
			bytes = fmt.Sprint(*d.Bytes)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", version, times, cmp.Or(d.Kind, "-"), bytes, d.Name)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}

func timeOrDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

func treeCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tree [PATH]",
		Short: "Show the secrets below a path as a tree",
		Long: "tree shows the secrets that list lists, as a tree of folders. A folder ends with /. A secret may have the name of a\n" +
			"folder; then both are shown. --json prints the same as list --json.",
		Example: "  secretstore tree\n" +
			"  secretstore tree team",
		Args: base.MaxArgs(1),
	}
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		folder, names, err := listed(ctx, p, c, args, base.ListNames)
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, names)
		}
		var text strings.Builder
		text.WriteString(strings.TrimPrefix(folder.String()+"/", "/"))
		if folder.IsRoot() {
			text.WriteString("/")
		}
		text.WriteString("\n")
		drawTree(&text, "", names)
		if _, err := io.WriteString(p.Stdout, text.String()); err != nil {
			return fmt.Errorf("write the tree: %w", err)
		}
		return nil
	})
}

// drawTree draws sorted names below a line; indent precedes each of its lines.
func drawTree(w *strings.Builder, indent string, names []string) {
	// Folders are named once; a name sorts before those in the folder of that name,
	// but others, such as a-b, may lie between a and a/b.
	var order []string
	below := map[string][]string{}
	for _, name := range names {
		first, rest, isFolder := strings.Cut(name, "/")
		if !isFolder {
			order = append(order, first)
			continue
		}
		first += "/"
		if below[first] == nil {
			order = append(order, first)
		}
		below[first] = append(below[first], rest)
	}
	for i, entry := range order {
		branch, next := "├── ", "│   "
		if i == len(order)-1 {
			branch, next = "└── ", "    "
		}
		w.WriteString(indent + branch + entry + "\n")
		drawTree(w, indent+next, below[entry])
	}
}
