// Package permissions holds the commands that say who may do what, and why.
package permissions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretstore/acl"
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
			"--service; or administer. Without --uid, the user is you. It does not matter whether the secret exists. The\n" +
			"exit status is 0 even if the user may not.",
		Example: "  secretstore explain read team/db-password\n" +
			"  secretstore explain read team/db-password --uid alice\n" +
			"  secretstore explain read team/db-password --uid dcos_marathon --service /team/app\n" +
			"  secretstore explain list team --json",
		Args: arguments,
	}
	f := cmd.Flags()
	f.StringVar(&q.UID, "uid", "", "the `USER` to explain; only superusers may name others than themselves")
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
		if err := check(cmd, q); err != nil {
			return err
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
	if len(e.Near) > 0 {
		b.WriteString("grants that nearly allow it:\n")
	}
	for _, g := range e.Near {
		fmt.Fprintf(&b, "  %s on %s, %s\n", g.Action, base.OneLine(g.Resource), origin(g))
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
		Args: arguments,
	}
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		q := client.Question{Action: args[0]}
		if len(args) > 1 {
			q.Path = args[1]
		}
		if err := check(cmd, q); err != nil {
			return err
		}
		who, err := c.WhoCan(ctx, q.Action, q.Path)
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
func arguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return base.Usagef("name the ACTION and the PATH, as in: %s", cmd.UseLine())
	}
	return base.MaxArgs(2)(cmd, args)
}

// check finds the mistakes in a question that the server would find, as mistakes in
// the command.
func check(cmd *cobra.Command, q client.Question) error {
	var service acl.Service
	for flag, id := range map[string]*string{"service": q.Service, "bound": q.Bound} {
		if id == nil {
			continue
		}
		s, err := acl.ParseService(*id)
		if err != nil {
			return base.Usagef("--%s: %v; write it as /team/app", flag, err)
		}
		if flag == "service" {
			service = s
		}
	}
	if q.UID != "" && !acl.ValidUID(q.UID) {
		return base.Usagef("--uid: %q cannot be a user", q.UID)
	}
	_, err := acl.ParseQuestion(q.Action, q.Path, service, q.Service != nil)
	switch {
	case errors.Is(err, acl.ErrInvalidPath) && q.Path == "":
		return base.Usagef("name the PATH of the secret, as in: %s %s PATH", cmd.CommandPath(), q.Action)
	case errors.Is(err, acl.ErrInvalidPath):
		return base.Usagef("%s", base.BadPath)
	case errors.Is(err, acl.ErrQuestionNeedsService) && cmd.Flag("service") == nil:
		return base.Usagef("%s does not know the action resolve", cmd.Name())
	case err != nil:
		return base.Usagef("%v", err)
	}
	return nil
}
