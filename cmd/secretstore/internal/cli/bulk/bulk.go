// Package bulk holds the commands about many secrets at once, import and export,
// and writes the secrets of a backup for restore.
package bulk

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/migrate"
)

// Commands returns the commands about many secrets.
func Commands(p *base.Process) []*cobra.Command {
	return []*cobra.Command{importCommand(p), exportCommand(p)}
}

// bulkFlags are the flags that import and export share. Both may run for a long
// time, so --timeout applies to each secret.
type bulkFlags struct{ remote base.Remote }

// atOnce is how many secrets are read or written at a time.
const atOnce = 8

// command makes cmd a command that any server can answer, without a limit in time.
func (b *bulkFlags) command(p *base.Process, cmd *cobra.Command, body func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error) *cobra.Command {
	b.remote.Register(cmd)
	b.remote.CompleteArguments(p, cmd)
	cmd.Flags().Lookup("timeout").Usage = "give up if one secret takes longer than `DURATION`"
	cmd.RunE = base.Run(func(cmd *cobra.Command, args []string) error {
		ctx, stop := base.SignalContext()
		defer stop()
		b.remote.Reread = true
		c, err := b.remote.Connect(p)
		if err != nil {
			return err
		}
		defer c.Close()
		return body(ctx, c, cmd, args)
	})
	return cmd
}

// patiently calls what, and repeats it while the server is unreachable.
func (b *bulkFlags) patiently(ctx context.Context, what func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, b.remote.Timeout)
	defer cancel()
	_, err := client.Retry(ctx, client.Retries{MaxPause: base.MaxPause}, func(ctx context.Context) (struct{}, error) { return struct{}{}, what(ctx) })
	return err
}

// hopeless reports whether the error of one secret would repeat for all others.
func hopeless(err error) bool {
	return errors.Is(err, client.ErrSealed) || errors.Is(err, client.ErrUninitialized) || errors.Is(err, client.ErrUnauthorized) || client.Temporary(err) || migrate.Hopeless(err)
}

// failed is a secret that could not be read or written.
type failed struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

// printFailed prints a table, and returns the error that there are failures.
func printFailed(p *base.Process, all []failed, verb string) error {
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(p.Stderr, 0, 0, 2, ' ', 0)
	for _, f := range all {
		fmt.Fprintf(w, "%s\t%s\n", base.OneLine(f.Path), base.OneLine(f.Error))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return fmt.Errorf("%d secret(s) could not be %s", len(all), verb)
}
