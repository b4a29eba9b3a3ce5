package deliver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// maxCache bounds what is read back.
const maxCache = 2 << 30

// ErrNoCache: there is nothing that may be used. The reason is in the text.
var ErrNoCache = errors.New("there is no copy to fall back to")

// Cache is one file that holds the last answer of the server in plain text, so
// that a program can start again while the server is away. It is bound to the
// question that was asked, is of mode 0600, lies on a tmpfs only, and counts for
// nothing after its time, after a boot, or when it is not ours.
type Cache struct {
	// Dir is the folder, on a tmpfs; it is made with mode 0700.
	Dir string
	// Question is all that the answer depends on: server, service, arguments.
	Question []byte
	// MaxAge is how old the answer may be.
	MaxAge time.Duration
}

// cached is the content of the file.
type cached struct {
	Boot     string        `json:"boot"`     // id of the boot
	Written  time.Duration `json:"written"`  // how long after the boot the values were current
	Question string        `json:"question"` // SHA-256 of it
	Answer   []byte        `json:"answer"`
}

func (c Cache) digest() string {
	sum := sha256.Sum256(c.Question)
	return hex.EncodeToString(sum[:])
}

func (c Cache) file() File {
	return File{Dest: filepath.Join(c.Dir, c.digest()), Mode: 0o600, UID: Keep, GID: Keep}
}

// Store replaces the copy by an answer that is of this age already.
func (c Cache) Store(answer []byte, age time.Duration) error {
	boot, now, err := sinceBoot()
	if err != nil {
		return fmt.Errorf("keep a copy: %w", err)
	}
	file := c.file()
	file.Data, err = json.Marshal(cached{Boot: boot, Written: now - age, Question: c.digest(), Answer: answer})
	if err != nil {
		return fmt.Errorf("keep a copy: %w", err)
	}
	defer clear(file.Data)
	files := Files{List: []File{file}}
	t, err := files.open(file)
	if err == nil {
		err = t.ours()
		t.close()
	}
	if err == nil {
		_, err = files.Place()
	}
	if err != nil {
		return fmt.Errorf("keep a copy: %w", err)
	}
	return nil
}

// Load returns the copy and its age, or ErrNoCache. A copy whose time is over is
// removed.
func (c Cache) Load() (answer []byte, age time.Duration, err error) {
	boot, now, err := sinceBoot()
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrNoCache, err)
	}
	file := c.file()
	t, err := Files{List: []File{file}}.open(file)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrNoCache, err)
	}
	defer t.close()
	doc, err := t.read()
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrNoCache, err)
	}
	switch age = now - doc.Written; {
	case doc.Boot != boot || doc.Question != c.digest():
		return nil, 0, fmt.Errorf("%w: it is from before the boot", ErrNoCache)
	case age < 0 || age > c.MaxAge:
		t.dir.Remove(t.name) // it is of no use to anybody
		return nil, 0, fmt.Errorf("%w: it is older than %s", ErrNoCache, c.MaxAge)
	}
	return doc.Answer, age, nil
}

// Remove takes the copy away, as when the server says no.
func (c Cache) Remove() {
	file := c.file()
	if t, err := (Files{List: []File{file}}).open(file); err == nil {
		if t.existed && t.ours() == nil {
			t.dir.Remove(t.name) // its time ends anyway
		}
		t.close()
	}
}

// errForeign: somebody else could have written the copy.
var errForeign = errors.New("the folder of the copy, or the copy, is not of this user alone")

// ours checks the folder: in /dev/shm anybody can make one of any name.
func (t *target) ours() error {
	var info unix.Stat_t
	if err := unix.Fstat(t.dir.Fd(), &info); err != nil {
		return err
	}
	if int(info.Uid) != os.Geteuid() || info.Mode&0o077 != 0 {
		return errForeign
	}
	return nil
}

func (t *target) read() (cached, error) {
	if !t.existed {
		return cached{}, errors.New("none was kept")
	}
	if err := t.ours(); err != nil {
		return cached{}, err
	}
	f, err := t.dir.Open(t.name)
	if err != nil {
		return cached{}, err
	}
	defer f.Close() // only read
	var info unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &info); err != nil {
		return cached{}, err
	}
	if int(info.Uid) != os.Geteuid() || info.Mode != unix.S_IFREG|0o600 || info.Nlink != 1 {
		return cached{}, errForeign
	}
	data, err := io.ReadAll(io.LimitReader(f, maxCache))
	if err != nil {
		return cached{}, err
	}
	defer clear(data)
	var doc cached
	if json.Unmarshal(data, &doc) != nil { // its error may quote the file
		return cached{}, errors.New("it is damaged")
	}
	return doc, nil
}
