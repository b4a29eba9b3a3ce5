package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// storeCommands are status, init, unseal, auto-unseal and seal.
func storeCommands(p *Process) []*cobra.Command {
	return []*cobra.Command{statusCommand(p), initCommand(p), unsealCommand(p), autoUnsealCommand(p), sealCommand(p)}
}

func statusCommand(p *Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether the store is initialised and unsealed, and what is wrong with it",
		Example: "  secretstore status\n" +
			"  secretstore status --json",
		Args: noArgs,
	}
	return remoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		backend, err := c.Status(ctx)
		if err != nil {
			return err
		}
		st, err := c.SealStatus(ctx)
		if err != nil {
			return err
		}
		if wantJSON(cmd) {
			return printJSON(p.Stdout, statusDocument{backend, st})
		}
		return printStatus(p, backend, st)
	})
}

// statusDocument is what status --json prints.
type statusDocument struct {
	wire.Backend
	Seal wire.SealStatus `json:"seal"`
}

func stateWord(b wire.Backend) string {
	switch {
	case !b.Initialized:
		return "uninitialized"
	case b.Sealed:
		return "sealed"
	}
	return "unsealed"
}

func printStatus(p *Process, b wire.Backend, st wire.SealStatus) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Store:\t%s (%s)\n", b.Name, b.Description)
	fmt.Fprintf(w, "Storage:\t%s\n", b.Driver)
	fmt.Fprintf(w, "State:\t%s\n", stateWord(b))
	if b.Initialized {
		fmt.Fprintf(w, "Unseal key:\t%d share(s), %d needed\n", st.Shares, st.Threshold)
		if st.Sealed && st.Progress > 0 {
			fmt.Fprintf(w, "Entered:\t%d of %d\n", st.Progress, st.Threshold)
		}
	}
	for _, warning := range st.Warnings {
		fmt.Fprintf(w, "Warning:\t%s\n", oneLine(warning))
	}
	switch stateWord(b) {
	case "uninitialized":
		fmt.Fprintln(w, "Next:\tsecretstore init --pgp-key FILE")
	case "sealed":
		fmt.Fprintln(w, "Next:\tsecretstore unseal")
	}
	return w.Flush()
}

// oneLine keeps a text of several lines from breaking the table, and control
// characters from the terminal.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), "; ")
}

func initCommand(p *Process) *cobra.Command {
	var keys []string
	cmd := &cobra.Command{
		Use:   "init --pgp-key FILE",
		Short: "Initialise an empty store for the holder of a GPG key",
		Long: "init makes the keys of an empty store. The unseal key is printed only encrypted to the given public key;\n" +
			"anybody may see it in this form. FILE is what gpg --export prints, binary, armored or in base64.\n" +
			"The store is sealed afterwards.",
		Example: "  gpg --export alice@example.com > alice.pub\n" +
			"  secretstore init --pgp-key alice.pub\n" +
			"  secretstore unseal",
		Args: noArgs,
	}
	cmd.Flags().StringSliceVar(&keys, "pgp-key", nil, "`FILE` with the public key of who may unseal (- is standard input)")
	required(cmd, "pgp-key")
	return remoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		req := wire.InitRequest{Shares: len(keys), Threshold: len(keys)}
		for _, file := range keys {
			key, err := readPublicKey(p, file)
			if err != nil {
				return err
			}
			req.PGPKeys = append(req.PGPKeys, key)
		}
		res, err := c.Init(ctx, req)
		if err != nil {
			return err
		}
		if wantJSON(cmd) {
			return printJSON(p.Stdout, res)
		}
		for i, key := range res.Keys {
			fmt.Fprintf(p.Stdout, "Unseal key for %s:\n%s\n", res.Fingerprints[i], key)
		}
		fmt.Fprintln(p.Stderr, "The store is initialised and sealed. The encrypted key above can be had again from the server.\n"+
			"Next, where the private key is: secretstore unseal")
		return nil
	})
}

