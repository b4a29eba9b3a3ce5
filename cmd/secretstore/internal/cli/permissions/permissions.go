// Package permissions holds the commands that say who may do what, and why.
package permissions

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// Commands returns the commands.
func Commands(p *base.Process) []*cobra.Command {
	return []*cobra.Command{explainCommand(p), whoCanCommand(p)}
}

func explainCommand(p *base.Process) *cobra.Command {
	var q client.Question
	var service, bound string
	cmd := &cobra.Command{
		Use:   "explain ACTION [PATH]",
		Short: "Say why a user may do something, or why not",
		Long: "explain says whether a user may do ACTION with the secret PATH, and by which grants, or which permission\n" +
			"is missing. ACTION is create, read, update or delete; list or watch, with a folder as PATH; resolve, with\n" +
			"--service; or administer. Without --uid it is about you. It does not matter whether the secret exists.\n" +
			"The exit status is 0 also if the user may not.",
		Example: "  secretstore explain read team/db-password\n" +
			"  secretstore explain read team/db-password --uid alice\n" +
			"  secretstore explain read team/db-password --uid dcos_marathon --service /team/app\n" +
			"  secretstore explain list team --json",
		Args: arguments("name the ACTION and the PATH"),
	}
	f := cmd.Flags()
	f.StringVar(&q.UID, "uid", "", "the `USER` to explain; others than you need a superuser")
	f.StringVar(&service, "service", "", "read for the service `ID`")
	f.StringVar(&bound, "bound", "", "with a token that is bound to the service `ID`")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		q.Action, q.Path = args[0], ""
		if len(args) > 1 {
			q.Path = args[1]
		}
		if cmd.Flags().Changed("service") {
			q.Service = &service
		}
		if cmd.Flags().Changed("bound") {
			q.Bound = &bound
		}
		e, err := c.Explain(ctx, q)
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, e)
		}
		return printExplanation(p.Stdout, e)
	})
}

// printExplanation says it in sentences.
func printExplanation(out io.Writer, e wire.Explanation) error {
	var b strings.Builder
	verdict := "no"
	if e.Allowed {
		verdict = "yes"
	}
	fmt.Fprintf(&b, "%s: %s", verdict, base.OneLine(e.Reason))
	if e.Service != "" && !strings.Contains(e.Reason, e.Service) {
		fmt.Fprintf(&b, " (%s)", base.OneLine(e.Service))
	}
	b.WriteByte('\n')
	for _, g := range e.Grants {
		fmt.Fprintf(&b, "  %s on %s, %s\n", g.Action, base.OneLine(g.Resource), origin(g))
	}
	if len(e.Missing) > 0 {
		b.WriteString("missing, one of these would do:\n")
	}
	for _, m := range e.Missing {
		fmt.Fprintf(&b, "  %s on %s\n", m.Action, base.OneLine(m.Resource))
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("write the explanation: %w", err)
	}
	return nil
}

// origin says where a grant is from.
func origin(g wire.GrantReason) string {
	var parts []string
	switch g.Source {
	case wire.SourcePolicyFile:
		parts = append(parts, fmt.Sprintf("line %d of the policy file", g.Line))
	case wire.SourceServerFlag:
		parts = append(parts, "by --superuser of the server")
	case wire.SourceSuperuserFile:
		parts = append(parts, "by the superuser file of the server")
	default:
		parts = append(parts, strings.TrimSpace("made "+by(g.By, g.At)))
	}
	if !g.Until.IsZero() {
		parts = append(parts, "until "+g.Until.Format(time.RFC3339))
	}
	if g.Group == "" {
		return strings.Join(parts, ", ")
	}
	group := "of the group " + base.OneLine(g.Group)
	if m := g.Member; m != nil {
		switch {
		case m.Line > 0:
			group += fmt.Sprintf(" (member by line %d)", m.Line)
		case m.By != "" || !m.At.IsZero():
			group += " (member " + by(m.By, m.At) + ")"
		}
	}
	return strings.Join(append(parts, group), ", ")
}

func by(uid string, at time.Time) string {
	s := ""
	if uid != "" {
		s = "by " + base.OneLine(uid)
	}
	if !at.IsZero() {
		s = strings.TrimSpace(s + " at " + at.UTC().Format(time.RFC3339))
	}
	return s
}

func whoCanCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "who-can ACTION [PATH]",
		Short: "List who may do something",
		Long: "who-can lists the users who may do ACTION with the secret PATH, and the groups whose grants allow it. For\n" +
			"read it also lists who may read for services, and which services may have the secret. ACTION is as for\n" +
			"explain, without resolve. Only superusers may ask.",
		Example: "  secretstore who-can read team/db-password\n" +
			"  secretstore who-can update team/db-password --json\n" +
			"  secretstore who-can administer",
		Args: arguments("name the ACTION and the PATH"),
	}
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path := ""
		if len(args) > 1 {
			path = args[1]
		}
		who, err := c.WhoCan(ctx, args[0], path)
		if err != nil {
			return err
		}
		if base.WantJSON(cmd) {
			return base.PrintJSON(p.Stdout, who)
		}
		return printWho(p.Stdout, who)
	})
}

// printWho prints one line for each.
func printWho(out io.Writer, who wire.WhoCan) error {
	var b strings.Builder
	for _, uid := range who.Users {
		fmt.Fprintf(&b, "user     %s\n", base.OneLine(uid))
	}
	for _, g := range who.Groups {
		fmt.Fprintf(&b, "group    %s (%s)\n", base.OneLine(g.Group), base.OneLine(g.Source))
	}
	for _, o := range who.OnBehalf {
		fmt.Fprintf(&b, "user     %s, for %s\n", base.OneLine(o.UID), base.OneLine(strings.Join(o.Services, ", ")))
	}
	switch who.Services {
	case "":
	case "/":
		b.WriteString("services all\n")
	default:
		fmt.Fprintf(&b, "services %s, and below it\n", base.OneLine(who.Services))
	}
	if b.Len() == 0 {
		b.WriteString("nobody\n")
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}

// arguments demands an action and at most one path.
func arguments(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < 1 || len(args) > 2 {
			return base.Usagef("%s", what)
		}
		return nil
	}
}
