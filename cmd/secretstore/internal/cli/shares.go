package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// shareFlags say where decrypted shares come from.
type shareFlags struct {
	gpg      string
	keyFiles []string
}

func (s *shareFlags) register(cmd *cobra.Command, name, what string) {
	cmd.Flags().StringArrayVar(&s.keyFiles, name, nil, "`FILE` with "+what+" in hex, one a line (- is standard input; may be given again)")
	cmd.Flags().StringVar(&s.gpg, "gpg", "gpg", "the GnuPG `PROGRAM`")
}

// read returns the shares of the files.
func (s *shareFlags) read(p *Process, what string) ([]string, error) {
	var all []string
	for _, name := range s.keyFiles {
		shares, err := readShares(p, name, what)
		if err != nil {
			return nil, err
		}
		all = append(all, shares...)
	}
	return all, nil
}

// readShares reads a file with a share on each line, or one typed at a terminal.
func readShares(p *Process, name, what string) ([]string, error) {
	if _, ok := terminal(p.Stdin); ok && name == "-" {
		share, err := readKey(p, name, what)
		return []string{share}, err
	}
	data, err := readInput(p, name)
	if err != nil {
		return nil, err
	}
	all := strings.Fields(string(data))
	if len(all) == 0 {
		return nil, usage("%s is empty; it should hold the %s", name, what)
	}
	return all, nil
}

// readWrapped reads the encrypted shares of a document: what GET /init answers,
// init --json or rekey --status --json print.
func readWrapped(p *Process, name string) ([]string, error) {
	data, err := readInput(p, name)
	if err != nil {
		return nil, err
	}
	keys, err := parseWrapped(data)
	if err != nil {
		return nil, usage("%s: %v", name, err)
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

// majority is the threshold where none is named: one holder alone, else more
// than half of them, so that no two groups can act apart.
func majority(shares int) int { return shares/2 + 1 }
