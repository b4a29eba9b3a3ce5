package base

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/config"
)

// The exit statuses, which scripts rely on.
const (
	ExitOK       = 0
	ExitFailure  = 1
	exitUsage    = 2
	ExitNotFound = 3
	ExitDenied   = 4
	ExitSealed   = 5
	// ExitUnhealthy is of status alone.
	ExitUnhealthy = 6

	ExitNotExecutable = 126 // of exec, as in shells
	ExitNoCommand     = 127
)

// outcomes gives the exit status for each error of the server, what to say in place
// of the server's own words, which are for users of the API, and a hint what to do
// about it. The first that matches counts.
var outcomes = []struct {
	is     error
	status int
	text   string // "" keeps the server's words
	hint   string
}{
	{client.ErrNotFound, ExitNotFound, "", "See what exists with: secretstore list. A deleted secret, and earlier versions: secretstore history PATH"},
	{client.ErrUnauthorized, ExitDenied, "", "Sign in with: secretstore login UID, or give a valid token with --token-file FILE, or in SECRETSTORE_TOKEN_FILE or SECRETSTORE_TOKEN."},
	{client.ErrDenied, ExitDenied, "", ""},
	{client.ErrSealed, ExitSealed, "the secret store is sealed", "Unseal it with: secretstore unseal (with your GPG key), or secretstore auto-unseal (if the server keeps a bootstrap key)"},
	{client.ErrCreatingKey, ExitFailure, "the server is creating the key of a new store", "That takes seconds, or minutes on a slow machine; see: secretstore status"},
	{client.ErrUninitialized, ExitFailure, "the secret store is not initialized", "Initialize it with: secretstore init --pgp-key FILE"},
	{client.ErrChanged, ExitFailure, "", "Nothing was written. Somebody else changed the secret first; see: secretstore history PATH"},
	{client.ErrExists, ExitFailure, "", "Replace its value with: secretstore update PATH (or put)"},
	{client.ErrUnknown, ExitFailure, "", "The request may have taken effect, or may still do so: check before you repeat it."},
	{context.DeadlineExceeded, ExitFailure, "", "The server did not answer in time; wait longer with --timeout, or see its log."},
}

// secretExists is what the server says of a secret that exists, unlike of all other
// conflicts.
const secretExists = "the secret already exists"

// restWords are what the server's texts say to users of the API, after the words
// that this program keeps.
var restWords = regexp.MustCompile(`(the secret, or this version of it, does not exist|a deleted secret of this name does not exist|` +
	`the secret does not exist|the secret already exists|no valid authentication token): .*`)

// allFindings is how users of the API see all that is wrong with a definition.
var allFindings = regexp.MustCompile("; POST the same to [^ ]*, or run `secretstore check`, for all findings")

// whenAgain is how users of the API see when to try again.
var whenAgain = regexp.MustCompile("(wait as long|try again) as Retry-After says")

// inCommands returns the text of err without what only users of the API need: the
// status of an answer, and what to send instead.
func inCommands(err error, text string) string {
	whole := err.Error()
	if e, ok := errors.AsType[*client.Error](err); ok {
		if strings.HasPrefix(e.Description, "the answer is not from a secret store") {
			return whole
		}
		if text == "" {
			text = cmp.Or(e.Description, e.Title)
			text = restWords.ReplaceAllString(text, "$1")
			text = allFindings.ReplaceAllString(text, "; see all findings with: secretstore check FILE")
			text = whenAgain.ReplaceAllString(text, "try again in "+e.RetryAfter.String())
		}
		return strings.ReplaceAll(whole, e.Error(), text) // of several servers that say the same
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		if server, bad := url.Parse(e.URL); bad == nil && server.Host != "" {
			return strings.ReplaceAll(whole, e.Error(), fmt.Sprintf("%s://%s: %v", server.Scheme, server.Host, e.Err))
		}
	}
	return whole
}

// usageError is a mistake in the command itself.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// Usagef returns an error that ends the program with exitUsage.
func Usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// failure is an error of a valid command. All other errors come from parsing flags
// and arguments, and are usage errors.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns what failed.
func (f *failure) Unwrap() error { return f.err }

// Ended is not a failure: it carries the exit status of the program that the
// command ran, or of the signal that stopped it.
type Ended struct{ Status int }

func (e *Ended) Error() string { return fmt.Sprintf("exit status %d", e.Status) }

// WithStatus is an error that ends the program with a status which does not follow
// from it.
type WithStatus struct {
	Status int
	Err    error
}

func (s *WithStatus) Error() string { return s.Err.Error() }

// CannotRun says that a program is missing or does not start, with the exit status
// that shells use for that.
type CannotRun struct {
	Status int
	Err    error
}

func (c *CannotRun) Error() string { return c.Err.Error() }

// Hinted is an error with its own hint what to do next, in place of the general one.
type Hinted struct {
	Err  error
	Hint string
}

func (h *Hinted) Error() string { return h.Err.Error() }

// Unwrap returns the error without the hint.
func (h *Hinted) Unwrap() error { return h.Err }

// Report prints an error with a hint what to do next, and returns the exit status. An
// error may repeat what a server or a file says.
func Report(w io.Writer, cmd *cobra.Command, err error) int {
	say := func(format string, args ...any) { fmt.Fprintln(w, Lines(fmt.Sprintf(format, args...))) }
	if e, ok := errors.AsType[*Ended](err); ok {
		return e.Status
	}
	if s, ok := errors.AsType[*WithStatus](err); ok {
		Report(w, cmd, Failed(s.Err))
		return s.Status
	}
	var problems config.Error
	if errors.As(err, &problems) {
		say("secretstore: %d problem(s) in the configuration:", len(problems))
		for _, p := range problems {
			say("  %s", p)
		}
		return exitUsage
	}
	var failed *failure
	if !errors.As(err, &failed) {
		say("secretstore: %s\nSee: %s --help", mistake(cmd, err), cmd.CommandPath())
		return exitUsage
	}
	if c, ok := errors.AsType[*CannotRun](err); ok {
		say("secretstore: %v", err)
		return c.Status
	}
	for _, row := range outcomes {
		if errors.Is(err, row.is) {
			say("secretstore: %s", inCommands(err, row.text))
			hint := row.hint
			if row.is == client.ErrExists && !strings.Contains(err.Error(), secretExists) {
				hint = "" // another conflict
			}
			if own, ok := errors.AsType[*Hinted](err); ok {
				hint = own.Hint
			}
			if hint != "" {
				say("%s", hint)
			}
			return row.status
		}
	}
	say("secretstore: %s", inCommands(err, ""))
	if _, ok := errors.AsType[*url.Error](err); ok {
		say("Is the server running there? Name another with --server URL or SECRETSTORE_SERVER.")
	}
	return ExitFailure
}
