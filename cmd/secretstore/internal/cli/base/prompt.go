package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/term"
)

// ErrCanceled is returned by Prompt and PromptTwice when the user ends the
// question with Ctrl-C or Ctrl-D.
var ErrCanceled = errors.New("canceled; nothing was stored or sent")

// ErrNothingTyped is returned by Prompt and PromptTwice for an empty line.
var ErrNothingTyped = Usagef("nothing was typed; use -v '' for an empty value")

// maxLine is the longest line that a prompt accepts, in bytes. The terminal
// library drops what is beyond it.
const maxLine = 4095

const (
	ctrlC = 3
	ctrlD = 4
)

// Prompt reads one line from the terminal with the descriptor fd, without echo.
// Ctrl-C and Ctrl-D end it at once, and so does the end of ctx. In each case the
// terminal is as it was before.
func Prompt(ctx context.Context, p *Process, fd int, question string) ([]byte, error) {
	lines, err := ask(ctx, p, fd, question)
	if err != nil {
		return nil, err
	}
	return lines[0], nil
}

// PromptTwice asks twice and returns the line if both are the same: a mistyped
// value cannot be seen.
func PromptTwice(ctx context.Context, p *Process, fd int, question, again string) ([]byte, error) {
	lines, err := ask(ctx, p, fd, question, again)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(lines[0], lines[1]) {
		return nil, errors.New("the two lines differ; nothing was stored")
	}
	return lines[0], nil
}

// ask reads a line for each question.
func ask(ctx context.Context, p *Process, fd int, questions ...string) ([][]byte, error) {
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("read from the terminal: %w", err)
	}
	defer term.Restore(fd, old) // it was set a moment ago
	// One for all questions: it keeps what was typed ahead.
	terminal := term.NewTerminal(terminalSide{p.Stdin, p.Stderr}, "")
	var lines [][]byte
	for _, question := range questions {
		line, err := askOne(ctx, terminal, question)
		if err != nil {
			fmt.Fprint(p.Stderr, "\r\n")
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func askOne(ctx context.Context, terminal *term.Terminal, question string) ([]byte, error) {
	type answer struct {
		line string
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		// If ctx ends first, this reads until the process ends, which it is about
		// to.
		line, err := terminal.ReadPassword(question)
		typed <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, errors.New("nothing was typed in time; nothing was stored or sent")
		}
		return nil, ErrCanceled
	case got := <-typed:
		switch {
		case errors.Is(got.err, io.EOF):
			return nil, ErrCanceled
		case got.err != nil && !errors.Is(got.err, term.ErrPasteIndicator):
			return nil, fmt.Errorf("read from the terminal: %w", got.err)
		case len(got.line) > maxLine:
			return nil, Usagef("the line is longer than %d bytes; give the value in a file", maxLine)
		case got.line == "":
			return nil, ErrNothingTyped
		}
		return []byte(got.line), nil
	}
}

// terminalSide is a terminal whose Ctrl-D, wherever it is typed, means what Ctrl-C
// does.
type terminalSide struct {
	io.Reader
	io.Writer
}

func (t terminalSide) Read(b []byte) (int, error) {
	n, err := t.Reader.Read(b)
	for i := range b[:n] {
		if b[i] == ctrlD {
			b[i] = ctrlC
		}
	}
	return n, err
}
