package people

import (
	"bytes"
	"context"
	"errors"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// errNoPassword replaces a hint that is about the values of secrets.
var errNoPassword = base.Usagef("nothing was typed; a password is never empty")

// passwordFrom reads a password from a file, "-" for standard input. Without a file it
// asks at the terminal, if there is one, twice if again is not "", and else reads
// standard input.
func passwordFrom(ctx context.Context, p *base.Process, file, question, again string) (wire.Password, error) {
	if fd, ok := base.Terminal(p.Stdin); ok && (file == "" || file == "-") {
		typed, err := ask(ctx, p, fd, question, again)
		if errors.Is(err, base.ErrNothingTyped) {
			err = errNoPassword
		}
		return typed, err
	}
	if file == "" {
		file = "-"
	}
	data, err := base.ReadText(p, file)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	switch {
	case len(data) == 0:
		return nil, base.Usagef("the password is empty; type it, or name a file with --password-file")
	case bytes.ContainsAny(data, "\r\n"):
		return nil, base.Usagef("the password has more than one line")
	}
	return data, nil
}

func ask(ctx context.Context, p *base.Process, fd int, question, again string) ([]byte, error) {
	if again == "" {
		return base.Prompt(ctx, p, fd, question)
	}
	return base.PromptTwice(ctx, p, fd, question, again)
}
