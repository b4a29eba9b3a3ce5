package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxValue bounds what is read as a value: more than any server takes.
const maxValue = 1 << 30

// value is a secret's value on its way to the server.
type value struct {
	data   []byte
	binary bool // raw bytes, else text
}

// valueFlags are where a value comes from, as in "dcos security secrets".
type valueFlags struct {
	value, textFile, file string
}

func (v *valueFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&v.value, "value", "v", "", "the `VALUE` itself (others on this machine can see it in the process list)")
	f.StringVarP(&v.textFile, "text-file", "t", "", "`FILE` with the value, which must be UTF-8 text (- is standard input)")
	f.StringVarP(&v.file, "file", "f", "", "`FILE` with the value, kept as binary (- is standard input)")
	cmd.MarkFlagsMutuallyExclusive("value", "text-file", "file")
}

// read returns the value. Without any of the flags it comes from standard
// input: typed without echo at a terminal; else all bytes of it, as text if
// they are valid UTF-8 and as binary if not.
func (v *valueFlags) read(cmd *cobra.Command, p *Process) (value, error) {
	switch f := cmd.Flags(); {
	case f.Changed("value"):
		return text([]byte(v.value), "--value")
	case f.Changed("text-file"):
		data, err := readInput(p, v.textFile)
		if err != nil {
			return value{}, err
		}
		from := v.textFile
		if from == "-" {
			from = "standard input"
		}
		return text(data, from)
	case f.Changed("file"):
		data, err := readInput(p, v.file)
		return value{data: data, binary: true}, err
	}
	if fd, ok := terminal(p.Stdin); ok {
		data, err := prompt(p, fd, "Value (not shown): ")
		if err != nil {
			return value{}, err
		}
		return text(data, "what was typed")
	}
	data, err := readInput(p, "-")
	if err != nil {
		return value{}, err
	}
	if len(data) == 0 {
		// A pipe that broke must not empty a secret.
		return value{}, usage("standard input is empty; give the value with -t FILE or -f FILE, or say -v '' for an empty one")
	}
	return value{data: data, binary: !utf8.Valid(data)}, nil
}

func text(data []byte, from string) (value, error) {
	if !utf8.Valid(data) {
		return value{}, usage("%s is not UTF-8 text; keep it as binary with -f FILE (-f - for standard input)", from)
	}
	return value{data: data}, nil
}

// readInput reads a file, or standard input for "-".
func readInput(p *Process, name string) ([]byte, error) {
	in := p.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usage("%v", err)
		}
		defer f.Close() // only read
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxValue+1))
	if err != nil {
		return nil, fmt.Errorf("read the value: %w", err)
	}
	if len(data) > maxValue {
		return nil, usage("the value is larger than 1 GiB")
	}
	return data, nil
}

// terminal reports whether r is one, and its descriptor.
func terminal(r io.Reader) (int, bool) {
	f, ok := r.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// prompt reads one line without showing it.
func prompt(p *Process, fd int, question string) ([]byte, error) {
	fmt.Fprint(p.Stderr, question)
	line, err := term.ReadPassword(fd)
	fmt.Fprintln(p.Stderr)
	if err != nil {
		return nil, fmt.Errorf("read from the terminal: %w", err)
	}
	if len(line) == 0 {
		return nil, usage("nothing was typed; say -v '' for an empty value")
	}
	return line, nil
}

// readKey reads a line of text that is a key or token, from a file or standard
// input, without the space around it.
func readKey(p *Process, name, what string) (string, error) {
	if fd, ok := terminal(p.Stdin); ok && name == "-" {
		line, err := prompt(p, fd, what+" (not shown): ")
		return string(bytes.TrimSpace(line)), err
	}
	data, err := readInput(p, name)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(data), []byte{'\n'})
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return "", usage("%s is empty; it should hold the %s", name, what)
	}
	return string(line), nil
}
