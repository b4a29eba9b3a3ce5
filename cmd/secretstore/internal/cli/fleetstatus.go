package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// serverStatus is one server in JSON.
type serverStatus struct {
	URL      string   `json:"server"`
	State    string   `json:"state"` // unsealed, sealed, uninitialized, damaged, refuses, unreachable
	UUID     string   `json:"uuid,omitempty"`
	Progress int      `json:"progress"` // shares that were entered
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty"`
}

// serversPart is in the JSON of every command that talks to all servers.
type serversPart struct {
	Servers []serverStatus `json:"servers"`
}

func (f *fleet) statuses() serversPart {
	all := make([]serverStatus, 0, len(f.members))
	for _, m := range f.members {
		s := serverStatus{URL: m.url, State: m.state()}
		if m.err != nil {
			s.Error = m.err.Error()
		} else {
			s.UUID, s.Progress, s.Warnings = m.uuid(), m.seal.Progress, m.seal.Warnings
		}
		all = append(all, s)
	}
	return serversPart{all}
}

// table writes a line for each server.
func (f *fleet) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tSTATE\tSHARES\tSTORE")
	for _, m := range f.members {
		shares, uuid := "-", "-"
		switch {
		case m.err != nil:
			uuid = oneLine(m.err.Error())
		case m.backend.Initialized && m.seal.Shares > 0:
			shares, uuid = fmt.Sprintf("%d of %d needed", m.seal.Threshold, m.seal.Shares), m.uuid()
			if m.seal.Progress > 0 {
				shares = fmt.Sprintf("%d of %d entered", m.seal.Progress, m.seal.Threshold)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.url, m.state(), shares, uuid)
	}
	for _, m := range f.members {
		for _, warning := range m.seal.Warnings {
			fmt.Fprintf(w, "Warning of %s: %s\n", m.url, oneLine(warning))
		}
	}
	return w.Flush()
}

// finish looks at the servers once more and ends a command: with --json by the
// document that doc makes, else by a sentence and the table.
func (f *fleet) finish(ctx context.Context, cmd *cobra.Command, sentence string, doc func(serversPart) any) error {
	f.look(ctx)
	return f.show(cmd, sentence, doc)
}

func (f *fleet) show(cmd *cobra.Command, sentence string, doc func(serversPart) any) error {
	if err := f.trust(); err != nil {
		return err
	}
	if wantJSON(cmd) {
		return printJSON(f.p.Stdout, doc(f.statuses()))
	}
	if sentence != "" {
		if _, err := fmt.Fprintln(f.p.Stdout, sentence); err != nil {
			return err
		}
	}
	return f.table(f.p.Stdout)
}
