package fleet

import (
	"context"
	"fmt"
	"io"
	"slices"
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

// Stranger is a server that the operator did not name.
type Stranger struct {
	wire.Node
	// SameAddress says that name and addresses are those of a server that the
	// operator named. After a restart it is the earlier run of that server, until its
	// session ends; but anybody who writes to the storage can make it look like one.
	SameAddress bool `json:"same_address,omitzero"`
}

// Strangers returns the servers that the storage lists and the operator did not name:
// one that was forgotten would stay sealed. They are shown, but never contacted. Only
// superusers get the list.
func (f *Fleet) Strangers(ctx context.Context) []Stranger {
	f.Each(ctx, func(ctx context.Context, m *Member) {
		if m.Err == nil && m.Backend.Driver == sharedStorage {
			m.nodes, _ = m.Client.Nodes(ctx)
		}
	})
	return f.notNamed()
}

// notNamed merges the lists of the servers, without the servers themselves.
func (f *Fleet) notNamed() []Stranger {
	done := map[string]bool{}
	var named []wire.Node
	for _, m := range f.Members {
		for _, n := range m.nodes.Array {
			if n.Self {
				done[n.ID], named = true, append(named, n)
			}
		}
	}
	var all []Stranger
	for _, m := range f.Members {
		for _, n := range m.nodes.Array {
			if !done[n.ID] {
				done[n.ID] = true
				same := slices.ContainsFunc(named, func(now wire.Node) bool {
					return n.Name == now.Name && len(n.Listen) > 0 && slices.Equal(n.Listen, now.Listen)
				})
				all = append(all, Stranger{n, same})
			}
		}
	}
	return all
}

// PrintStrangers prints the servers that the operator did not name.
func PrintStrangers(out io.Writer, all []Stranger) error {
	if len(all) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nOther servers that the storage lists (unverified and not contacted; anybody who writes to the storage can add some):")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tLISTENS ON\tSTATE\tSINCE\tVERSION")
	var earlier []string
	for _, n := range all {
		if n.SameAddress {
			earlier = append(earlier, base.OneLine(n.Name+" "+strings.Join(n.Listen, " ")))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", base.OneLine(n.Name), base.OneLine(strings.Join(n.Listen, " ")), base.OneLine(n.State),
			n.Since.Format(time.RFC3339), base.OneLine(n.Version))
	}
	if err := w.Flush(); err != nil || len(earlier) == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "These have the name and the address of a server above. If it was restarted, they are earlier runs of it,\n"+
		"and disappear within its session timeout: %s\n", strings.Join(earlier, ", "))
	return err
}
