// Package audit writes one line of JSON for each decision of the server, and
// returns when the operating system has the line. A line says who asked for
// what, and how it ended; it never holds a value, a token or a key.
//
// Each call makes its own write(2), and waits for it. No queue could lose lines in
// a crash of the process. The exception is a request without a valid token:
// anybody can send thousands of them a second, so beyond a rate they are only
// counted, and the counts are written every second.
//
// Lines with a principal have a reserve of disk: a file beside the log, whose
// room is given back when the disk is full. From then on until the reserve can
// be made again, requests without a principal are only counted.
package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"secretstore/internal/atomicfile"
	"secretstore/internal/clientnet"
)

// ErrReserve is the Fault of a log that can be written, but on a full disk.
var ErrReserve = errors.New("the disk of the audit log is full: lines go to the room that was reserved for requests with a token, and other requests are only counted")

// DiskFull reports whether a Fault says that the disk is full, with room left in the
// reserve or without.
func DiskFull(fault error) bool { return errors.Is(fault, ErrReserve) || isFull(fault) }

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
	stdout    *impatient
	strangers *strangers

	// fault is the error of the last write, nil if it succeeded. low: there was
	// no room for it without the reserve, which is not there again.
	fault atomic.Pointer[error]
	low   atomic.Bool

	mu      sync.Mutex  // held during a write, so that no line follows half a line
	closed  bool        // guarded by mu
	file    *os.File    // guarded by mu
	info    os.FileInfo // of file; guarded by mu
	checked time.Time   // when path was last compared with file; guarded by mu
	torn    bool        // the last write may have left half a line; guarded by mu
	reserve *reserve    // nil without one; guarded by mu
	recent  recent      // guarded by mu
}

// buffers hold lines while they are made: one on the stack would escape.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxKept bounds a buffer that is kept, in bytes.
const maxKept = 64 << 10

// Open opens the log for appending, and creates it with mode 0600 if it does
// not exist; an existing file keeps its mode. If the file is renamed or removed
// (logrotate), a new one is created within a second. Beside it is its reserve,
// PATH.reserve.
//
// reserveErr says why there is no reserve. The log works without it.
//
// A link, pipe or device, a file or folder of another user, and a folder in which
// everybody can replace files are refused with the errors of package atomicfile:
// another user could choose where the lines go.
func Open(path string) (l *Log, reserveErr, err error) {
	strangers, err := newStrangers()
	if err != nil {
		return nil, nil, err
	}
	if path == Stdout {
		return &Log{stdout: &impatient{to: os.Stdout}, strangers: strangers}, nil, nil
	}
	l = &Log{path: path, strangers: strangers}
	if err := l.open(); err != nil {
		return nil, nil, err
	}
	l.reserve, reserveErr = makeReserve(path + ".reserve")
	l.low.Store(isFull(reserveErr))
	return l, reserveErr, nil
}

// Append writes the entries of one request in order, with nothing between them,
// and returns when they are written. After an error, lines may be missing or
// torn, and the caller must not send its answer. The next call tries again.
//
// A request without a principal may only be counted.
func (l *Log) Append(entries ...*Entry) error {
	if len(entries) == 1 && entries[0].UID == "" {
		return l.appendStranger(entries[0])
	}
	return l.append(entries)
}

func (l *Log) appendStranger(e *Entry) error {
	if l.low.Load() || !l.strangers.admit(e.Remote) {
		l.strangers.count(clientnet.Parse(e.Remote), 1, l.summarize)
		return nil
	}
	short := *e
	short.shorten()
	return l.append([]*Entry{&short})
}

// summarize writes how many requests had no line. While there is no room, they
// are counted on.
func (l *Log) summarize() {
	counts := l.strangers.take()
	if len(counts) == 0 {
		return
	}
	lines := make([]*Entry, 0, len(counts))
	for of, n := range counts {
		lines = append(lines, summaryOf(of, n))
	}
	if l.regain() && l.append(lines) == nil {
		return
	}
	for of, n := range counts {
		l.strangers.count(of, n, l.summarize)
	}
}

// regain makes the reserve again if it was given back. It reports whether
// strangers can have lines.
func (l *Log) regain() bool {
	if !l.low.Load() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.reserve != nil && !l.reserve.retake() {
		return false
	}
	l.low.Store(false)
	return true
}

func (l *Log) append(entries []*Entry) error {
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
// that has an effect which could not be audited. It also makes the reserve again
// if there is room.
func (l *Log) Probe() error {
	if l.fault.Load() == nil {
		l.regain()
		return nil
	}
	return l.append([]*Entry{{Time: time.Now(), Endpoint: "audit", Outcome: Allowed, Reason: "the audit log can be written again"}})
}

// Fault returns what is wrong with the log: the error of the last write, or
// ErrReserve, or nil.
func (l *Log) Fault() error {
	if fault := l.fault.Load(); fault != nil {
		return *fault
	}
	if l.low.Load() && l.path != "" {
		return ErrReserve
	}
	return nil
}

// Close writes the counts, waits for the write under way and closes the file.
// Later calls return ErrClosed.
func (l *Log) Close() error {
	l.strangers.close()
	l.summarize()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.fault.Store(&ErrClosed)
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
	if err := l.writeFile(buf); err != nil {
		l.fault.Store(&err)
		return err
	}
	l.fault.Store(nil)
	l.recent.add(buf)
	return nil
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
	if isFull(err) {
		l.low.Store(true)
		if l.reserve != nil && l.reserve.giveBack() {
			var more int
			more, err = to.Write(buf[n:]) // the rest of the same line
			n += more
		}
	}
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
	f, err := openFile(l.path)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open the audit log: %w", err)
	}
	l.file, l.info, l.torn, l.checked = f, info, endsTorn(f, info.Size()), time.Now()
	return nil
}

// openFile opens or creates a file by the rules of package atomicfile. Folders
// on the way may be links of root or of the server's user: /var/log may be one.
func openFile(path string) (*os.File, error) {
	return atomicfile.Rules{Links: true}.OpenAppend(path)
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
