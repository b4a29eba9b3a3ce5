package audit

import (
	"bytes"
	"path/filepath"
)

// maxRecent is how many lines are kept in memory. Each has at most about 20 KiB, and
// most have 400 bytes.
const maxRecent = 1000

// recent keeps the newest lines. The caller of its methods holds [Log.mu].
type recent struct {
	lines [][]byte // a ring when it is full
	next  int      // the oldest one of a full ring
}

// add keeps copies of lines that were written.
func (r *recent) add(lines []byte) {
	for line := range bytes.Lines(lines) {
		if len(r.lines) < maxRecent {
			r.lines = append(r.lines, bytes.Clone(line))
			continue
		}
		r.lines[r.next] = append(r.lines[r.next][:0], line...)
		r.next = (r.next + 1) % maxRecent
	}
}

// Recent returns the last lines that this process has written, at most 1,000, the
// newest first. Each is a JSON object with a newline.
func (l *Log) Recent() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.recent.lines)
	all := make([][]byte, n)
	for i := range n {
		all[n-1-i] = bytes.Clone(l.recent.lines[(l.recent.next+i)%n])
	}
	return all
}

// Path is where the log is, from the root of the file system; [Stdout] for standard
// output.
func (l *Log) Path() string {
	if l.path == "" {
		return Stdout
	}
	path, err := filepath.Abs(l.path)
	if err != nil {
		return l.path // the working directory is not known
	}
	return path
}
