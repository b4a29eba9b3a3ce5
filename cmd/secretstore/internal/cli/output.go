package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// printJSON writes v as one indented document.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeFile writes a secret to a file of mode 0600. It is complete or absent:
// an old file stays until the new one is on disk. A pipe or device is written
// to as it is; to put a file in its place would break the machine. A symbolic
// link is refused, for whoever made it chose where the secret goes.
func writeFile(path string, data []byte) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return writeThrough(path, data)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

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
	f    *os.File // nil: standard output
	path string
}

// openOutput begins a document. discard must be called in the end.
func openOutput(p *Process, path string) (*output, error) {
	if path == "" || path == "-" {
		return &output{Writer: p.Stdout}, nil
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, usage("%s is no regular file; name a file that is to be made or replaced", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return nil, usage("%v", err)
	}
	return &output{f, f, path}, nil
}

func (o *output) commit() error {
	if o.f == nil {
		return nil
	}
	err := errors.Join(o.f.Sync(), o.f.Close())
	if err == nil { // else what was there is better than what may be cut off
		err = os.Rename(o.f.Name(), o.path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", o.path, err)
	}
	o.f = nil
	return syncFolder(o.path)
}

// discard removes what was not committed.
func (o *output) discard() error {
	if o.f == nil {
		return nil
	}
	o.f.Close() // it is removed
	return os.Remove(o.f.Name())
}
