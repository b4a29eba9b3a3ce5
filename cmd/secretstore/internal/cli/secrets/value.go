package secrets

import (
	"bytes"
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// value is a secret's value to be sent to the server.
type value struct {
	data   []byte
	binary bool // raw bytes, else text
}

// valueFlags say where a value comes from, as in "dcos security secrets".
type valueFlags struct {
	value, textFile, file string
}

func (v *valueFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&v.value, "value", "v", "", "the `VALUE` itself (other users can see it in the process list)")
	f.StringVarP(&v.textFile, "text-file", "t", "", "`FILE` with the value, as UTF-8 text (- is standard input)")
	f.StringVarP(&v.file, "file", "f", "", "`FILE` with the value, as binary (- is standard input)")
	cmd.MarkFlagsMutuallyExclusive("value", "text-file", "file")
}

// read returns the value. Without a flag it comes from standard input: a line typed
// twice without echo on a terminal, else all bytes, as text if they are valid UTF-8 and
// as binary otherwise.
func (v *valueFlags) read(ctx context.Context, cmd *cobra.Command, p *base.Process) (value, error) {
	switch f := cmd.Flags(); {
	case f.Changed("value"):
		return text([]byte(v.value), "--value")
	case f.Changed("text-file"):
		data, err := base.ReadInput(p, v.textFile)
		if err != nil {
			return value{}, err
		}
		from := v.textFile
		if from == "-" {
			from = "standard input"
		}
		return text(data, from)
	case f.Changed("file"):
		data, err := base.ReadInput(p, v.file)
		return value{data: data, binary: true}, err
	}
	if fd, ok := base.Terminal(p.Stdin); ok {
		data, err := base.PromptTwice(ctx, p, fd, "Value (not shown): ", "The same again: ")
		if err != nil {
			return value{}, err
		}
		return text(data, "the typed value")
	}
	data, err := base.ReadInput(p, "-")
	if err != nil {
		return value{}, err
	}
	if len(data) == 0 {
		// A broken pipe must not empty a secret.
		return value{}, base.Usagef("standard input is empty; give the value with -t FILE or -f FILE, or say -v '' for an empty one")
	}
	if _, ok := base.Terminal(p.Stderr); ok && bytes.HasSuffix(data, []byte("\n")) {
		fmt.Fprintln(p.Stderr, "secretstore: note: the value ends with a newline, which is stored too (echo adds one, printf does not)")
	}
	return value{data: data, binary: !utf8.Valid(data)}, nil
}

func text(data []byte, from string) (value, error) {
	if !utf8.Valid(data) {
		return value{}, base.Usagef("%s is not UTF-8 text; store it as binary with -f FILE (-f - for standard input)", from)
	}
	return value{data: data}, nil
}
