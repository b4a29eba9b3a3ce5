// Package audit writes one line of JSON for each decision of the server, and
// reports back only when the line is with the operating system. It holds who
// asked for what and how it ended; it never holds a value, a token or a key.
//
// Concurrent callers share one write(2): whoever finds no write under way
// writes all lines that are waiting. There is no goroutine and no queue that
// could lose lines in a crash of the process.
package audit

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// ErrNotRegular is returned by Open for a path that is a symbolic link, a
// device, a pipe or anything else but a file: another user could choose where
// the lines go.
var ErrNotRegular = errors.New("the audit log is not a regular file")

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("the audit log is closed")

// Stdout is the path that stands for standard output.
const Stdout = "-"

// checkEvery is how often the path is compared with the open file.
const checkEvery = time.Second

// Log is an audit log. Its methods may be called from many goroutines. Make it
// with Open.
type Log struct {
	path string // "" for standard output

	mu      sync.Mutex
	idle    *sync.Cond // on mu: writing became false
	pending *batch     // guarded by mu: lines that no write has taken yet
	spare   []byte     // guarded by mu: a buffer to use again
	writing bool       // guarded by mu: somebody is the writer
	closed  bool       // guarded by mu
	failed  error      // guarded by mu: how the last write ended

	// The fields below belong to the writer, the one caller at a time that has
	// set writing; mu passes them on.
	file    *os.File
	info    os.FileInfo // of file
	checked time.Time   // when path was last compared with file
	torn    bool        // the last write may have left half a line
}

// batch is what one write(2) will take.
type batch struct {
	buf []byte
	// token gets one when the batch may be written: one of those who wait takes
	// it and becomes the writer. Nil, as done, while nobody waits.
	token chan struct{}
	// done is closed when err is set.
	done chan struct{}
	err  error
}

// Open opens the log for appending, and creates it with mode 0600 if it does
// not exist; the mode of an existing file is left alone. A file that is
// renamed or removed (logrotate) is noticed within a second, and a new one is
// begun.
func Open(path string) (*Log, error) {
	if path == Stdout {
		return newLog("", os.Stdout), nil
	}
	l := newLog(path, nil)
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func newLog(path string, f *os.File) *Log {
	l := &Log{path: path, file: f}
	l.idle = sync.NewCond(&l.mu)
	return l
}

// Append writes the entries in order, together with those of other callers, and
// returns when they are written. After an error lines may be missing or torn,
// and the caller must not let its answer go. The next call tries again.
func (l *Log) Append(entries ...*Entry) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	if l.pending == nil {
		l.pending = &batch{buf: l.spare[:0]}
		l.spare = nil
	}
	b := l.pending
	b.buf = appendAll(b.buf, entries)
	if !l.writing {
		l.writing = true
		l.mu.Unlock()
		// Whoever is about to append does so now, and shares the write(2), which
		// costs as much as the rest of a line put together. Where nobody is, this
		// returns at once.
		runtime.Gosched()
		return l.lead(b)
	}
	if b.done == nil {
		b.token, b.done = make(chan struct{}, 1), make(chan struct{})
	}
	l.mu.Unlock()

	select {
	case <-b.done:
		return b.err
	case <-b.token: // and writing stays true: it was handed over with the token
		return l.lead(b)
	}
}

// lead closes the batch to others and writes it.
func (l *Log) lead(b *batch) error {
	l.mu.Lock()
	l.pending = nil
	l.mu.Unlock()
	return l.write(b)
}

func appendAll(b []byte, entries []*Entry) []byte {
	for _, e := range entries {
		b = e.appendTo(b)
	}
	return b
}

// Probe returns nil if the last write succeeded. Otherwise it tries to write a
// line that says so, and returns how that ended. It lets a caller refuse an
// operation before it has an effect that could not be audited.
func (l *Log) Probe() error {
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return ErrClosed
	case l.failed == nil:
		l.mu.Unlock()
		return nil
	case l.writing:
		defer l.mu.Unlock()
		return l.failed
	}
	l.writing = true
	l.mu.Unlock()
	resumed := Entry{Time: time.Now(), Endpoint: "audit", Outcome: Allowed, Reason: "the audit log can be written again"}
	return l.write(&batch{buf: resumed.appendTo(nil)})
}

// Close waits for the write under way and closes the file. Lines that still
// wait are written; later ones are refused.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	for l.writing {
		l.idle.Wait()
	}
	defer l.mu.Unlock()
	if l.path == "" || l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// write is run by the writer: it writes one batch, tells its waiters, and
// hands over to a waiter of the next one.
func (l *Log) write(b *batch) error {
	b.err = l.writeFile(b.buf)

	l.mu.Lock()
	l.failed = b.err
	if cap(b.buf) <= 64<<10 {
		l.spare = b.buf[:0]
	}
	if l.pending != nil {
		l.pending.token <- struct{}{} // never blocks: one token a batch
	} else {
		l.writing = false
		l.idle.Broadcast()
	}
	l.mu.Unlock()

	if b.done != nil {
		close(b.done)
	}
	return b.err
}

func (l *Log) writeFile(buf []byte) error {
	if err := l.reopen(); err != nil {
		return err
	}
	if l.torn {
		// Half a line of an earlier failure must not swallow this one.
		buf = append([]byte{'\n'}, buf...)
	}
	n, err := l.file.Write(buf)
	if err != nil {
		l.torn = l.torn || n > 0
		l.checked = time.Time{}
		return fmt.Errorf("write the audit log: %w", err)
	}
	l.torn = false
	return nil
}

// reopen compares the path with the open file, at most once a second, and
// begins a new file if the old one was renamed or removed.
func (l *Log) reopen() error {
	if l.path == "" {
		return nil
	}
	now := time.Now()
	if l.file != nil && now.Sub(l.checked) < checkEvery {
		return nil
	}
	l.checked = now
	if l.file != nil {
		if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.info) {
			return nil
		}
		l.file.Close() // every line in it is with the kernel already
		l.file = nil
	}
	return l.open()
}

func (l *Log) open() error {
	// O_NONBLOCK: a pipe put in the place of the file must not hang the server.
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		return fmt.Errorf("open %s: %w", l.path, ErrNotRegular)
	}
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotRegular
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("open %s: %w", l.path, err)
	}
	l.file, l.info, l.torn, l.checked = f, info, endsTorn(f, info.Size()), time.Now()
	return nil
}

// endsTorn reports whether the file ends in the middle of a line, as after a
// full disk.
func endsTorn(f *os.File, size int64) bool {
	var last [1]byte
	if size == 0 {
		return false
	}
	_, err := f.ReadAt(last[:], size-1)
	return err != nil || last[0] != '\n'
}
