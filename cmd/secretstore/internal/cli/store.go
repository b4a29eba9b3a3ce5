package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"secretstore/api/wire"
)

// storeCommands are those about the keys of the store.
func storeCommands(p *Process) []*cobra.Command {
	return []*cobra.Command{statusCommand(p), initCommand(p), unsealCommand(p), autoUnsealCommand(p), sealCommand(p),
		rekeyCommand(p), rotateCommand(p), reinitCommand(p), keysCommand(p), recoverCommand(p)}
}

func statusCommand(p *Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether the store is initialised and unsealed, and what is wrong with it",
		Long: "status shows what each server of the store says about itself. To superusers it also shows the servers that you did not\n" +
			"name and that have announced themselves in a shared storage. Nobody has checked those, and they are never talked to:\n" +
			"whoever can write to the storage can announce any." + fleetLong,
		Example: "  secretstore status\n" +
			"  secretstore status --json\n" +
			"  secretstore status --server https://secrets1:8443 --server https://secrets2:8443",
		Args: noArgs,
	}
	return fleetCommand(p, cmd, func(ctx context.Context, cmd *cobra.Command, open opener) error {
		f, err := open(ctx)
		if err != nil {
			return err
		}
		all, err := f.answering()
		if err != nil {
			return err
		}
		others := f.strangers(ctx)
		if wantJSON(cmd) {
			err = printJSON(p.Stdout, statusDocument{all[0].backend, all[0].seal, f.statuses(), others})
		} else {
			err = errors.Join(printFleetStatus(p, f, all[0]), printStrangers(p.Stdout, others))
		}
		if err != nil {
			return err
		}
		for _, m := range all {
			if m.state() == damaged {
				return fmt.Errorf("the storage of %s is damaged: nothing is served and nothing overwritten; "+
					"it takes a backup of the storage, or a look into the log of that server", m.url)
			}
		}
		if err := f.trust(); err != nil {
			return err
		}
		return f.failure()
	})
}

func printFleetStatus(p *Process, f *fleet, m *member) error {
	if len(f.members) > 1 {
		return f.table(p.Stdout)
	}
	return printStatus(p, m.backend, m.seal)
}

// statusDocument is what status --json prints: the first server that answers,
// all of them, and those that only the storage tells of.
type statusDocument struct {
	wire.Backend
	Seal wire.SealStatus `json:"seal"`
	serversPart
	// Others are not checked by anybody: see wire.Nodes.
	Others []wire.Node `json:"others_told_by_storage,omitempty"`
}

// damaged is the state of a store whose holders are not known any more.
const damaged = "damaged"

func stateWord(b wire.Backend, st wire.SealStatus) string {
	switch {
	case !b.Initialized:
		return "uninitialized"
	case st.Shares == 0:
		return damaged
	case b.Sealed:
		return "sealed"
	}
	return "unsealed"
}

func printStatus(p *Process, b wire.Backend, st wire.SealStatus) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Store:\t%s (%s)\n", b.Name, b.Description)
	fmt.Fprintf(w, "Storage:\t%s\n", b.Driver)
	state := stateWord(b, st)
	fmt.Fprintf(w, "State:\t%s\n", state)
	if b.Initialized && st.Shares > 0 {
		fmt.Fprintf(w, "Unseal key:\t%d share(s), %d needed\n", st.Shares, st.Threshold)
		if st.Sealed && st.Progress > 0 {
			fmt.Fprintf(w, "Entered:\t%d of %d\n", st.Progress, st.Threshold)
		}
	}
	for _, warning := range st.Warnings {
		fmt.Fprintf(w, "Warning:\t%s\n", oneLine(warning))
	}
	switch state {
	case "uninitialized":
		fmt.Fprintln(w, "Next:\tsecretstore init --pgp-key FILE")
	case "sealed":
		fmt.Fprintln(w, "Next:\tsecretstore unseal")
	}
	return w.Flush()
}

// oneLine keeps a text of several lines from breaking the table, and control
// characters from the terminal.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), "; ")
}

func autoUnsealCommand(p *Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "auto-unseal",
		Short:   "Unseal the store with the bootstrap key that the server keeps",
		Long:    "auto-unseal has each server unseal with the private key that it made at its first start." + fleetLong,
		Example: "  secretstore auto-unseal",
		Args:    noArgs,
	}
	return fleetCommand(p, cmd, func(ctx context.Context, cmd *cobra.Command, open opener) error {
		return onEach(ctx, cmd, open, func(ctx context.Context, m *member) (wire.SealStatus, error) { return m.c.AutoUnseal(ctx, "") })
	})
}

func sealCommand(p *Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Seal the store: nobody reads a secret until it is unsealed",
		Long: "seal has all servers of the store drop their keys. They stay sealed, also after a restart,\n" +
			"until somebody unseals the store." + fleetLong,
		Example: "  secretstore seal",
		Args:    noArgs,
	}
	return fleetCommand(p, cmd, func(ctx context.Context, cmd *cobra.Command, open opener) error {
		return onEach(ctx, cmd, open, func(ctx context.Context, m *member) (wire.SealStatus, error) { return m.c.Seal(ctx) })
	})
}

// onEach changes the seal of every server that answers.
func onEach(ctx context.Context, cmd *cobra.Command, open opener, change func(context.Context, *member) (wire.SealStatus, error)) error {
	f, err := open(ctx)
	if err != nil {
		return err
	}
	if _, err := f.answering(); err != nil {
		return err
	}
	// Sealing gives nothing away, and is the emergency brake: it comes before
	// any question which store this is.
	all := f.each
	if cmd.Name() != "seal" {
		if err := f.trust(); err != nil {
			return err
		}
		all = f.inTurn
	}
	all(ctx, func(ctx context.Context, m *member) {
		if m.err == nil {
			_, m.err = change(ctx, m)
		}
	})
	failed := f.failure()
	if failed != nil && len(f.members) == 1 {
		return failed
	}
	if err := f.finishSeal(ctx, cmd); err != nil {
		return err
	}
	return failed
}

// sealDocument is what the commands that change the seal print as JSON: the
// first server that answers, sealed unless all are unsealed, and all servers.
type sealDocument struct {
	wire.SealStatus
	serversPart
}

// finishSeal ends the commands that seal and unseal.
func (f *fleet) finishSeal(ctx context.Context, cmd *cobra.Command) error {
	f.look(ctx)
	return f.show(cmd, f.sealSentence(), func(s serversPart) any { return sealDocument{f.sealSummary(), s} })
}

// sealSummary is the status of the first server that is sealed, else of the
// first that answers.
func (f *fleet) sealSummary() wire.SealStatus {
	all, err := f.answering()
	if err != nil {
		return wire.SealStatus{Sealed: true}
	}
	for _, m := range all {
		if m.seal.Sealed {
			return m.seal
		}
	}
	return all[0].seal
}

func (f *fleet) sealSentence() string {
	st := f.sealSummary()
	switch {
	case st.Sealed && st.Progress > 0:
		return fmt.Sprintf("The store is sealed; %d of %d shares entered. Another holder runs: secretstore unseal", st.Progress, st.Threshold)
	case st.Sealed:
		return "The store is sealed."
	}
	return "The store is unsealed."
}
