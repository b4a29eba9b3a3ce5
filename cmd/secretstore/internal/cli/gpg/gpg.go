// Package gpg has the user's own gpg decrypt shares of the unseal key. Messages
// and shares pass through pipes; nothing is written to a file.
package gpg

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// errNotMine: the user's gpg has no private key for the message.
var errNotMine = errors.New("gpg has no private key for it")

// maxStatus is how much of gpg's status lines is read, in bytes.
const maxStatus = 64 << 10

// gpgDecrypt decrypts one OpenPGP message, given in hex, with the user's gpg and its
// keys, agents and smart cards. Message and key pass through pipes and are never in
// an argument or a file. If the error is errNotMine, gpg's messages are dropped.
func gpgDecrypt(ctx context.Context, p *base.Process, program, messageHex string) (string, error) {
	message, err := hex.DecodeString(messageHex)
	if err != nil {
		return "", errors.New("the server sent an encrypted key that is not hex; is it a Secret Store?")
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("cannot find %s; install GnuPG, or decrypt the key elsewhere and use --key-file", program)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("run gpg: %w", err)
	}
	defer read.Close() // only read
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "--quiet", "--status-fd", "3", "--decrypt") // 3 is the first of ExtraFiles
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = bytes.NewReader(message), &said, []*os.File{write}
	status := make(chan []byte, 1)
	go func() {
		lines, _ := io.ReadAll(io.LimitReader(read, maxStatus)) // the lines so far are enough
		io.Copy(io.Discard, read)                               // so that gpg never blocks
		status <- lines
	}()
	plain, err := cmd.Output()
	write.Close()
	read.SetReadDeadline(time.Now().Add(time.Second)) // an agent that gpg started may still have it open
	if lines := <-status; err != nil && !hasSecretKey(ctx, path, lines) {
		return "", errNotMine
	}
	p.Stderr.Write(said.Bytes()) // gpg's own messages
	if err != nil {
		return "", fmt.Errorf("gpg could not decrypt the unseal key (%w)", err)
	}
	return strings.TrimSpace(string(plain)), nil
}

// hasSecretKey reports whether gpg has the private key of the message whose decryption
// failed with these status lines, or knows the smart card with it. Some versions of
// GnuPG 2.2 do not print NO_SECKEY.
func hasSecretKey(ctx context.Context, program string, status []byte) bool {
	_, rest, ok := strings.Cut(string(status), "[GNUPG:] ENC_TO ")
	id, _, _ := strings.Cut(rest, " ")
	if !ok || len(id) != 16 || strings.Trim(id, "0123456789ABCDEF") != "" {
		return true // then show gpg's own messages
	}
	return exec.CommandContext(ctx, program, "--batch", "--quiet", "--with-colons", "--list-secret-keys", id).Run() == nil
}

// Holder is the user, with the private keys in their gpg.
type Holder struct {
	P       *base.Process
	Program string
}

// ErrNoKey: gpg works, but has the private key of none of the holders.
var ErrNoKey = errors.New("it has no private key of any holder")

// Each decrypts the shares that this holder can decrypt, one at a time, and passes
// them and their indexes to use until it is done. It returns how many it decrypted.
// It is an error if there were none (ErrNoKey if they belong to others); shares of
// other holders beside one's own are not.
func (h Holder) Each(ctx context.Context, keys []string, use func(i int, share string) (done bool, err error)) (int, error) {
	opened := 0
	var failed error
	for i, message := range keys {
		share, err := gpgDecrypt(ctx, h.P, h.Program, message)
		if ctx.Err() != nil {
			return opened, ctx.Err()
		}
		if err != nil {
			if failed == nil || errors.Is(failed, errNotMine) {
				failed = err
			}
			continue
		}
		if !shareForm(share) {
			return opened, errors.New("gpg decrypted something that is not a share of an unseal key; it was not sent. " +
				"Somebody may have replaced the encrypted key by another message")
		}
		opened++
		if done, err := use(i, share); done || err != nil {
			return opened, err
		}
	}
	switch {
	case opened > 0 || failed == nil:
		return opened, nil
	case errors.Is(failed, errNotMine):
		failed = fmt.Errorf("gpg could not decrypt the unseal key: %w", ErrNoKey)
	}
	return 0, fmt.Errorf("%w; run this on the machine with the private key, or give the decrypted key with --key-file", failed)
}

// shareForm reports whether text looks like a share. Anybody who can write to the
// storage could put another message to the holder there, to have it decrypted and
// sent. Only shares leave this program.
func shareForm(text string) bool {
	if len(text) < 64 || len(text) > 66 {
		return false
	}
	_, err := hex.DecodeString(text)
	return err == nil
}

// Opens checks that gpg can decrypt the file called name, and that its content has
// the SHA-256 sum.
func (h Holder) Opens(ctx context.Context, name string, sum []byte) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	read := sha256.New()
	cmd := exec.CommandContext(ctx, h.Program, "--quiet", "--decrypt")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, read, h.P.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("gpg could not decrypt it (%w)", err)
	}
	if !bytes.Equal(read.Sum(nil), sum) {
		return errors.New("gpg decrypted something else from it")
	}
	return nil
}
