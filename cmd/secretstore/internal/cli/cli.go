// Package cli is the command line. The commands are in the packages below it, by
// subject; base holds what they share.
package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/bulk"
	"secretstore/cmd/secretstore/internal/cli/keys"
	"secretstore/cmd/secretstore/internal/cli/secrets"
	"secretstore/cmd/secretstore/internal/cli/tasks"
)

// Main runs one command and returns the exit status.
func Main(p base.Process) int {
	root := newRoot(&p)
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	cmd, err := root.ExecuteC()
	if err == nil {
		return base.ExitOK
	}
	return base.Report(p.Stderr, cmd, err)
}

func newRoot(p *base.Process) *cobra.Command {
	root := &cobra.Command{
		Use:   "secretstore",
		Short: "A store for secrets: passwords, keys, tokens and files",
		Long: "secretstore stores secrets encrypted and gives them to those who are permitted to read them.\n" +
			"\"secretstore server\" runs the service; the other commands are its client.",
		Example: "  secretstore server --dev\n" +
			"  secretstore put team/db-password\n" +
			"  secretstore get team/db-password",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // RunE has a better message
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return base.Usagef("unknown command %q%s", args[0], meant(cmd, args[0]))
			}
			fmt.Fprint(p.Stderr, cmd.UsageString())
			return base.Usagef("no command given")
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
	add(groupSecrets, secrets.Commands(p)...)
	add(groupSecrets, tasks.Commands(p)...)
	add(groupSecrets, bulk.Commands(p)...)
	add(groupStore, serverCommand(p))
	add(groupStore, keys.Commands(p)...)
	add(groupOther, tokenCommand(p), tasks.TokenCommand(p), versionCommand(p), completionCommand(p))
	root.SetHelpCommandGroupID(groupOther)
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Example = "  secretstore help put"
		}
	}
	return root
}

// meant suggests commands with a similar name.
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
