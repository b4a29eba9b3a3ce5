package gpg

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// ShareFlags say where decrypted shares come from.
type ShareFlags struct {
	Program  string
	KeyFiles []string
}

// Register adds the flags; name is that of the files, which hold what.
func (s *ShareFlags) Register(cmd *cobra.Command, name, what string) {
	cmd.Flags().StringArrayVar(&s.KeyFiles, name, nil, "`FILE` with "+what+" in hex, one per line (- is standard input; repeatable)")
	cmd.Flags().StringVar(&s.Program, "gpg", "gpg", "the GnuPG `PROGRAM`")
}

// Read returns the shares in the files.
func (s *ShareFlags) Read(p *base.Process, what string) ([]string, error) {
	var all []string
	for _, name := range s.KeyFiles {
		shares, err := readShares(p, name, what)
		if err != nil {
			return nil, err
		}
		all = append(all, shares...)
	}
	return all, nil
}

// readShares reads a file with one share per line, or a share typed on a terminal.
func readShares(p *base.Process, name, what string) ([]string, error) {
	if _, ok := base.Terminal(p.Stdin); ok && name == "-" {
		share, err := base.ReadKey(p, name, what)
		return []string{share}, err
	}
	data, err := base.ReadText(p, name)
	if err != nil {
		return nil, err
	}
	all := strings.Fields(string(data))
	if len(all) == 0 {
		return nil, base.Usagef("%s is empty; it should hold the %s", name, what)
	}
	return all, nil
}

// ReadWrapped reads the encrypted shares in a document: the answer of GET /init, or
// the output of init --json or rekey --status --json.
func ReadWrapped(p *base.Process, name string) ([]string, error) {
	data, err := base.ReadText(p, name)
	if err != nil {
		return nil, err
	}
	keys, err := parseWrapped(data)
	if err != nil {
		return nil, base.Usagef("%s: %v", name, err)
	}
	return keys, nil
}

func parseWrapped(data []byte) ([]string, error) {
	var doc struct {
		Keys []string `json:"keys"`
	}
	if json.Unmarshal(data, &doc) != nil || len(doc.Keys) == 0 {
		return nil, errors.New(`it contains no encrypted keys; it should be the output of "secretstore init --json" or GET /secrets/v1/init/default`)
	}
	return doc.Keys, nil
}
