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

// maxCache is the largest file that is read back, in bytes.
const maxCache = 2 << 30

// ErrNoCache: there is no usable copy. The text says why.
var ErrNoCache = errors.New("there is no usable copy")

// Cache is a file with the last answer of the server in plain text, with which a program
// can start while the server is unreachable. It is bound to its question, has mode 0600
// and is on a tmpfs. It becomes invalid after MaxAge, after a reboot, and if it belongs
// to somebody else.
type Cache struct {
	// Dir is the folder, on a tmpfs; it is made with mode 0700.
	Dir string
	// Question is everything that the answer depends on: server, service,
	// arguments.
	Question []byte
	// MaxAge is the largest age of a valid answer.
	MaxAge time.Duration
}

// cached is the content of the file.
type cached struct {
	Boot     string        `json:"boot"`     // id of the boot
	Written  time.Duration `json:"written"`  // how long after the boot the values were current
	Question string        `json:"question"` // its SHA-256 sum
	Answer   []byte        `json:"answer"`
}

func (c Cache) digest() string {
	sum := sha256.Sum256(c.Question)
	return hex.EncodeToString(sum[:])
}

func (c Cache) file() File {
	return File{Dest: filepath.Join(c.Dir, c.digest()), Mode: 0o600, UID: Keep, GID: Keep}
}

// Store replaces the copy by an answer, which is of the given age already.
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

// Load returns the copy and its age, or ErrNoCache. It removes a copy that is too old.
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
		return nil, 0, fmt.Errorf("%w: it is from before the last boot", ErrNoCache)
	case age < 0 || age > c.MaxAge:
		t.dir.Remove(t.name) // it is useless
		return nil, 0, fmt.Errorf("%w: it is older than %s", ErrNoCache, c.MaxAge)
	}
	return doc.Answer, age, nil
}

// Remove removes the copy.
func (c Cache) Remove() {
	file := c.file()
	if t, err := (Files{List: []File{file}}).open(file); err == nil {
		if t.existed && t.ours() == nil {
			t.dir.Remove(t.name) // if it fails, MaxAge still applies
		}
		t.close()
	}
}

// errForeign: somebody else could have written the copy.
var errForeign = errors.New("the copy or its folder is not private to this user")

// ours checks the folder: in /dev/shm anybody can make one with any name.
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
