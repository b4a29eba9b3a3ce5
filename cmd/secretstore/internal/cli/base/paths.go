package base

import (
	"context"
	"fmt"
	"net/url"

	"secretstore/acl"
	"secretstore/api/client"
)

// ListNames returns the names of the secrets below a folder. It refuses a name that
// is not a valid path: names become lines on a terminal, file names and further
// requests, and must not lead out of the folder.
func ListNames(ctx context.Context, c *client.Client, folder acl.Path) ([]string, error) {
	names, err := c.List(ctx, folder.String())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if p, err := acl.ParsePath(url.PathEscape(name)); err != nil || p.String() != name {
			return nil, fmt.Errorf("the server lists %q, which is not a valid name; is it a Secret Store?", name)
		}
	}
	return names, nil
}

// BadPath is the error text for a path that the server would refuse.
const BadPath = "invalid secret path: write components of letters, digits, '.', '_' and '-', separated by '/', as in team/db-password"

// SecretPath checks a path as the user typed it, not percent-encoded.
func SecretPath(arg string) (string, error) {
	p, err := acl.ParsePath(url.PathEscape(arg))
	if err != nil {
		return "", Usagef("%s", BadPath)
	}
	return p.String(), nil
}
