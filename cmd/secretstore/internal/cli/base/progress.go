package base

import (
	"fmt"
	"strings"
)

// Progress is a line on the terminal that is overwritten. If standard error is not
// a terminal, nothing is shown.
type Progress struct {
	p  *Process
	on bool
}

// NewProgress returns a line on the standard error of p.
func NewProgress(p *Process) *Progress {
	_, on := Terminal(p.Stderr)
	return &Progress{p: p, on: on}
}

// Show replaces the line.
func (l *Progress) Show(format string, args ...any) {
	if l.on {
		fmt.Fprintf(l.p.Stderr, "\r\x1b[K"+format, args...)
	}
}

// Bar shows how much of a total is done.
func (l *Progress) Bar(done, total int) {
	const width = 30
	n := width * done / max(total, 1)
	l.Show("[%s%s] %d of %d", strings.Repeat("#", n), strings.Repeat(" ", width-n), done, total)
}

// End removes the line.
func (l *Progress) End() {
	if l.on {
		fmt.Fprint(l.p.Stderr, "\r\x1b[K")
	}
}
