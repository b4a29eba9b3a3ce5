package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// gpgDecrypt opens one OpenPGP message, given in hex, with the gpg of the user
// and whatever keys, agents and smart cards it has. The message goes in and the
// key comes out through pipes: neither is ever in an argument or a file.
func gpgDecrypt(ctx context.Context, p *Process, program, messageHex string) (string, error) {
	message, err := hex.DecodeString(messageHex)
	if err != nil {
		return "", errors.New("the server sent an encrypted key that is not hex; is --server a Secret Store?")
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("cannot find %s; install GnuPG, or decrypt the key elsewhere and use --key-file", program)
	}
	cmd := exec.CommandContext(ctx, path, "--quiet", "--decrypt")
	cmd.Stdin = bytes.NewReader(message)
	cmd.Stderr = p.Stderr // gpg says itself what it misses, and asks
	plain, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("gpg could not decrypt the unseal key (%w); run this where the private key is, "+
			"or give the decrypted key with --key-file", err)
	}
	return strings.TrimSpace(string(plain)), nil
}
