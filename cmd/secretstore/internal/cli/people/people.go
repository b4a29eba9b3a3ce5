// Package people holds the commands with which people and services sign in, and those
// that manage accounts, groups and grants. What a command did goes to standard error,
// or with --json to standard output. A password comes from the terminal, a file or
// standard input; no argument holds one.
//
// It is larger than other packages because each endpoint of the IAM has its command.
package people

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// SignIn returns the commands with which one signs in and out.
func SignIn(p *base.Process) []*cobra.Command {
	return []*cobra.Command{loginCommand(p), logoutCommand(p), whoamiCommand(p)}
}

// body is what a command does with a server.
type body func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error

// remote makes cmd a command that any server can answer, and explains refusals of the
// identities.
func remote(p *base.Process, cmd *cobra.Command, do body) *cobra.Command {
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		return explained(do(ctx, c, cmd, args))
	})
}

// hasNone is what to do about a server without identities.
const hasNone = "The server has no accounts (--iam none), or is of an earlier release."

// unknown are the beginnings of the codes that say that something does not exist.
var unknown = []string{"ERR_UNKNOWN_", "ERR_USER_NOT_IN_", "ERR_GROUP_NOT_IN_", "ERR_ACTION_NOT_YET_STORED"}

// explained gives errors of the identities their exit status and hint.
func explained(err error) error {
	var hinted *base.Hinted
	e, ok := errors.AsType[*client.Error](err)
	if !ok || errors.As(err, &hinted) {
		return err
	}
	if isUnknown(e) {
		return &base.WithStatus{Status: base.ExitNotFound, Err: err}
	}
	switch {
	case errors.Is(e, client.ErrNotFound):
		return &base.Hinted{Err: err, Hint: hasNone}
	case errors.Is(e, client.ErrExists):
		return &base.Hinted{Err: err}
	}
	return err
}

// hasCode reports that the server refused with this code.
func hasCode(err error, code string) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && e.Code == code
}

func isUnknown(e *client.Error) bool {
	for _, beginning := range unknown {
		if strings.HasPrefix(e.Code, beginning) {
			return true
		}
	}
	return false
}

// done says what was done, or prints v as JSON.
func done(p *base.Process, cmd *cobra.Command, v any, format string, args ...any) error {
	if base.WantJSON(cmd) {
		return base.PrintJSON(p.Stdout, v)
	}
	fmt.Fprintf(p.Stderr, format+"\n", args...)
	return nil
}

// table prints rows below a heading. What comes from the server cannot control the
// terminal.
func table(p *base.Process, heading string, rows [][]string) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(strings.Fields(heading), "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = cmp.Or(base.OneLine(cell), "-")
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