// readPublicKey returns the base64 that the API takes. What is base64 already
// is passed on; the server looks into it.
func readPublicKey(p *Process, file string) (string, error) {
	data, err := readInput(p, file)
	if err != nil {
		return "", err
	}
	if len(data) == 0 {
		return "", usage("%s is empty; it should hold the output of gpg --export ID", file)
	}
	if isBase64(data) {
		return string(data), nil
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

// isBase64 reports whether data is base64 with white space anywhere. A binary
// key has bytes above 127 and an armored one has dashes.
func isBase64(data []byte) bool {
	for _, b := range data {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '+', b == '/', b == '=':
		case b == ' ', b == '\n', b == '\r', b == '\t':
		default:
			return false
		}
	}
	return true
}

func unsealCommand(p *Process) *cobra.Command {
	var keyFile, gpg string
	cmd := &cobra.Command{
		Use:   "unseal [--key-file FILE]",
		Short: "Unseal the store with your GPG key",
		Long: "unseal fetches the encrypted unseal key from the server, has the gpg on this machine decrypt it\n" +
			"(which asks for a passphrase or a card as it always does), and sends the result to the server.\n" +
			"The key is never written to a file nor shown. With --key-file it takes a key that was decrypted before.",
		Example: "  secretstore unseal\n" +
			"  secretstore unseal --key-file -      # typed, not shown",
		Args: noArgs,
	}
	cmd.Flags().StringVar(&keyFile, "key-file", "", "`FILE` with the decrypted unseal key in hex (- is standard input)")
	cmd.Flags().StringVar(&gpg, "gpg", "gpg", "the GnuPG `PROGRAM`")
	return remoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		var key string
		var err error
		if keyFile != "" {
			key, err = readKey(p, keyFile, "unseal key")
		} else {
			key, err = decryptedKey(ctx, p, c, gpg)
		}
		if err != nil {
			return err
		}
		st, err := c.Unseal(ctx, key)
		return printSealStatus(p, cmd, st, err)
	})
}

// decryptedKey fetches the encrypted unseal key and has gpg open it.
func decryptedKey(ctx context.Context, p *Process, c *client.Client, gpg string) (string, error) {
	info, err := c.InitInfo(ctx)
	if err != nil {
		return "", err
	}
	if !info.Initialized || len(info.Keys) == 0 {
		return "", fmt.Errorf("the store is not initialised yet; do it with: secretstore init --pgp-key FILE")
	}
	return gpgDecrypt(ctx, p, gpg, info.Keys[0])
}

func autoUnsealCommand(p *Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "auto-unseal",
		Short:   "Unseal the store with the bootstrap key that the server keeps",
		Example: "  secretstore auto-unseal",
		Args:    noArgs,
	}
	return remoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		st, err := c.AutoUnseal(ctx, "")
		return printSealStatus(p, cmd, st, err)
	})
}

func sealCommand(p *Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Seal the store: nobody reads a secret until it is unsealed",
		Long: "seal has all servers of the store drop their keys. They stay sealed, also after a restart,\n" +
			"until somebody unseals the store.",
		Example: "  secretstore seal",
		Args:    noArgs,
	}
	return remoteCommand(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		st, err := c.Seal(ctx)
		return printSealStatus(p, cmd, st, err)
	})
}

// printSealStatus ends the commands that seal and unseal.
func printSealStatus(p *Process, cmd *cobra.Command, st wire.SealStatus, err error) error {
	if err != nil {
		return err
	}
	if wantJSON(cmd) {
		return printJSON(p.Stdout, st)
	}
	word := "unsealed"
	if st.Sealed {
		word = "sealed"
	}
	if st.Sealed && st.Progress > 0 {
		word = fmt.Sprintf("sealed; %d of %d shares entered", st.Progress, st.Threshold)
	}
	_, err = fmt.Fprintf(p.Stdout, "The store is %s.\n", word)
	return err
}
