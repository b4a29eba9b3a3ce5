// Package audit writes one line of JSON for each decision of the server, and
// returns when the operating system has the line. A line says who asked for
// what, and how it ended; it never holds a value, a token or a key.
//
// Each call makes its own write(2), and waits for it. No queue could lose lines in
// a crash of the process.
package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrNotRegular is returned by Open for a path that is a symbolic link, a
// device, a pipe or anything else than a file: another user could choose where
// the lines go.
var ErrNotRegular = errors.New("the audit log is not a regular file")

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("the audit log is closed")

// Stdout is the path of standard output.
const Stdout = "-"

// checkEvery is how often the path is compared with the open file.
const checkEvery = time.Second

// Log is an audit log. Its methods may be called from many goroutines. Make it
// with Open.
type Log struct {
	path string // "" for standard output
	// stdout is standard output; nil for a file. Its methods are called under mu.
	stdout *impatient

	broken atomic.Bool // the last write failed

	mu      sync.Mutex  // held during a write, so that no line follows half a line
	closed  bool        // guarded by mu
	file    *os.File    // guarded by mu
	info    os.FileInfo // of file; guarded by mu
	checked time.Time   // when path was last compared with file; guarded by mu
	torn    bool        // the last write may have left half a line; guarded by mu
}

// buffers hold lines while they are made: one on the stack would escape.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxKept bounds a buffer that is kept, in bytes.
const maxKept = 64 << 10

// Open opens the log for appending, and creates it with mode 0600 if it does
// not exist; an existing file keeps its mode. If the file is renamed or removed
// (logrotate), a new one is created within a second.
func Open(path string) (*Log, error) {
	if path == Stdout {
		return &Log{stdout: &impatient{to: os.Stdout}}, nil
	}
	l := &Log{path: path}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// Append writes the entries in order, with nothing between them, and returns
// when they are written. After an error, lines may be missing or torn, and the
// caller must not send its answer. The next call tries again.
func (l *Log) Append(entries ...*Entry) error {
	into := buffers.Get().(*[]byte)
	buf := appendAll((*into)[:0], entries)
	err := l.write(buf)
	keep(into, buf)
	return err
}

func appendAll(b []byte, entries []*Entry) []byte {
	for _, e := range entries {
		b = e.appendTo(b)
	}
	return b
}

// keep puts a buffer back.
func keep(into *[]byte, buf []byte) {
	if cap(buf) <= maxKept {
		*into = buf
		buffers.Put(into)
	}
}

// Probe returns nil if the last write succeeded. Otherwise it tries to write a
// line, and returns the result. With it a caller refuses an operation before
// that has an effect which could not be audited.
func (l *Log) Probe() error {
	if !l.broken.Load() {
		return nil
	}
	return l.Append(&Entry{Time: time.Now(), Endpoint: "audit", Outcome: Allowed, Reason: "the audit log can be written again"})
}

// Close waits for the write under way and closes the file. Later calls return
// ErrClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.broken.Store(true)
	if l.path == "" || l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func (l *Log) write(buf []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	err := l.writeFile(buf)
	l.broken.Store(err != nil)
	return err
}

// writeFile appends the lines. The caller holds mu.
func (l *Log) writeFile(buf []byte) error {
	if err := l.reopen(); err != nil {
		return err
	}
	if l.torn {
		// Half a line of an earlier failure must not swallow this one.
		buf = append([]byte{'\n'}, buf...)
	}
	var to io.Writer = l.file
	if l.stdout != nil {
		to = l.stdout
	}
	n, err := to.Write(buf)
	if err != nil {
		l.torn = l.torn || n > 0
		l.checked = time.Time{}
		return fmt.Errorf("write the audit log: %w", err)
	}
	l.torn = false
	return nil
}

// reopen compares the path with the open file, at most once a second, and
// creates a new file if the old one was renamed or removed. The caller holds
// mu.
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
	// O_NONBLOCK: a pipe in place of the file must not hang the server.
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
