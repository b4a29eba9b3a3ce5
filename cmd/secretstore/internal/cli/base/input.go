package base

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"secretstore/internal/textfile"
)

// maxValue is the largest value that is read, in bytes: more than any server
// accepts.
const maxValue = 1 << 30

// ReadInput reads the file name, or standard input for "-".
func ReadInput(p *Process, name string) ([]byte, error) {
	in := p.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, Usagef("%v", err)
		}
		defer f.Close() // only read
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxValue+1))
	if err != nil {
		return nil, fmt.Errorf("read the value: %w", err)
	}
	if len(data) > maxValue {
		return nil, Usagef("the value is larger than 1 GiB")
	}
	return data, nil
}

// ReadText is ReadInput for text, which may begin with a byte order mark. It is not
// for values: of them each byte counts.
func ReadText(p *Process, name string) ([]byte, error) {
	data, err := ReadInput(p, name)
	if err != nil {
		return nil, err
	}
	text, err := textfile.Text(data)
	if err != nil {
		return nil, Usagef("%s: %v", name, err)
	}
	return text, nil
}

// Terminal reports whether a reader or writer is a terminal, and returns its
// descriptor.
func Terminal(stream any) (int, bool) {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// ReadKey reads a key or token: the first line of a file, or of standard input for
// "-", without surrounding white space.
func ReadKey(p *Process, name, what string) (string, error) {
	if fd, ok := Terminal(p.Stdin); ok && name == "-" {
		line, err := Prompt(context.Background(), p, fd, what+" (not shown): ")
		return string(bytes.TrimSpace(line)), err
	}
	data, err := ReadText(p, name)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(data), []byte{'\n'})
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return "", Usagef("%s is empty; it should hold the %s", name, what)
	}
	return string(line), nil
}

// ReadLogin reads user:password from the file that a flag names.
func ReadLogin(p *Process, flag, name string) (user, password string, err error) {
	login, err := ReadKey(p, name, "user:password")
	if err != nil {
		return "", "", err
	}
	user, password, _ = strings.Cut(login, ":")
	if user == "" || password == "" {
		return "", "", Usagef("%s: the first line of %s must be user:password", flag, name)
	}
	return user, password, nil
}
