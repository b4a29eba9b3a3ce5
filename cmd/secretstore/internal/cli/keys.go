package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"secretstore/api/wire"
)

func keysCommand(p *Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keys doctor",
		Short:   "Look after the keys of the store and their holders",
		Example: "  secretstore keys doctor",
		RunE: run(func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; there is: secretstore keys doctor", args[0])
			}
			return usage("name what to do: secretstore keys doctor")
		}),
	}
	cmd.AddCommand(doctorCommand(p))
	return cmd
}

func doctorCommand(p *Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell whether the holders and keys are in order",
		Long: "doctor shows each holder of the unseal key with their PGP key, whether the storage still keeps a private key that\n" +
			"unseals, and how far the data is encrypted with the newest data key. Exit status 1 says that something needs\n" +
			"attention; a key that expires is told 60, 30 and 7 days before. A user id is what the key says about itself." + fleetLong,
		Example: "  secretstore keys doctor\n" +
			"  secretstore keys doctor --json | jq -r '.attention[]'",
		Args: noArgs,
	}
	cmd.DisableFlagsInUseLine = true
	return fleetCommand(p, cmd, func(ctx context.Context, cmd *cobra.Command, open opener) error {
		f, err := open(ctx)
		if err != nil {
			return err
		}
		m, err := f.leader()
		if err != nil {
			return err
		}
		if err := f.trust(); err != nil {
			return err
		}
		keys, err := ask(ctx, f, m.c.Keys)
		if err != nil {
			return err
		}
		needs := attention(keys)
		if !wantJSON(cmd) {
			if err := printKeys(p, keys, needs); err != nil {
				return err
			}
		}
		err = f.finish(ctx, cmd, "", func(s serversPart) any { return doctorDocument{keys, needs, s} })
		if err == nil && len(needs) > 0 {
			err = errors.New("the keys need attention")
		}
		return err
	})
}

// doctorDocument is the report in JSON.
type doctorDocument struct {
	wire.Keys
	Attention []string `json:"attention"` // never null
	serversPart
}

// attention lists what an operator should do something about.
func attention(k wire.Keys) []string {
	needs := []string{}
	for _, h := range k.Holders {
		for _, text := range []string{h.Warning, h.Problem} {
			if text != "" {
				needs = append(needs, fmt.Sprintf("%s: %s", oneLine(h.Fingerprint), oneLine(text)))
			}
		}
	}
	if k.BootstrapKeyHeld {
		needs = append(needs, "the storage keeps the bootstrap key, so whoever copies the storage can read everything: move to keys of your own with secretstore reinit --pgp-key FILE")
	}
	if k.Damaged > 0 {
		needs = append(needs, damagedSentence(k.Damaged, k.DamagedRecord))
	}
	if k.RekeyUnderWay {
		needs = append(needs, "a rekey waits for its new holders (secretstore rekey --verify), or to be cancelled (secretstore rekey --cancel)")
	}
	return needs
}

func printKeys(p *Process, k wire.Keys, needs []string) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FINGERPRINT\tUSER ID\tALGORITHM\tEXPIRES\tPROBLEM")
	for _, h := range k.Holders {
		expires, problem := "never", first(h.Warning, h.Problem, "-")
		if h.Expires != nil {
			expires = h.Expires.Format("2006-01-02")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", oneLine(h.Fingerprint), first(oneLine(h.UserID), "-"), first(oneLine(h.Algorithm), "-"), expires, oneLine(problem))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nUnseal key:\t%d of %d holders\n", k.Threshold, k.Shares)
	fmt.Fprintf(w, "Bootstrap key:\t%s\n", map[bool]string{true: "kept in the storage", false: "none"}[k.BootstrapKeyHeld])
	if k.Sealed {
		fmt.Fprintln(w, "Data keys:\tnot known while the store is sealed")
	} else {
		fmt.Fprintf(w, "Data keys:\t%d (%d records under old ones)\n", k.Terms, k.OldRecords)
	}
	for _, text := range needs {
		fmt.Fprintf(w, "Attention:\t%s\n", text)
	}
	fmt.Fprintln(w)
	return w.Flush()
}
