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

	"secretstore/acl"
	"secretstore/api/client"
)

// completionTime is how long a completion may ask the server. A shell waits for it.
const completionTime = time.Second

// CompletePaths completes the path of a secret, folder by folder. What is before the
// last "=" of the word, as in NAME=PATH, stays. If the server does not answer there is
// nothing to complete, and nothing is printed.
func (r *Remote) CompletePaths(p *Process, word string) ([]string, cobra.ShellCompDirective) {
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
		names, _, _ = ListNames(ctx, c, folder)
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

// completeVersions completes the number of a version of the secret.
func (r *Remote) completeVersions(p *Process, args []string) ([]string, cobra.ShellCompDirective) {
	var found []string
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	path, err := SecretPath(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	r.askQuietly(p, func(ctx context.Context, c *client.Client) {
		versions, err := c.Versions(ctx, path)
		for _, v := range versions.Versions {
			if err == nil {
				found = append(found, strconv.FormatUint(v.Version, 10))
			}
		}
	})
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
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

// completeArguments completes the PATH of a command and the numbers of its versions. An
// argument of another kind is not a file either.
func (r *Remote) completeArguments(p *Process, cmd *cobra.Command) {
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	use := strings.Fields(cmd.Use)
	if len(use) < 2 || strings.Trim(use[1], "[]") != "PATH" {
		return
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return r.CompletePaths(p, word)
	}
	for _, name := range []string{"version", "to"} {
		if cmd.Flags().Lookup(name) == nil {
			continue
		}
		err := cmd.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return r.completeVersions(p, args)
		})
		if err != nil {
			panic("internal error: " + err.Error()) // the flag exists
		}
	}
}
