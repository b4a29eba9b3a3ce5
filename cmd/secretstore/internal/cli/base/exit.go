package base

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/config"
)

// The exit statuses, which scripts rely on.
const (
	ExitOK       = 0
	ExitFailure  = 1
	exitUsage    = 2
	exitNotFound = 3
	exitDenied   = 4
	exitSealed   = 5

	ExitNotExecutable = 126 // of exec, as shells have it
	ExitNoCommand     = 127
)

// outcomes gives each refusal of the server its exit status, and says what to
// do about it on this side. The first that fits counts.
var outcomes = []struct {
	is     error
	status int
	hint   string
}{
	{client.ErrNotFound, exitNotFound, ""},
	{client.ErrUnauthorized, exitDenied, "Give a valid token with --token-file FILE, or in SECRETSTORE_TOKEN_FILE or SECRETSTORE_TOKEN."},
	{client.ErrDenied, exitDenied, ""},
	{client.ErrSealed, exitSealed, "Unseal it with: secretstore unseal"},
	{client.ErrUninitialized, ExitFailure, "Initialise it with: secretstore init --pgp-key FILE"},
	{client.ErrChanged, ExitFailure, "Nothing was written. See who was first with: secretstore history PATH"},
	{client.ErrExists, ExitFailure, "Replace its value with: secretstore update PATH (or put)"},
	{context.DeadlineExceeded, ExitFailure, "The server did not answer in time; wait longer with --timeout, or look at its log."},
}

// usageError is a mistake in the command itself.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func Usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// failure is an error of a command that was understood. All others come from
// the parsing of flags and arguments and are usage errors.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns what failed.
func (f *failure) Unwrap() error { return f.err }

// Ended is no error of a command but the exit status of the program that it ran,
// or of the signal that stopped it.
type Ended struct{ Status int }

func (e *Ended) Error() string { return fmt.Sprintf("exit status %d", e.Status) }

// CannotRun is a program that is not there or does not start, with the status
// that shells give it.
type CannotRun struct {
	Status int
	Err    error
}

func (c *CannotRun) Error() string { return c.Err.Error() }

// Report prints the error with what to do next, and returns the exit status.
func Report(w io.Writer, cmd *cobra.Command, err error) int {
	if e, ok := errors.AsType[*Ended](err); ok {
		return e.Status
	}
	var problems config.Error
	if errors.As(err, &problems) {
		fmt.Fprintf(w, "secretstore: %d problem(s) in the configuration:\n", len(problems))
		for _, p := range problems {
			fmt.Fprintf(w, "  %s\n", p)
		}
		return exitUsage
	}
	fmt.Fprintf(w, "secretstore: %v\n", err)
	var failed *failure
	if !errors.As(err, &failed) {
		fmt.Fprintf(w, "See: %s --help\n", cmd.CommandPath())
		return exitUsage
	}
	if c, ok := errors.AsType[*CannotRun](err); ok {
		return c.Status
	}
	for _, row := range outcomes {
		if errors.Is(err, row.is) {
			if row.hint != "" {
				fmt.Fprintln(w, row.hint)
			}
			return row.status
		}
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		fmt.Fprintln(w, "Is the server running there? Name another with --server URL or SECRETSTORE_SERVER; start one to try with: secretstore server --dev")
	}
	return ExitFailure
}
