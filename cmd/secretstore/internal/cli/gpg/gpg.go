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

// errNotMine: the gpg of the user has no private key for the message.
var errNotMine = errors.New("gpg has no private key for it")

// maxStatus bounds what is read of gpg's messages.
const maxStatus = 64 << 10

// gpgDecrypt opens one OpenPGP message, given in hex, with the gpg of the user
// and whatever keys, agents and smart cards it has. The message goes in and the
// key comes out through pipes: neither is ever in an argument or a file.
// errNotMine; what gpg said about that is dropped.
func gpgDecrypt(ctx context.Context, p *base.Process, program, messageHex string) (string, error) {
	message, err := hex.DecodeString(messageHex)
	if err != nil {
		return "", errors.New("the server sent an encrypted key that is not hex; is --server a Secret Store?")
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
		lines, _ := io.ReadAll(io.LimitReader(read, maxStatus)) // what came is enough
		io.Copy(io.Discard, read)                               // so that gpg is never held up
		status <- lines
	}()
	plain, err := cmd.Output()
	write.Close()
	read.SetReadDeadline(time.Now().Add(time.Second)) // an agent that gpg started may have it still
	if lines := <-status; err != nil && !hasSecretKey(ctx, path, lines) {
		return "", errNotMine
	}
	p.Stderr.Write(said.Bytes()) // gpg says itself what it misses
	if err != nil {
		return "", fmt.Errorf("gpg could not decrypt the unseal key (%w)", err)
	}
	return strings.TrimSpace(string(plain)), nil
}

// hasSecretKey reports whether gpg has, or knows the smart card of, the private
// key of the message whose decryption failed with these status lines. Its own
// NO_SECKEY is not to be had from every GnuPG 2.2.
func hasSecretKey(ctx context.Context, program string, status []byte) bool {
	_, rest, ok := strings.Cut(string(status), "[GNUPG:] ENC_TO ")
	id, _, _ := strings.Cut(rest, " ")
	if !ok || len(id) != 16 || strings.Trim(id, "0123456789ABCDEF") != "" {
		return true // then what gpg said is the best there is to tell
	}
	return exec.CommandContext(ctx, program, "--batch", "--quiet", "--with-colons", "--list-secret-keys", id).Run() == nil
}

// Holder is the person who types, with the private keys of their gpg.
type Holder struct {
	P       *base.Process
	Program string
}

// Each decrypts the encrypted shares that this holder can, one at a time, and
// hands them to use until that is done with them. It returns how many were
// opened. That none could be is an error; that others could not is not, for
// they are of other holders.
func (h Holder) Each(ctx context.Context, keys []string, use func(share string) (done bool, err error)) (int, error) {
	opened := 0
	var failed error
	for _, message := range keys {
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
			return opened, errors.New("what gpg decrypted is no share of an unseal key, and was not sent: " +
				"somebody may have put another message in the place of the encrypted key")
		}
		opened++
		if done, err := use(share); done || err != nil {
			return opened, err
		}
	}
	switch {
	case opened > 0 || failed == nil:
		return opened, nil
	case errors.Is(failed, errNotMine):
		failed = errors.New("gpg could not decrypt the unseal key: it has the private key of none of its holders")
	}
	return 0, fmt.Errorf("%w; run this where the private key is, or give the decrypted key with --key-file", failed)
}

// shareForm reports whether text looks like a share. Whoever can write to the
// storage could put any message to the holder there, to have it decrypted and
// sent: nothing else than a share leaves this program.
func shareForm(text string) bool {
	if len(text) < 64 || len(text) > 66 {
		return false
	}
	_, err := hex.DecodeString(text)
	return err == nil
}

// Opens has gpg decrypt a file, and compares what it holds by its SHA-256.
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
		return errors.New("gpg decrypts something else from it")
	}
	return nil
}
