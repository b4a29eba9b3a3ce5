// Package linediff compares two values of a secret line by line. The lines of the
// result can be masked, for people who want to know what changed before they decide
// to see it.
package linediff

import (
	"bytes"

	"github.com/rogpeppe/go-internal/diff"
)

// Compare returns the difference as a unified diff, empty if there is none.
func Compare(oldName string, old []byte, newName string, new []byte) []byte {
	if bytes.Equal(old, new) {
		return nil
	}
	_, text, _ := bytes.Cut(diff.Diff(oldName, old, newName, new), []byte("\n")) // "diff NAME NAME"
	return text
}

// Mask hides the lines of a unified diff. Its first two lines name the sides; those
// that begin with @@ say where a change is.
func Mask(text []byte) []byte {
	var masked []byte
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if n <= 2 || bytes.HasPrefix(line, []byte("@@")) || bytes.HasPrefix(line, []byte(`\`)) {
			masked = append(masked, line...)
			continue
		}
		masked = append(masked, line[0])
		masked = append(masked, "********\n"...)
	}
	return masked
}
