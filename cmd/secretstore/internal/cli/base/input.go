package base

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"secretstore/internal/filetrust"
	"secretstore/internal/textfile"
)

// maxValue is the largest value that is read, in bytes: more than any server
// accepts.
const maxValue = 1 << 30

// ReadInput reads the file name, or standard input for "-".
func ReadInput(p *Process, name string) ([]byte, error) { return readInput(p, name, false) }

// readInput is ReadInput. A private file is refused if others can read or change it.
func readInput(p *Process, name string, private bool) ([]byte, error) {
	in := p.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, Usagef("%v", err)
		}
		defer f.Close() // only read
		if private {
			if err := checkPrivate(f); err != nil {
				return nil, Usagef("%v", err)
			}
		}
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

// checkPrivate refuses a file that other users can read or change. A pipe, as of a
// shell's <(command), is not a file.
func checkPrivate(f *os.File) error {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	return filetrust.CheckSecret(f.Name(), info)
}

// ReadText is ReadInput for text, which may begin with a byte order mark. It is not
// for values: of them each byte counts.
func ReadText(p *Process, name string) ([]byte, error) { return readText(p, name, false) }

// ReadPrivateText is ReadText for a private key. It refuses a file that other users
// can read or change.
func ReadPrivateText(p *Process, name string) ([]byte, error) { return readText(p, name, true) }

func readText(p *Process, name string, private bool) ([]byte, error) {
	data, err := readInput(p, name, private)
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
