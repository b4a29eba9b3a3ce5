package base

import (
	"context"
	"fmt"
	"net/url"

	"secretstore/acl"
	"secretstore/api/client"
)

// ListNames returns the names below a folder, each of which is a path: what a
// server says becomes lines on a terminal, names of files and further requests,
// and must not lead out of the folder.
func ListNames(ctx context.Context, c *client.Client, folder acl.Path) ([]string, error) {
	names, err := c.List(ctx, folder.String())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if p, err := acl.ParsePath(url.PathEscape(name)); err != nil || p.String() != name {
			return nil, fmt.Errorf("the server lists %q, which no secret can be called; is it a Secret Store?", name)
		}
	}
	return names, nil
}

// BadPath says what the server would, before anything is sent or asked for.
const BadPath = "invalid secret path: write components of letters, digits, '.', '_' and '-', separated by '/', as in team/db-password"

// SecretPath checks a path as it was typed, which is not percent-encoded.
func SecretPath(arg string) (string, error) {
	p, err := acl.ParsePath(url.PathEscape(arg))
	if err != nil {
		return "", Usagef("%s", BadPath)
	}
	return p.String(), nil
}
