// Package cli is the command line: one file for each group of commands, one
// place for exit statuses. Values go to standard output untouched; everything
// meant for people goes to standard error, an error together with what to do
// next. It never puts a secret into an argument list or a temporary file.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Process is what the program sees of the world around it.
type Process struct {
	Args   []string // without the name of the program
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
}

// Main runs one command and returns the exit status.
func Main(p Process) int {
	root := newRoot(&p)
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	return report(p.Stderr, cmd, err)
}

func newRoot(p *Process) *cobra.Command {
	root := &cobra.Command{
		Use:   "secretstore",
		Short: "A store for secrets: passwords, keys, tokens and files",
		Long: "secretstore keeps secrets encrypted and hands them to those who may have them.\n" +
			"\"secretstore server\" runs the service; all other commands are its client.",
		Example: "  secretstore server --dev\n" +
			"  secretstore put team/db-password\n" +
			"  secretstore get team/db-password",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // so that RunE can say it better
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q%s", args[0], meant(cmd, args[0]))
			}
			fmt.Fprint(p.Stderr, cmd.UsageString())
			return usage("a command is needed")
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupSecrets, Title: "Secrets:"},
		&cobra.Group{ID: groupStore, Title: "The store:"},
		&cobra.Group{ID: groupOther, Title: "Other:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			c.DisableFlagsInUseLine = true
			root.AddCommand(c)
		}
	}
	add(groupSecrets, secretCommands(p)...)
	add(groupSecrets, execCommand(p), renderCommand(p), importCommand(p), exportCommand(p))
	add(groupStore, serverCommand(p))
	add(groupStore, storeCommands(p)...)
	add(groupOther, tokenCommand(p), taskTokenCommand(p), versionCommand(p), completionCommand(p))
	root.SetHelpCommandGroupID(groupOther)
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Example = "  secretstore help put"
		}
	}
	return root
}

// meant suggests commands that are spelt nearly so.
func meant(cmd *cobra.Command, word string) string {
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return ""
}

const (
	groupSecrets = "secrets"
	groupStore   = "store"
	groupOther   = "other"
)

// run adapts the body of a command: what fails in it is no usage error unless
// it says so.
func run(body func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := body(cmd, args)
		var bad *usageError
		if err == nil || errors.As(err, &bad) {
			return err
		}
		return &failure{err}
	}
}
