package keys

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
)

// Commands returns the commands about the store and its keys.
func Commands(p *base.Process) []*cobra.Command {
	return []*cobra.Command{statusCommand(p), initCommand(p), unsealCommand(p), autoUnsealCommand(p), sealCommand(p),
		rekeyCommand(p), rotateCommand(p), reinitCommand(p), keysCommand(p), recoverCommand(p)}
}

func statusCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of the store and its servers",
		Long: "status shows whether each server is initialized and unsealed, and what is wrong with it. Superusers also see\n" +
			"servers that you did not name but that have announced themselves in a shared storage. Those are not\n" +
			"verified and not contacted: anybody who can write to the storage can announce one." + fleet.LongHelp,
		Example: "  secretstore status\n" +
			"  secretstore status --json\n" +
			"  secretstore status --server https://secrets1:8443 --server https://secrets2:8443",
		Args: base.NoArgs,
	}
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		f, err := open(ctx)
		if err != nil {
			return err
		}
		all, err := f.Answering()
		if err != nil {
			return err
		}
		others := f.Strangers(ctx)
		if base.WantJSON(cmd) {
			err = base.PrintJSON(p.Stdout, statusDocument{all[0].Backend, all[0].Seal, f.Statuses(), others})
		} else {
			err = errors.Join(printFleetStatus(p, f, all[0]), fleet.PrintStrangers(p.Stdout, others))
		}
		if err != nil {
			return err
		}
		for _, m := range all {
			if m.State() == fleet.Damaged {
				return fmt.Errorf("the storage of %s is damaged: the server serves nothing and overwrites nothing; "+
					"see its log, and restore the storage from a backup", m.URL)
			}
		}
		if err := f.Trust(); err != nil {
			return err
		}
		return f.Failure()
	})
}

func printFleetStatus(p *base.Process, f *fleet.Fleet, m *fleet.Member) error {
	if len(f.Members) > 1 {
		return f.Table(p.Stdout)
	}
	return printStatus(p, m)
}

// statusDocument is the output of status --json: the first server that answers, all
// servers, and those that only the storage lists.
type statusDocument struct {
	wire.Backend
	Seal wire.SealStatus `json:"seal"`
	fleet.ServersPart
	// Others are unverified: see wire.Nodes.
	Others []wire.Node `json:"others_told_by_storage,omitempty"`
}

func printStatus(p *base.Process, m *fleet.Member) error {
	b, st := m.Backend, m.Seal
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Store:\t%s (%s)\n", b.Name, b.Description)
	fmt.Fprintf(w, "Storage:\t%s\n", b.Driver)
	state := m.State()
	fmt.Fprintf(w, "State:\t%s\n", state)
	if b.Initialized && st.Shares > 0 {
		fmt.Fprintf(w, "Unseal key:\t%d share(s), %d needed\n", st.Shares, st.Threshold)
		if st.Sealed && st.Progress > 0 {
			fmt.Fprintf(w, "Entered:\t%d of %d\n", st.Progress, st.Threshold)
		}
	}
	for _, warning := range st.Warnings {
		fmt.Fprintf(w, "Warning:\t%s\n", base.OneLine(warning))
	}
	switch state {
	case "uninitialized":
		fmt.Fprintln(w, "Next:\tsecretstore init --pgp-key FILE")
	case "sealed":
		fmt.Fprintln(w, "Next:\tsecretstore unseal")
	}
	return w.Flush()
}

func autoUnsealCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "auto-unseal",
		Short:   "Unseal the store with its bootstrap key",
		Long:    "auto-unseal makes each server unseal with the private key that it made at its first start." + fleet.LongHelp,
		Example: "  secretstore auto-unseal",
		Args:    base.NoArgs,
	}
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		return onEach(ctx, cmd, open, func(ctx context.Context, m *fleet.Member) (wire.SealStatus, error) {
			return m.Client.AutoUnseal(ctx, "")
		})
	})
}

func sealCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Seal the store",
		Long: "seal makes all servers of the store drop their keys. Nobody can read a secret until somebody unseals the\n" +
			"store, even after a restart." + fleet.LongHelp,
		Example: "  secretstore seal",
		Args:    base.NoArgs,
	}
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		return onEach(ctx, cmd, open, func(ctx context.Context, m *fleet.Member) (wire.SealStatus, error) { return m.Client.Seal(ctx) })
	})
}

// onEach seals or unseals every server that answers.
func onEach(ctx context.Context, cmd *cobra.Command, open fleet.Opener, change func(context.Context, *fleet.Member) (wire.SealStatus, error)) error {
	f, err := open(ctx)
	if err != nil {
		return err
	}
	if _, err := f.Answering(); err != nil {
		return err
	}
	// Sealing reveals nothing and is for emergencies, so it does not depend on Trust.
	all := f.Each
	if cmd.Name() != "seal" {
		if err := f.Trust(); err != nil {
			return err
		}
		all = f.InTurn
	}
	all(ctx, func(ctx context.Context, m *fleet.Member) {
		if m.Err == nil {
			_, m.Err = change(ctx, m)
		}
	})
	failed := f.Failure()
	if failed != nil && len(f.Members) == 1 {
		return failed
	}
	if err := finishSeal(ctx, f, cmd); err != nil {
		return err
	}
	return failed
}

// sealDocument is the JSON output of the commands that seal or unseal: the status of
// the store, sealed unless all servers are unsealed, and all servers.
type sealDocument struct {
	wire.SealStatus
	fleet.ServersPart
}

// finishSeal ends the commands that seal or unseal.
func finishSeal(ctx context.Context, f *fleet.Fleet, cmd *cobra.Command) error {
	f.Look(ctx)
	return f.Show(cmd, sealSentence(f), func(s fleet.ServersPart) any { return sealDocument{sealSummary(f), s} })
}

// sealSummary returns the status of the first server that is sealed, else of the
// first that answers.
func sealSummary(f *fleet.Fleet) wire.SealStatus {
	all, err := f.Answering()
	if err != nil {
		return wire.SealStatus{Sealed: true}
	}
	for _, m := range all {
		if m.Seal.Sealed {
			return m.Seal
		}
	}
	return all[0].Seal
}

func sealSentence(f *fleet.Fleet) string {
	st := sealSummary(f)
	switch {
	case st.Sealed && st.Progress > 0:
		return fmt.Sprintf("The store is sealed; %d of %d shares entered. Another holder runs: secretstore unseal", st.Progress, st.Threshold)
	case st.Sealed:
		return "The store is sealed."
	}
	return "The store is unsealed."
}
