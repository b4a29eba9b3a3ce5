// Package keys holds the commands about the store and its keys: status, init,
// seal and unseal, rekey and rotate, and those that work on a storage without a
// server, recover and reinit --wipe.
//
// It has more than 2,000 lines because these commands share how holders are shown,
// shares collected and pending steps reported: init, rekey and reinit are the same
// procedure with different beginnings.
package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
)

func keysCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keys doctor",
		Short:   "Check the keys of the store and their holders",
		Example: "  secretstore keys doctor",
		RunE: base.Run(func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return base.Usagef("keys has no command %q; write: secretstore keys doctor", args[0])
			}
			return base.Usagef("keys needs a command; write: secretstore keys doctor")
		}),
	}
	cmd.AddCommand(doctorCommand(p))
	return cmd
}

func doctorCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether the keys and their holders are in order",
		Long: "doctor shows the holders of the unseal key with their PGP keys, whether the storage keeps a private key that\n" +
			"unseals it, how much of the data is encrypted with the newest data key, and which records of the storage\n" +
			"are damaged, as far as rotations and a list of all secrets have found them. The exit status is 1 if\n" +
			"something needs attention. Warnings begin 60 days before a key expires. A user id is what the key claims;\n" +
			"nobody has verified it." + fleet.LongHelp,
		Example: "  secretstore keys doctor\n" +
			"  secretstore keys doctor --json | jq -r '.attention[]'",
		Args: base.NoArgs,
	}
	cmd.DisableFlagsInUseLine = true
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		f, err := open(ctx)
		if err != nil {
			return err
		}
		m, err := f.Leader()
		if err != nil {
			return err
		}
		if err := f.Trust(); err != nil {
			return err
		}
		keys, err := fleet.Ask(ctx, f, func(ctx context.Context) (wire.Keys, error) { return examine(ctx, m.Client) })
		if err != nil {
			return err
		}
		needs := attention(keys)
		if !base.WantJSON(cmd) {
			if err := printKeys(p, keys, needs); err != nil {
				return err
			}
		}
		err = f.Finish(ctx, cmd, "", func(s fleet.ServersPart) any { return doctorDocument{keys, needs, s} })
		if err == nil && len(needs) > 0 {
			err = errors.New("the keys need attention")
		}
		return err
	})
}

// examine returns the state of the keys, after the server has read the names of
// all secrets: a damaged record that no list has met is not known yet.
func examine(ctx context.Context, c *client.Client) (wire.Keys, error) {
	keys, err := c.Keys(ctx)
	if err != nil || keys.Sealed {
		return keys, err
	}
	if _, err := c.List(ctx, ""); err != nil && !errors.Is(err, client.ErrIncomplete) {
		return wire.Keys{}, fmt.Errorf("list the secrets: %w", err)
	}
	return c.Keys(ctx)
}

// doctorDocument is the report in JSON.
type doctorDocument struct {
	wire.Keys
	Attention []string `json:"attention"` // never null
	fleet.ServersPart
}

// attention lists what an operator should act on.
func attention(k wire.Keys) []string {
	needs := []string{}
	for _, h := range k.Holders {
		for _, text := range []string{h.Warning, h.Problem} {
			if text != "" {
				needs = append(needs, fmt.Sprintf("%s: %s", base.OneLine(h.Fingerprint), base.OneLine(text)))
			}
		}
	}
	if k.ConfigWarning != "" {
		needs = append(needs, base.OneLine(k.ConfigWarning))
	}
	if k.BootstrapKeyHeld {
		needs = append(needs, "the storage keeps the bootstrap key, so anybody with a copy of the storage can read everything: move to keys of your own with secretstore reinit --pgp-key FILE")
	}
	if k.Damaged > 0 {
		needs = append(needs, fmt.Sprintf("%d damaged record(s) are skipped: restore or remove them; one is %s", k.Damaged, base.OneLine(k.DamagedRecord)))
	}
	if k.RotationState == stuck {
		needs = append(needs, "the rotation of the data key is stuck: "+base.OneLine(k.RotationReason))
	}
	if k.RekeyUnderWay {
		needs = append(needs, "a rekey is in progress: its new holders must verify it (secretstore rekey --verify), or cancel it (secretstore rekey --cancel)")
	}
	return needs
}

func printKeys(p *base.Process, k wire.Keys, needs []string) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FINGERPRINT\tUSER ID\tALGORITHM\tEXPIRES\tPROBLEM")
	for _, h := range k.Holders {
		expires, problem := "never", cmp.Or(h.Warning, h.Problem, "-")
		if h.Expires != nil {
			expires = h.Expires.Format(time.DateOnly)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", base.OneLine(h.Fingerprint), cmp.Or(base.OneLine(h.UserID), "-"), cmp.Or(base.OneLine(h.Algorithm), "-"), expires, base.OneLine(problem))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nUnseal key:\t%d of %d holders\n", k.Threshold, k.Shares)
	fmt.Fprintf(w, "Bootstrap key:\t%s\n", map[bool]string{true: "kept in the storage", false: "none"}[k.BootstrapKeyHeld])
	if k.Sealed {
		fmt.Fprintln(w, "Data keys:\tunknown while the store is sealed")
	} else {
		old := fmt.Sprintf("%d records under old ones", k.OldRecords)
		if k.Counting {
			old = "the records under old ones are not counted yet"
		}
		fmt.Fprintf(w, "Data keys:\t%d (%s)\n", k.Terms, old)
	}
	for _, d := range k.DamagedRecords {
		fmt.Fprintf(w, "Damaged:\t%s (%s)\n", base.OneLine(d.Record), base.OneLine(d.Reason))
	}
	if k.Foreign > 0 {
		fmt.Fprintf(w, "Foreign names:\t%d in the storage; they have no effect\n", k.Foreign)
	}
	for _, text := range needs {
		fmt.Fprintf(w, "Attention:\t%s\n", text)
	}
	fmt.Fprintln(w)
	return w.Flush()
}
