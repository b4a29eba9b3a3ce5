package base

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

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
// written to, if it belongs to root or to this user, and so is an open file that is
// named as /dev/stdout or /dev/fd/N.
func WriteFile(path string, data []byte) error {
	f, err := openDescriptor(path)
	if f == nil && err == nil {
		if err = atomicfile.WriteFile(path, data, 0o600); errors.Is(err, atomicfile.ErrNotRegular) {
			f, err = atomicfile.OpenStream(path)
		}
	}
	if f != nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Close())
	}
	return UsageIfRefused(err)
}

// UsageIfRefused returns err, as a mistake of the user if it refuses the place of a
// file.
func UsageIfRefused(err error) error {
	for _, refused := range []error{
		atomicfile.ErrLink, atomicfile.ErrForeign, atomicfile.ErrOpen, atomicfile.ErrNotRegular, atomicfile.ErrFolder, atomicfile.ErrNoName,
	} {
		if errors.Is(err, refused) {
			return Usagef("%v", err)
		}
	}
	return err
}

// openDescriptor opens an open file of this process again, if path is its name:
// /dev/stdout, or /dev/fd/63, which a shell gives for >(program). There it is a link,
// and links are not followed. It returns nil for other paths.
func openDescriptor(path string) (*os.File, error) {
	path = strings.Replace(path, "/proc/self/", "/dev/", 1)
	number, ok := strings.CutPrefix(path, "/dev/fd/")
	switch path {
	case "/dev/stdout":
		number, ok = "1", true
	case "/dev/stderr":
		number, ok = "2", true
	}
	if !ok {
		return nil, nil
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, Usagef("%s is not an open file", path)
	}
	fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, Usagef("%s is not an open file", path)
	}
	return os.NewFile(uintptr(fd), path), nil
}
