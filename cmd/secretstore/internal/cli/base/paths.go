package base

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/api/client"
)

// ListNames returns the names of the secrets below a folder. It refuses a name that
// is not a valid path: names become lines on a terminal, file names and further
// requests, and must not lead out of the folder. The list is incomplete if the
// server skips damaged records; a command that acts on all secrets of the folder
// asks Incomplete.Check.
func ListNames(ctx context.Context, c *client.Client, folder acl.Path) (names []string, incomplete bool, err error) {
	names, err = c.List(ctx, folder.String())
	return checkNames(names, err)
}

// ListDeletedNames is ListNames of the secrets that undelete can restore.
func ListDeletedNames(ctx context.Context, c *client.Client, folder acl.Path) (names []string, incomplete bool, err error) {
	names, err = c.ListDeleted(ctx, folder.String())
	if errors.Is(err, client.ErrNotFound) {
		return nil, false, errors.New("the server cannot list deleted secrets: it is of an earlier release")
	}
	return checkNames(names, err)
}

func checkNames(listed []string, err error) (names []string, incomplete bool, _ error) {
	names = listed
	incomplete = errors.Is(err, client.ErrIncomplete)
	if err != nil && !incomplete {
		return nil, false, err
	}
	return names, incomplete, CheckNames(names)
}

// CheckNames returns an error if a name that the server sent is not one.
func CheckNames(names []string) error {
	for _, name := range names {
		if p, err := acl.ParsePath(url.PathEscape(name)); err != nil || p.String() != name {
			return fmt.Errorf("the server lists %q, which is not a valid name; is it a Secret Store?", name)
		}
	}
	return nil
}

// Incomplete is the flag of the commands that act on all secrets below a path:
// they refuse a list from which secrets may be missing, unless it allows that.
type Incomplete struct{ allow bool }

// Register adds the flag.
func (i *Incomplete) Register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&i.allow, "allow-incomplete", false, "continue without the secrets that the server cannot list because of damaged records")
}

// incompleteText is why a list is not to be relied on.
const incompleteText = "the list is incomplete: damaged records of the storage are skipped, and secrets may be missing; " +
	"a superuser can see which, with: secretstore keys doctor"

// Check returns an error for an incomplete list, or warns if that is allowed.
func (i *Incomplete) Check(p *Process, incomplete bool) error {
	if incomplete && !i.allow {
		return errors.New(incompleteText + "\nTo continue with the others, add --allow-incomplete")
	}
	WarnIncomplete(p, incomplete)
	return nil
}

// WarnIncomplete says on standard error that a list is incomplete, if it is.
func WarnIncomplete(p *Process, incomplete bool) {
	if incomplete {
		fmt.Fprintln(p.Stderr, "secretstore: warning: "+incompleteText)
	}
}

// BadPath is the error text for a path that the server would refuse.
const BadPath = "invalid secret path: write components of letters, digits, '.', '_' and '-', separated by '/', as in team/db-password"

// Folder checks the path of a folder as the user typed it, not percent-encoded. A flag
// that it is from, such as "--path", is named in the error; "" if it is an argument.
func Folder(flag, arg string) (acl.Path, error) {
	p, err := acl.ParseFolder(url.PathEscape(arg))
	switch {
	case err != nil && flag != "":
		return acl.Path{}, Usagef("%s: %s", flag, BadPath)
	case err != nil:
		return acl.Path{}, Usagef("%s", BadPath)
	}
	return p, nil
}

// SecretPath checks a path as the user typed it, not percent-encoded.
func SecretPath(arg string) (string, error) {
	p, err := acl.ParsePath(url.PathEscape(arg))
	if err != nil {
		return "", Usagef("%s", BadPath)
	}
	return p.String(), nil
}
