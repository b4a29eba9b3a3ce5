package gpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/term"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// maxStatus is how much of gpg's status lines is read, in bytes.
const maxStatus = 64 << 10

// decrypt has the user's gpg decrypt message, and write the plaintext to out.
// Its error says why gpg could not, and what to do about it; it is errNotMine if
// gpg does not have the private key.
//
// gpg may ask for a passphrase, so its standard input is the terminal, if there
// is one: gpg tells its agent, and that pinentry, to use it. The message comes
// through another descriptor. The user's gpg.conf is ignored, because it
// could change what is printed, or keep gpg from asking.
func decrypt(ctx context.Context, p *base.Process, program string, message *os.File, out io.Writer) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("cannot find %s; install GnuPG, or decrypt the key elsewhere and use --key-file", program)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("run gpg: %w", err)
	}
	defer read.Close() // only read
	var messages bytes.Buffer
	// 3 and 4 are the descriptors of ExtraFiles. --quiet would leave out the
	// status line with the cause of a failure.
	cmd := exec.CommandContext(ctx, path, "--no-options", "--status-fd", "3", "--enable-special-filenames", "--decrypt", "--", "-&4")
	cmd.Env = environment(os.Environ())
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, &messages, []*os.File{write, message}
	cmd.Stdin = terminal(p)
	defer restore(ctx, terminal(p))()
	status := make(chan []byte, 1)
	go func() {
		lines, _ := io.ReadAll(io.LimitReader(read, maxStatus)) // the lines so far are enough
		io.Copy(io.Discard, read)                               // so that gpg never blocks
		status <- lines
	}()
	failed := cmd.Run()
	write.Close()
	read.SetReadDeadline(time.Now().Add(time.Second)) // an agent that gpg started may still have it open
	lines := <-status
	switch {
	case failed == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if cause := causeOf(string(lines), messages.String()); cause != nil {
		return cause
	}
	p.Stderr.Write(messages.Bytes())
	return fmt.Errorf("gpg failed (%w)", failed)
}

// terminal returns the terminal of the process, or nil.
func terminal(p *base.Process) *os.File {
	for _, stream := range []any{p.Stdin, p.Stderr, p.Stdout} {
		if _, ok := base.Terminal(stream); ok {
			return stream.(*os.File)
		}
	}
	return nil
}

// restore returns a function that restores the modes of the terminal after Ctrl-C,
// which ends gpg, but not its pinentry.
func restore(ctx context.Context, terminal *os.File) func() {
	if terminal == nil {
		return func() {}
	}
	modes, err := term.GetState(int(terminal.Fd()))
	return func() {
		if err == nil && ctx.Err() != nil {
			_ = term.Restore(int(terminal.Fd()), modes) // nothing else can be done
		}
	}
}

// environment returns env with English as the language of messages, which
// causeOf reads. Character sets and all else stay.
func environment(env []string) []string {
	kept := make([]string, 0, len(env)+2)
	characters := ""
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case "LC_ALL":
			characters = value
		case "LC_MESSAGES", "LANGUAGE":
		default:
			kept = append(kept, v)
		}
	}
	if characters != "" {
		kept = append(kept, "LC_CTYPE="+characters)
	}
	return append(kept, "LC_MESSAGES=C")
}

// errNotMine: the user's gpg has no private key for the message.
var errNotMine = errors.New("gpg has no private key for it")

// errCanceled: the user canceled the question for the passphrase.
var errCanceled = errors.New("the passphrase prompt was canceled")
