package audit

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// maxUnread is how long a write to standard output may take.
const maxUnread = 2 * time.Second

// errUnread is returned while nobody reads standard output.
var errUnread = errors.New("nobody reads standard output")

// impatient is standard output, which may be a pipe that nobody reads: requests
// must then fail, and not wait forever. Its methods are called under Log.mu.
type impatient struct {
	to io.Writer
	// pending gets the result of a write that has taken too long; nil if there is
	// none. Until it ends, all other writes fail.
	pending chan written
}

type written struct {
	n   int
	err error
}

// Write implements io.Writer. After errUnread the lines may still be written, once
// somebody reads.
func (w *impatient) Write(p []byte) (int, error) {
	if w.pending != nil {
		select {
		case <-w.pending:
			w.pending = nil
		default:
			return 0, errUnread
		}
	}
	done, lines := make(chan written, 1), bytes.Clone(p)
	go func() { // ends when somebody reads, or with the process
		n, err := w.to.Write(lines)
		done <- written{n, err}
	}()
	timer := time.NewTimer(maxUnread)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-timer.C:
		w.pending = done
		return 0, errUnread
	}
}
