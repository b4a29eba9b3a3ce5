package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"secretstore/api/wire"
)

// sharedStorage is the driver of storages where servers announce themselves. To
// ask elsewhere would leave a denial in the audit log of whoever is no superuser,
// for nothing.
const sharedStorage = "zookeeper"

// strangers returns the servers that the storage tells of and that the operator
// did not name: one may have been forgotten, and would stay sealed. They are
// shown and never talked to. Who is no superuser, or asks an older server, is
// told of none.
func (f *fleet) strangers(ctx context.Context) []wire.Node {
	f.each(ctx, func(ctx context.Context, m *member) {
		if m.err == nil && m.backend.Driver == sharedStorage {
			m.tells, _ = m.c.Nodes(ctx)
		}
	})
	return f.notNamed()
}

// notNamed puts together what the servers tell, without themselves.
func (f *fleet) notNamed() []wire.Node {
	done := map[string]bool{}
	for _, m := range f.members {
		for _, n := range m.tells.Array {
			done[n.ID] = done[n.ID] || n.Self
		}
	}
	var all []wire.Node
	for _, m := range f.members {
		for _, n := range m.tells.Array {
			if !done[n.ID] {
				done[n.ID] = true
				all = append(all, n)
			}
		}
	}
	return all
}

// printStrangers writes the table of the servers that nobody named.
func printStrangers(out io.Writer, all []wire.Node) error {
	if len(all) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nOther servers, as told by the storage (not checked, not talked to; whoever can write there can name any):")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tLISTENS ON\tSTATE\tSINCE\tVERSION")
	for _, n := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", oneLine(n.Name), oneLine(strings.Join(n.Listen, " ")), oneLine(n.State),
			n.Since.Format(time.RFC3339), oneLine(n.Version))
	}
	return w.Flush()
}
