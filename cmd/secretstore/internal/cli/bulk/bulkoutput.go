package bulk

import (
	"fmt"
	"io"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/internal/atomicfile"
)

// output is a document that is written piece by piece, to standard output or to a
// file of mode 0600 that gets its name once it is complete.
type output struct {
	io.Writer
	f    *atomicfile.File // nil: standard output
	path string
}

// openOutput begins a document. The caller must call discard in the end.
func openOutput(p *base.Process, path string) (*output, error) {
	if path == "" || path == "-" {
		return &output{Writer: p.Stdout}, nil
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return nil, base.Usagef("%v", err)
	}
	return &output{f, f, path}, nil
}

func (o *output) commit() error {
	if o.f == nil {
		return nil
	}
	if err := o.f.Commit(0o600); err != nil {
		return fmt.Errorf("write %s: %w", o.path, err)
	}
	return nil
}

// discard removes what was not committed.
func (o *output) discard() {
	if o.f != nil {
		o.f.Discard()
	}
}
