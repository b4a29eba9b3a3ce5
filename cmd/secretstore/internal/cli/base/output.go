package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"secretstore/internal/atomicfile"
)

// PrintJSON writes v as one indented document.
func PrintJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// WriteFile writes a secret to a file of mode 0600, which is complete or absent: an
// old file stays until the new one is on disk. A pipe or device is not replaced but
// written to.
func WriteFile(path string, data []byte) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return writeThrough(path, data)
	}
	return atomicfile.WriteFile(path, data, 0o600)
}

// writeThrough writes to a pipe or device, or through a link to one, such as
// /dev/stdout. It refuses a link to a file: the owner of the link would choose where
// the secret goes.
func writeThrough(path string, data []byte) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return Usagef("%v", err)
	case info.IsDir():
		return Usagef("%s is a folder; name a file in it", path)
	case info.Mode().IsRegular():
		return Usagef("%s is a symbolic link; name the file itself", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// A link may lead elsewhere by now.
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
