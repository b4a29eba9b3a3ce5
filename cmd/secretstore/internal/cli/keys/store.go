package keys

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
			m.Seal, m.Err = change(ctx, m)
		}
	})
	failed := f.Failure()
	if failed != nil && len(f.Members) == 1 {
		return failed
	}
	if err := finishSeal(ctx, f, cmd, enteredSentence); err != nil {
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

// finishSeal ends the commands that seal or unseal. If a server is sealed and has
// shares, the output says what entered returns about them.
func finishSeal(ctx context.Context, f *fleet.Fleet, cmd *cobra.Command, entered func(wire.SealStatus) string) error {
	f.Look(ctx)
	sentence := sealSentence(f)
	if st := sealSummary(f); st.Sealed && st.Progress > 0 {
		sentence = strings.TrimSuffix(sentence, ".") + "; " + entered(st)
	}
	return f.Show(cmd, sentence, func(s fleet.ServersPart) any { return sealDocument{sealSummary(f), s} })
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

// sealSentence says what holds for all servers, or how many are in which state.
func sealSentence(f *fleet.Fleet) string {
	states := make(map[string]int)
	for _, m := range f.Members {
		states[m.State()]++
	}
	switch {
	case len(f.Members) > 1 && max(states["sealed"], states["unsealed"]) < len(f.Members):
		var counts []string
		for _, state := range slices.Sorted(maps.Keys(states)) {
			counts = append(counts, fmt.Sprintf("%d %s", states[state], state))
		}
		return fmt.Sprintf("Of %d servers: %s.", len(f.Members), strings.Join(counts, ", "))
	case sealSummary(f).Sealed:
		return "The store is sealed."
	}
	sentence := "The store is unsealed."
	if about := sealSummary(f).Server; about != nil && !about.Restored.IsZero() {
		sentence += fmt.Sprintf(" It was restored from a backup of %s: secrets, and accounts, passwords and grants unless they were left out, "+
			"are as of then, except for later changes.", about.Restored.Format(time.RFC3339))
	}
	return sentence
}

func enteredSentence(st wire.SealStatus) string {
	return fmt.Sprintf("%d of %d shares entered.", st.Progress, st.Threshold)
}
