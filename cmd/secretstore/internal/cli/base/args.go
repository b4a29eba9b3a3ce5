package base

import (
	"github.com/spf13/cobra"
)

// NoArgs refuses arguments.
func NoArgs(cmd *cobra.Command, args []string) error { return MaxArgs(0)(cmd, args) }

// ExactArgs wants n arguments; missing says what to give if there are fewer.
func ExactArgs(n int, missing string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return Usagef("%s, as in: %s", missing, cmd.UseLine())
		}
		return MaxArgs(n)(cmd, args)
	}
}

// MaxArgs wants at most n arguments.
func MaxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return Usagef("unexpected argument %q; write it as: %s", args[n], cmd.UseLine())
		}
		return nil
	}
}

// Required marks flags that must be given.
func Required(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic("internal error: " + err.Error()) // the flag was just registered
		}
	}
}

// WantJSON reports whether --json is given.
func WantJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}
