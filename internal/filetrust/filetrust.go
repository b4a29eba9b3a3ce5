// Package filetrust decides whether a file may say who gets in. A policy, a key
// or a certificate that another user can change is not the operator's.
//
// It looks at the file itself and not at the folders above: a user who replaces
// the file owns the new one, which is refused then.
package filetrust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"secretstore/internal/shell"
)

// ErrUntrusted: another user can change the file or folder. An error that wraps it
// is an *Untrusted.
var ErrUntrusted = errors.New("it cannot be trusted")

// Untrusted says why a file or folder is not trusted.
type Untrusted struct {
	Path string
	Why  string
	// Command repairs it, if the content is the operator's; "" if there is none.
	Command string
}

// Error returns all of it in one sentence.
func (u *Untrusted) Error() string {
	text := fmt.Sprintf("%s: %v: %s", u.Path, ErrUntrusted, u.Why)
	if u.Command != "" {
		text += "; if its content is yours, run: " + u.Command
	}
	return text
}

// Unwrap returns ErrUntrusted.
func (u *Untrusted) Unwrap() error { return ErrUntrusted }

// Check refuses the file or folder at path, which info describes, if it belongs to
// neither root nor the user of this process, or if everybody can write to it.
// ErrUntrusted.
func Check(path string, info fs.FileInfo) error { return CheckFor(os.Geteuid(), path, info) }

// CheckFor is Check for a process of the user with the number self.
func CheckFor(self int, path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return &Untrusted{Path: path, Why: "its owner is not known"}
	}
	owner, link := int(stat.Uid), info.Mode()&fs.ModeSymlink != 0
	switch {
	case owner != 0 && owner != self && link:
		return &Untrusted{Path: path, Why: fmt.Sprintf("it is a symbolic link of user %s; name the file itself", name(owner))}
	case owner != 0 && owner != self:
		return &Untrusted{path, "it belongs to user " + name(owner), "chown " + name(self) + " " + shell.Quote(path)}
	case !link && info.Mode().Perm()&0o002 != 0: // the mode of a link means nothing
		return &Untrusted{path, "everybody can write to it", "chmod o-w " + shell.Quote(path)}
	}
	return nil
}

// CheckSecret is Check for a file that only its owner may read. A credential of
// systemd is one. ErrUntrusted.
func CheckSecret(path string, info fs.FileInfo) error {
	if err := Check(path, info); err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 && !Credential(path) {
		return &Untrusted{path, "other users may read it", "chmod 600 " + shell.Quote(path)}
	}
	return nil
}

// CheckLink refuses a symbolic link at path that belongs to neither root nor the
// user of this process. Whether there is anything else is not its concern.
// ErrUntrusted.
func CheckLink(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return Check(path, info)
	}
	return nil
}

// name returns the name of a user, or the number if there is none.
func name(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}
