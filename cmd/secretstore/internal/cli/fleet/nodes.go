package fleet

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// sharedStorage is the driver of storages in which servers announce themselves. With
// others, the request would only leave a denial in the audit log of a user who is not
// a superuser.
const sharedStorage = "zookeeper"

// Strangers returns the servers that the storage lists and the operator did not name:
// one that was forgotten would stay sealed. They are shown, but never contacted. Only
// superusers get the list.
func (f *Fleet) Strangers(ctx context.Context) []wire.Node {
	f.Each(ctx, func(ctx context.Context, m *Member) {
		if m.Err == nil && m.Backend.Driver == sharedStorage {
			m.nodes, _ = m.Client.Nodes(ctx)
		}
	})
	return f.notNamed()
}

// notNamed merges the lists of the servers, without the servers themselves.
func (f *Fleet) notNamed() []wire.Node {
	done := map[string]bool{}
	for _, m := range f.Members {
		for _, n := range m.nodes.Array {
			done[n.ID] = done[n.ID] || n.Self
		}
	}
	var all []wire.Node
	for _, m := range f.Members {
		for _, n := range m.nodes.Array {
			if !done[n.ID] {
				done[n.ID] = true
				all = append(all, n)
			}
		}
	}
	return all
}

// PrintStrangers prints the servers that the operator did not name.
func PrintStrangers(out io.Writer, all []wire.Node) error {
	if len(all) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nOther servers that the storage lists (unverified and not contacted; anybody who writes to the storage can add some):")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tLISTENS ON\tSTATE\tSINCE\tVERSION")
	for _, n := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", base.OneLine(n.Name), base.OneLine(strings.Join(n.Listen, " ")), base.OneLine(n.State),
			n.Since.Format(time.RFC3339), base.OneLine(n.Version))
	}
	return w.Flush()
}
