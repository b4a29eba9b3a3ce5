package base

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// progress is a line on the terminal that is written over; elsewhere, nothing.
type progress struct {
	p  *Process
	on bool
}

func NewProgress(p *Process) *progress {
	f, ok := p.Stderr.(*os.File)
	return &progress{p: p, on: ok && term.IsTerminal(int(f.Fd()))}
}

func (l *progress) Show(format string, args ...any) {
	if l.on {
		fmt.Fprintf(l.p.Stderr, "\r\x1b[K"+format, args...)
	}
}

// Bar shows how far something is that has an end.
func (l *progress) Bar(done, total int) {
	const width = 30
	n := width * done / max(total, 1)
	l.Show("[%s%s] %d of %d", strings.Repeat("#", n), strings.Repeat(" ", width-n), done, total)
}

func (l *progress) End() {
	if l.on {
		fmt.Fprint(l.p.Stderr, "\r\x1b[K")
	}
}
