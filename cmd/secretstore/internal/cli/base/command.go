// Package base holds what the commands share: flags that name the server and the
// token, input and output, errors and exit statuses. Values go to standard output
// untouched. Everything meant for people goes to standard error, errors together
// with what to do next. No command puts a secret into an argument list or a
// temporary file.
package base

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"secretstore/seal/pgp"
)

// Process is the program's view of its environment.
type Process struct {
	Args   []string // without the name of the program
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	// TestOnlyGenerateKey makes the bootstrap key of a server. It is nil except in
	// tests, which start many servers: making a key takes seconds.
	TestOnlyGenerateKey func() (*pgp.PrivateKey, error)
	// TestOnlyPasswordRounds are those of a server's password hashes. It is 0
	// except in tests, which sign in often: a sign-in takes half a second.
	TestOnlyPasswordRounds int
}

// SignalContext returns a context that SIGINT or SIGTERM ends. A second signal ends the
// process at once.
func SignalContext() (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Run adapts the body of a command. See Failed about its errors.
func Run(body func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error { return Failed(body(cmd, args)) }
}

// Failed marks an error of a valid command: it is not a usage error, unless it
// comes from Usagef.
func Failed(err error) error {
	var bad *usageError
	if err == nil || errors.As(err, &bad) {
		return err
	}
	return &failure{err}
}
