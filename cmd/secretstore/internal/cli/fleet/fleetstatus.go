package fleet

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// serverStatus is one server in JSON.
type serverStatus struct {
	URL      string   `json:"server"`
	State    string   `json:"state"` // see Member.State
	UUID     string   `json:"uuid,omitempty"`
	Progress int      `json:"progress"` // shares entered so far
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty"`
	Storage  string   `json:"storage,omitempty"` // as in wire.ServerReport
	// Report is what the server says about itself to superusers.
	Report *wire.ServerReport `json:"report,omitempty"`
}

// ServersPart is part of the JSON of every command that talks to all servers.
type ServersPart struct {
	Servers []serverStatus `json:"servers"`
}

// Statuses returns the status of all servers for JSON.
func (f *Fleet) Statuses() ServersPart {
	all := make([]serverStatus, 0, len(f.Members))
	for _, m := range f.Members {
		s := serverStatus{URL: m.URL, State: m.State()}
		if m.Err != nil {
			s.Error = m.Err.Error()
		} else {
			if s.Storage = m.Storage(); s.Storage == "-" {
				s.Storage = ""
			}
			s.UUID, s.Progress, s.Warnings, s.Report = m.UUID(), m.Seal.Progress, m.Seal.Warnings, m.Seal.Server
		}
		all = append(all, s)
	}
	return ServersPart{all}
}

// Table prints a line for each server, and below it what is wrong with them: an
// error in a column would make it wider than the terminal.
func (f *Fleet) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tSTATE\tUNSEALS WITH\tSTORE")
	for _, m := range f.Members {
		shares, uuid := "-", "-"
		if m.Err == nil && m.Backend.Initialized && m.Seal.Shares > 0 {
			shares, uuid = fmt.Sprintf("%d of %d shares", m.Seal.Threshold, m.Seal.Shares), m.UUID()
			if m.Seal.Progress > 0 {
				shares += fmt.Sprintf(", %d entered", m.Seal.Progress)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.URL, m.State(), shares, uuid)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, m := range f.Members {
		if m.Err != nil {
			fmt.Fprintf(out, "Error of %s: %s\n", m.URL, base.OneLine(m.Err.Error()))
			continue
		}
		for _, warning := range m.Seal.Warnings {
			fmt.Fprintf(out, "Warning of %s: %s\n", m.URL, base.OneLine(warning))
		}
	}
	return nil
}

// maxCell is how wide a text of a server can make a column.
const maxCell = 24

// HealthTable prints a line for each server. Nothing that a server sends can make it
// wider than a column is.
func (f *Fleet) HealthTable(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tVERSION\tSTATE\tSTORAGE\tSINCE\tSEALED BY")
	for _, m := range f.Members {
		since, by := m.Since()
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", m.URL, cell(m.version()), m.State(), cell(base.OneLine(m.Storage())), since, cell(by))
	}
	return w.Flush()
}

func cell(s string) string {
	if r := []rune(s); len(r) > maxCell {
		return string(r[:maxCell-1]) + "…"
	}
	return s
}

// Finish reads the status of the servers again and ends a command. With --json it
// prints the document that doc returns, otherwise the sentence and the table.
func (f *Fleet) Finish(ctx context.Context, cmd *cobra.Command, sentence string, doc func(ServersPart) any) error {
	f.Look(ctx)
	return f.Show(cmd, sentence, doc)
}

// Show is Finish without reading the status again.
func (f *Fleet) Show(cmd *cobra.Command, sentence string, doc func(ServersPart) any) error {
	if err := f.Trust(); err != nil {
		return err
	}
	if base.WantJSON(cmd) {
		return base.PrintJSON(f.P.Stdout, doc(f.Statuses()))
	}
	if sentence != "" {
		if _, err := fmt.Fprintln(f.P.Stdout, sentence); err != nil {
			return err
		}
	}
	return f.Table(f.P.Stdout)
}

// Damaged is the state of a store that has lost the record of its holders.
const Damaged = "damaged"

// CreatingKey is the state of a new store whose bootstrap key is not finished.
const CreatingKey = "creating the bootstrap key"

func stateWord(b wire.Backend, st wire.SealStatus) string {
	switch {
	case !b.Initialized && st.CreatingBootstrapKey:
		return CreatingKey
	case !b.Initialized:
		return "uninitialized"
	case st.Shares == 0:
		return Damaged
	case b.Sealed:
		return "sealed"
	}
	return "unsealed"
}
