package base

import (
	"context"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"secretstore/acl"
	"secretstore/api/client"
)

// completionTime is how long a completion may ask the server. A shell waits for it.
const completionTime = time.Second

// CompletePaths completes the path of a secret, folder by folder. What is before the
// last "=" of the word, as in NAME=PATH, stays. If the server does not answer there is
// nothing to complete, and nothing is printed.
func (r *Remote) CompletePaths(p *Process, word string) ([]string, cobra.ShellCompDirective) {
	return r.completePaths(p, word, ListNames)
}

// completePaths is CompletePaths with what list returns: ListNames or ListDeletedNames.
func (r *Remote) completePaths(p *Process, word string, list func(context.Context, *client.Client, acl.Path) ([]string, bool, error)) ([]string, cobra.ShellCompDirective) {
	none := cobra.ShellCompDirectiveNoFileComp
	before, path := "", word
	if i := strings.LastIndexByte(word, '='); i >= 0 {
		before, path = word[:i+1], word[i+1:]
	}
	parent := path[:strings.LastIndexByte(path, '/')+1]
	folder, err := acl.ParseFolder(url.PathEscape(parent))
	if err != nil {
		return nil, none
	}
	var names []string
	r.askQuietly(p, func(ctx context.Context, c *client.Client) {
		names, _, _ = list(ctx, c, folder)
	})
	var found []string
	directive := none
	for _, name := range names {
		if i := strings.IndexByte(name, '/'); i >= 0 {
			name = name[:i+1]
		}
		if !strings.HasPrefix(parent+name, path) {
			continue
		}
		if strings.HasSuffix(name, "/") {
			directive = none | cobra.ShellCompDirectiveNoSpace
		}
		found = append(found, before+parent+name)
	}
	return slices.Compact(found), directive
}

// versionsOf returns the numbers of the versions of a secret.
func (r *Remote) versionsOf(p *Process, secret string) (found []string) {
	path, err := SecretPath(secret)
	if err != nil {
		return nil
	}
	r.askQuietly(p, func(ctx context.Context, c *client.Client) {
		versions, err := c.Versions(ctx, path)
		for _, v := range versions.Versions {
			if err == nil {
				found = append(found, strconv.FormatUint(v.Version, 10))
			}
		}
	})
	return found
}

// identitiesOf returns the ids of people or service accounts (UID), of groups (GID) or
// of resources (RID). Those that could drive the terminal are left out.
func (r *Remote) identitiesOf(p *Process, kind string, services bool) (found []string) {
	keep := func(id string) {
		if OneLine(id) == id {
			found = append(found, id)
		}
	}
	r.askQuietly(p, func(ctx context.Context, c *client.Client) {
		switch kind { // without an answer there is nothing to offer
		case "UID":
			all, _ := c.Identities().Users(ctx, services)
			for _, u := range all {
				keep(u.UID)
			}
		case "GID":
			all, _ := c.Identities().Groups(ctx)
			for _, g := range all {
				keep(g.GID)
			}
		case "RID":
			all, _ := c.Grants().Resources(ctx)
			for _, a := range all {
				keep(a.RID)
			}
		}
	})
	return found
}

