package secrets

import (
	"bytes"
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// valueFlags say where a value comes from, as in "dcos security secrets".
type valueFlags struct {
	value, textFile, file string
}

func (v *valueFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&v.value, "value", "v", "", "the `VALUE` itself (other users can see it in the process list)")
	f.StringVarP(&v.textFile, "text-file", "t", "", "`FILE` with the value, as UTF-8 text (- is standard input)")
	f.StringVarP(&v.file, "file", "f", "", "`FILE` with the value, as binary (- is standard input)")
	f.StringVar(&v.textFile, "value-file", "", "`FILE`: the same as --text-file, as in dcos security secrets")
	cmd.MarkFlagsMutuallyExclusive("value", "text-file", "value-file", "file")
}

// read returns the value. Without a flag it comes from standard input: a line typed
// twice without echo on a terminal, else all bytes, as text if they are valid UTF-8 and
// as binary otherwise.
func (v *valueFlags) read(ctx context.Context, cmd *cobra.Command, p *base.Process) (client.Value, error) {
	switch f := cmd.Flags(); {
	case f.Changed("value"):
		return text([]byte(v.value), "--value")
	case f.Changed("text-file"), f.Changed("value-file"):
		data, err := base.ReadInput(p, v.textFile)
		if err != nil {
			return client.Value{}, err
		}
		from := v.textFile
		if from == "-" {
			from = "standard input"
		}
		return text(data, from)
	case f.Changed("file"):
		data, err := base.ReadInput(p, v.file)
		return client.Value{Data: data, Binary: true}, err
	}
	if fd, ok := base.Terminal(p.Stdin); ok {
		data, err := base.PromptTwice(ctx, p, fd, "Value (not shown): ", "The same again: ")
		if err != nil {
			return client.Value{}, err
		}
		return text(data, "the typed value")
	}
	data, err := base.ReadInput(p, "-")
	if err != nil {
		return client.Value{}, err
	}
	if len(data) == 0 {
		// A broken pipe must not empty a secret.
		return client.Value{}, base.Usagef("standard input is empty; give the value with -t FILE or -f FILE, or use -v '' for an empty one")
	}
	if _, ok := base.Terminal(p.Stderr); ok && bytes.HasSuffix(data, []byte("\n")) {
		fmt.Fprintln(p.Stderr, "secretstore: note: the value ends with a newline, which is stored too (echo adds one, printf does not)")
	}
	return client.Value{Data: data, Binary: !utf8.Valid(data)}, nil
}

func text(data []byte, from string) (client.Value, error) {
	if !utf8.Valid(data) {
		return client.Value{}, base.Usagef("%s is not UTF-8 text; store it as binary with -f FILE (-f - for standard input)", from)
	}
	return client.Value{Data: data}, nil
}
