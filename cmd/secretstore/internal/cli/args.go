package cli

import (
	"github.com/spf13/cobra"
)

// noArgs, exactArgs and maxArgs check the arguments with a sentence that says
// what is missing.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unexpected argument %q", args[0])
	}
	return nil
}

func exactArgs(n int, missing string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return usage("%s", missing)
		}
		if len(args) > n {
			return usage("unexpected argument %q", args[n])
		}
		return nil
	}
}

func maxArgs(n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > n {
			return usage("unexpected argument %q", args[n])
		}
		return nil
	}
}

// required marks flags that a command cannot do without.
func required(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic("internal error: " + err.Error()) // the flag was just registered
		}
	}
}

func wantJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}
