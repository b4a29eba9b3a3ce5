// Package gpg has the user's own gpg decrypt shares of the unseal key. Messages
// and shares pass through pipes; nothing is written to a file.
package gpg

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// maxPlain is longer than any share that gpg prints, in bytes.
const maxPlain = 4 << 10

// errNotShare: what gpg has decrypted is not a share.
var errNotShare = errors.New("gpg decrypted something that is not a share of an unseal key; it was not sent. " +
	"Somebody may have replaced the encrypted key with another message")

// plaintext is what gpg prints. A message of some KiB can be compressed so that gpg
// prints without end, so more than a share is an error, which ends gpg.
type plaintext struct {
	text   []byte
	isLong bool
}

func (t *plaintext) Write(p []byte) (int, error) {
	if len(t.text)+len(p) > maxPlain {
		t.isLong = true
		return 0, errNotShare
	}
	t.text = append(t.text, p...)
	return len(p), nil
}

// gpgDecrypt decrypts one OpenPGP message, given in hex, with the user's gpg and its
// keys, agents and smart cards. Message and key pass through pipes and are never in
// an argument or a file. The error is that of decrypt, or errNotShare.
func gpgDecrypt(ctx context.Context, p *base.Process, program, messageHex string) (string, error) {
	message, err := hex.DecodeString(messageHex)
	if err != nil {
		return "", errors.New("the server sent an encrypted key that is not hex; is it a Secret Store?")
	}
	read, write, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("run gpg: %w", err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		write.Write(message) // fails if gpg has ended, which then says why
		write.Close()
	}()
	var plain plaintext
	err = decrypt(ctx, p, program, read, &plain)
	read.Close() // so that the writing ends
	<-written
	if plain.isLong { // gpg itself only says that nobody reads any more
		clear(plain.text)
		return "", errNotShare
	}
	return strings.TrimSpace(string(plain.text)), err
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
			return opened, context.Cause(ctx)
		}
		if errors.Is(err, errCanceled) || errors.Is(err, errNotShare) {
			return opened, err
		}
		if err != nil {
			if failed == nil || errors.Is(failed, errNotMine) {
				failed = err
			}
			continue
		}
		if !shareForm(share) {
			return opened, errNotShare
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
		return 0, fmt.Errorf("gpg could not decrypt the unseal key: %w; "+
			"run this on the machine with the private key, or give the decrypted key with --key-file", ErrNoKey)
	}
	return 0, fmt.Errorf("gpg could not decrypt the unseal key: %w", failed)
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
