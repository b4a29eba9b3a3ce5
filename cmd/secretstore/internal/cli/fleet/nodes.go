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

// sharedStorage is the driver of storages where servers announce themselves. To
// ask elsewhere would leave a denial in the audit log of whoever is no superuser,
// for nothing.
const sharedStorage = "zookeeper"

// Strangers returns the servers that the storage tells of and that the operator
// did not name: one may have been forgotten, and would stay sealed. They are
// shown and never talked to. Who is no superuser, or asks an older server, is
// told of none.
func (f *Fleet) Strangers(ctx context.Context) []wire.Node {
	f.Each(ctx, func(ctx context.Context, m *Member) {
		if m.Err == nil && m.Backend.Driver == sharedStorage {
			m.tells, _ = m.Client.Nodes(ctx)
		}
	})
	return f.notNamed()
}

// notNamed puts together what the servers tell, without themselves.
func (f *Fleet) notNamed() []wire.Node {
	done := map[string]bool{}
	for _, m := range f.Members {
		for _, n := range m.tells.Array {
			done[n.ID] = done[n.ID] || n.Self
		}
	}
	var all []wire.Node
	for _, m := range f.Members {
		for _, n := range m.tells.Array {
			if !done[n.ID] {
				done[n.ID] = true
				all = append(all, n)
			}
		}
	}
	return all
}

// PrintStrangers writes the table of the servers that nobody named.
func PrintStrangers(out io.Writer, all []wire.Node) error {
	if len(all) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nOther servers, as told by the storage (not checked, not talked to; whoever can write there can name any):")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tLISTENS ON\tSTATE\tSINCE\tVERSION")
	for _, n := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", base.OneLine(n.Name), base.OneLine(strings.Join(n.Listen, " ")), base.OneLine(n.State),
			n.Since.Format(time.RFC3339), base.OneLine(n.Version))
	}
	return w.Flush()
}
