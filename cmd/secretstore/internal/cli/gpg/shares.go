package gpg

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// ShareFlags say where decrypted shares come from.
type ShareFlags struct {
	Program  string
	KeyFiles []string
}

func (s *ShareFlags) Register(cmd *cobra.Command, name, what string) {
	cmd.Flags().StringArrayVar(&s.KeyFiles, name, nil, "`FILE` with "+what+" in hex, one a line (- is standard input; may be given again)")
	cmd.Flags().StringVar(&s.Program, "gpg", "gpg", "the GnuPG `PROGRAM`")
}

// Read returns the shares of the files.
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

// readShares reads a file with a share on each line, or one typed at a terminal.
func readShares(p *base.Process, name, what string) ([]string, error) {
	if _, ok := base.Terminal(p.Stdin); ok && name == "-" {
		share, err := base.ReadKey(p, name, what)
		return []string{share}, err
	}
	data, err := base.ReadInput(p, name)
	if err != nil {
		return nil, err
	}
	all := strings.Fields(string(data))
	if len(all) == 0 {
		return nil, base.Usagef("%s is empty; it should hold the %s", name, what)
	}
	return all, nil
}

// ReadWrapped reads the encrypted shares of a document: what GET /init answers,
// init --json or rekey --status --json print.
func ReadWrapped(p *base.Process, name string) ([]string, error) {
	data, err := base.ReadInput(p, name)
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
		return nil, fmt.Errorf(`it holds no encrypted keys; save there what "secretstore init --json" or GET /secrets/v1/init/default prints`)
	}
	return doc.Keys, nil
}
