package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"secretstore/internal/atomicfile"
)

// printJSON writes v as one indented document.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeFile writes a secret to a file of mode 0600. It is complete or absent: an
// old file stays until the new one is on disk. A pipe or device is written to as
// it is; a file in its place would break the machine.
func writeFile(path string, data []byte) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return writeThrough(path, data)
	}
	return atomicfile.WriteFile(path, data, 0o600)
}

// writeThrough writes to a pipe or device, or to one that a link leads to, as
// /dev/stdout does. A link to a file is refused: whoever made it would choose
// where the secret goes.
func writeThrough(path string, data []byte) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return usage("%v", err)
	case info.IsDir():
		return usage("%s is a folder; name a file in it", path)
	case info.Mode().IsRegular():
		return usage("%s is a symbolic link; name the file itself", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// The link may lead elsewhere by now.
	if info, err = f.Stat(); err != nil || info.Mode().IsRegular() {
		f.Close() // nothing was written
		return fmt.Errorf("write %s: it has become another file", path)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// output is a document that is written piece by piece: to a file of mode 0600
// that gets its name once it is complete, or to standard output.
type output struct {
	io.Writer
	f    *atomicfile.File // nil: standard output
	path string
}

// openOutput begins a document. discard must be called in the end.
func openOutput(p *Process, path string) (*output, error) {
	if path == "" || path == "-" {
		return &output{Writer: p.Stdout}, nil
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return nil, usage("%v", err)
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
