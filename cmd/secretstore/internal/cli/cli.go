// Package cli is the command line. The commands are in the packages below it, by
// subject; base holds what they share.
package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/backups"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/bulk"
	"secretstore/cmd/secretstore/internal/cli/keys"
	"secretstore/cmd/secretstore/internal/cli/people"
	"secretstore/cmd/secretstore/internal/cli/permissions"
	"secretstore/cmd/secretstore/internal/cli/secrets"
	"secretstore/cmd/secretstore/internal/cli/tasks"
)

// Main runs one command and returns the exit status.
func Main(p base.Process) int {
	root := newRoot(&p)
	if len(p.Args) > 0 && p.Args[0] == cobra.ShellCompRequestCmd {
		base.PlainUsages(root)
	}
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
		Long: "secretstore encrypts secrets, stores them, and gives them to those who may read them.\n" +
			"\"secretstore server\" runs the service; the other commands are its client.",
		Example: "  secretstore server --dev\n" +
			"  secretstore put team/db-password\n" +
			"  secretstore get team/db-password",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // RunE has a better message
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(cmd, args[0])
			}
			fmt.Fprint(p.Stderr, cmd.UsageString())
			return base.Usagef("no command given")
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupSecrets, Title: "Secrets:"},
		&cobra.Group{ID: groupStore, Title: "The store:"},
		&cobra.Group{ID: groupPeople, Title: "People and services:"},
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
	add(groupSecrets, permissions.Commands(p)...)
	add(groupStore, serverCommand(p), doctorCommand(p))
	add(groupStore, keys.Commands(p)...)
	add(groupStore, backups.Commands(p)...)
	add(groupPeople, people.SignIn(p)...)
	add(groupPeople, people.Manage(p)...)
	add(groupOther, tokenCommand(p), hashPasswordCommand(p), resetSuperuserCommand(p), tasks.TokenCommand(p), versionCommand(p), completionCommand(p))
	help := helpCommand()
	root.SetHelpCommand(help)
	add(groupOther, help)
	describeHelp(root)
	base.CompleteFlags(root)
	return root
}

// helpCommand is our own: that of cobra succeeds for a command that does not exist.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: "  secretstore help put\n  secretstore help keys doctor",
		Args:    cobra.ArbitraryArgs, // RunE has a better message
		RunE: base.Run(func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noCommand(cmd.Root(), strings.Join(args, " "))
			}
			return of.Help()
		}),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (names []string, directive cobra.ShellCompDirective) {
			of, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) == 0 {
				for _, c := range of.Commands() {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// describeHelp has --help described in the same words everywhere.
func describeHelp(cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	cmd.Flags().Lookup("help").Usage = "print this help"
	for _, c := range cmd.Commands() {
		describeHelp(c)
	}
}

// noCommand suggests commands with a similar name.
func noCommand(root *cobra.Command, word string) error {
	root.SuggestionsMinimumDistance = 2
	text := fmt.Sprintf("secretstore has no command %q", word)
	if near := root.SuggestionsFor(word); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return base.Usagef("%s", text)
}

const (
	groupSecrets = "secrets"
	groupStore   = "store"
	groupPeople  = "people"
	groupOther   = "other"
)