// askQuietly asks the server for a completion.
func (r *Remote) askQuietly(p *Process, ask func(context.Context, *client.Client)) {
	quiet := *p
	quiet.Stderr = io.Discard
	c, err := r.Connect(&quiet)
	if err != nil {
		return
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	ask(ctx, c)
}

// CompleteArguments completes the arguments of a command by their names in its Use:
// PATH, SOURCE and TARGET are secrets, PATH[@N] may have a version, FILE and KEY.pem
// are files, and others are nothing that could be completed. It also completes the
// flags that take a version of the first argument.
func (r *Remote) CompleteArguments(p *Process, cmd *cobra.Command) {
	names := argumentNames(cmd.Use)
	list := ListNames
	if cmd.Name() == "undelete" {
		list = ListDeletedNames
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		none := cobra.ShellCompDirectiveNoFileComp
		name := ""
		switch {
		case len(args) < len(names):
			name = names[len(args)]
		case len(names) > 0 && strings.HasSuffix(names[len(names)-1], "..."):
			name = names[len(names)-1]
		}
		switch {
		case strings.HasPrefix(name, "FILE"), strings.HasSuffix(name, ".pem"):
			return nil, cobra.ShellCompDirectiveDefault
		case strings.HasSuffix(name, "@N") && strings.Contains(word, "@"):
			secret, _, _ := strings.Cut(word, "@")
			found := r.versionsOf(p, secret)
			for i, n := range found {
				found[i] = secret + "@" + n
			}
			return found, none | cobra.ShellCompDirectiveKeepOrder
		case cmd.Name() == "create" && (name == "UID" || name == "GID"): // of what does not exist yet
		case name == "UID", name == "GID", name == "RID":
			services := cmd.HasParent() && cmd.Parent().Name() == "sa"
			return r.identitiesOf(p, name, services), none
		case name == "ACTION" && (cmd.Name() == "explain" || cmd.Name() == "who-can"):
			return acl.QuestionActions(), none | cobra.ShellCompDirectiveKeepOrder
		case name == "ACTION":
			return []string{"create", "read", "update", "delete", "full"}, none | cobra.ShellCompDirectiveKeepOrder
		case strings.HasPrefix(name, "PATH"), name == "SOURCE", name == "TARGET":
			return r.completePaths(p, word, list)
		}
		return nil, none
	}
	for _, name := range []string{"version", "to", "if-version"} {
		completeFlag(cmd, name, func(_ *cobra.Command, args []string, _ string) (found []string, _ cobra.ShellCompDirective) {
			if len(args) > 0 {
				found = r.versionsOf(p, args[0])
			}
			return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		})
	}
	for _, name := range []string{"under", "secret"} {
		completeFlag(cmd, name, func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return r.CompletePaths(p, word)
		})
	}
}

// argumentNames returns the names of the arguments in the Use of a command, without
// brackets, up to its first flag with a value.
func argumentNames(use string) (names []string) {
	for _, word := range strings.Fields(use)[1:] {
		switch flag := strings.HasPrefix(strings.Trim(word, "[("), "-"); {
		case flag && strings.HasSuffix(word, "]"):
		case flag:
			return names
		default:
			dots := strings.HasSuffix(word, "...")
			word = strings.ReplaceAll(strings.Trim(word, "[]."), "[", "")
			if dots {
				word += "..."
			}
			names = append(names, word)
		}
	}
	return names
}

// completeFlag completes the value of a flag, if the command has it.
func completeFlag(cmd *cobra.Command, name string, complete cobra.CompletionFunc) {
	if cmd.Flags().Lookup(name) == nil {
		return
	}
	if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
		panic("internal error: " + err.Error()) // the flag exists
	}
}

// words are the values of flags that have few of them.
var words = map[string][]string{
	"store-id":      {"default"},
	"signal":        {"HUP", "INT", "QUIT", "TERM", "USR1", "USR2"},
	"ignore-signal": {"HUP", "INT", "PIPE", "QUIT", "USR1", "USR2"},
	"log-level":     {"debug", "info", "warn", "error"},
	"log-format":    {"json", "console"},
	"as":            {"value", "json", "split"},
	"security-mode": {"disabled", "permissive", "strict"},
}

// CompleteFlags completes what CompleteArguments leaves, in a command and those below
// it: words, and files only where one is meant.
func CompleteFlags(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 && !strings.Contains(cmd.Use, "COMMAND") {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		_, done := cmd.GetFlagCompletionFunc(f.Name)
		value, _ := pflag.UnquoteUsage(f)
		if done || f.NoOptDefVal != "" || strings.Contains(value, "FILE") || strings.Contains(value, "DIR") || value == "PROGRAM" {
			return
		}
		completeFlag(cmd, f.Name, cobra.FixedCompletions(words[f.Name], cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder))
	})
	for _, c := range cmd.Commands() {
		CompleteFlags(c)
	}
}

// PlainUsages removes the backquotes from the texts of flags, which mark the name of
// the value for the help, and would be in the descriptions that shells show.
func PlainUsages(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { _, f.Usage = pflag.UnquoteUsage(f) })
	for _, c := range cmd.Commands() {
		PlainUsages(c)
	}
}
