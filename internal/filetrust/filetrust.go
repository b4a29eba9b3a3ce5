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
// names the command that repairs it.
var ErrUntrusted = errors.New("it cannot be trusted")

// Check refuses the file or folder at path, which info describes, if it belongs to
// neither root nor the user of this process, or if everybody can write to it.
// ErrUntrusted.
func Check(path string, info fs.FileInfo) error { return check(path, info, os.Geteuid()) }

func check(path string, info fs.FileInfo, self int) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: %w: its owner is not known", path, ErrUntrusted)
	}
	owner, link := int(stat.Uid), info.Mode()&fs.ModeSymlink != 0
	switch {
	case owner != 0 && owner != self && link:
		return fmt.Errorf("%s: %w: it is a symbolic link of user %s; name the file itself", path, ErrUntrusted, name(owner))
	case owner != 0 && owner != self:
		return fmt.Errorf("%s: %w: it belongs to user %s; if its content is yours, run: chown %s %s",
			path, ErrUntrusted, name(owner), name(self), shell.Quote(path))
	case !link && info.Mode().Perm()&0o002 != 0: // the mode of a link means nothing
		return fmt.Errorf("%s: %w: everybody can write to it; if its content is yours, run: chmod o-w %s", path, ErrUntrusted, shell.Quote(path))
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
