package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/seal"
)

func getCommand(p *base.Process) *cobra.Command {
	var out, service string
	var version uint64
	cmd := &cobra.Command{
		Use:   "get PATH [--version N] [-o FILE]",
		Short: "Print a secret",
		Long: "get prints the value exactly as it was stored, or writes it to a file of mode 0600. With --json it prints\n" +
			"a JSON document, in which a binary value is base64.\n\n" +
			"On a terminal, get ends the line after the value, and refuses a value with bytes that could disturb the\n" +
			"terminal; -o - prints exactly the stored bytes there too.\n\n" +
			"The path of the file must not lead through a symbolic link, a folder of another user, or one that everybody\n" +
			"can write to. A pipe or device must belong to root or to you.",
		Example: "  secretstore get team/db-password\n" +
			"  secretstore get team/keytab -o service.keytab\n" +
			"  secretstore get team/db-password --json | jq -r .value",
		Args: base.ExactArgs(1, "name the PATH of the secret"),
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to `FILE` (mode 0600); - is standard output, also for binary values on a terminal")
	cmd.Flags().Uint64Var(&version, "version", 0, "print version `N` instead of the current one; see history")
	cmd.Flags().StringVar(&service, "service", "", "read on behalf of the service `ID`, such as /group/app")
	return base.RemoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		path, err := base.SecretPath(args[0])
		if err != nil {
			return err
		}
		var o client.GetOptions
		if cmd.Flags().Changed("service") {
			o.Service = &service
		}
		if o.Version = version; version == 0 && cmd.Flags().Changed("version") {
			return base.Usagef("versions start at 1; see: secretstore history %s", path)
		}
		s, err := c.Get(ctx, path, o)
		if err == nil && s.Binary && base.WantJSON(cmd) && version == 0 && o.Service == nil {
			// Without them, for a service's own token.
			if whole, err := c.GetWhole(ctx, path); err == nil {
				s = whole
			}
		}
		if errors.Is(err, client.ErrNotFound) && o.Service == nil {
			return explainMissing(ctx, c, path, err)
		}
		if err != nil {
			return err
		}
		data := s.Value
		if base.WantJSON(cmd) {
			data, err = secretJSON(s)
			if err != nil {
				return err
			}
		}
		if out != "" && out != "-" {
			return base.WriteFile(out, data)
		}
		if _, ok := base.Terminal(p.Stdout); ok && out == "" {
			if data, err = forTerminal(data); err != nil {
				return err
			}
		}
		if _, err := p.Stdout.Write(data); err != nil {
			return fmt.Errorf("write the value: %w", err)
		}
		return nil
	})
}

// forTerminal ends a value with a newline. It refuses one that could control the
// terminal.
func forTerminal(data []byte) ([]byte, error) {
	if !printable(data) {
		return nil, base.Usagef("the value is binary (%d bytes) and could disturb the terminal; write it to a file with -o FILE, or print it anyway with -o -", len(data))
	}
	if !bytes.HasSuffix(data, []byte("\n")) {
		data = append(data[:len(data):len(data)], '\n')
	}
	return data, nil
}

// printable reports whether data is text without control characters other than those
// of lines.
func printable(data []byte) bool {
	control := func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0
	}
	return utf8.Valid(data) && !bytes.ContainsFunc(data, control)
}

// explainMissing adds to missing, if it can, why there is no such secret and what to
// do. What it asks for may be refused to a caller who may read the secret.
func explainMissing(ctx context.Context, c *client.Client, path string, missing error) error {
	versions, err := c.Versions(ctx, path)
	switch {
	case err == nil && versions.Deleted != nil:
		return &base.Hinted{Err: missing, Hint: fmt.Sprintf("The secret is deleted. Until %s you can restore it with: secretstore undelete %s",
			versions.Deleted.Add(seal.UndeleteFor).Format(time.RFC3339), path)}
	case err == nil:
		return &base.Hinted{Err: missing, Hint: "See the versions that are kept with: secretstore history " + path}
	}
	page, err := c.ListPage(ctx, path, "", 1)
	if err == nil && len(page.Array) > 0 {
		return &base.Hinted{Err: missing, Hint: fmt.Sprintf("%s is a folder; see what is in it with: secretstore list %s", path, path)}
	}
	return missing
}

// secretDocument is what get --json prints.
type secretDocument struct {
	Value string `json:"value"`
	// Encoding is "base64" for a binary value, else absent.
	Encoding    string   `json:"encoding,omitempty"`
	Description string   `json:"description,omitempty"`
	Labels      []string `json:"labels,omitempty"`
	Author      string   `json:"author,omitempty"`
	Created     string   `json:"created,omitempty"`
}

func secretJSON(s client.Secret) ([]byte, error) {
	doc := secretDocument{Value: string(s.Value), Description: s.Description, Labels: s.Labels, Author: s.Author}
	if s.Binary {
		doc.Value, doc.Encoding = base64.StdEncoding.EncodeToString(s.Value), "base64"
	}
	if !s.Created.IsZero() {
		doc.Created = s.Created.Format(time.RFC3339)
	}
	var b bytes.Buffer
	err := base.PrintJSON(&b, doc)
	return b.Bytes(), err
}
