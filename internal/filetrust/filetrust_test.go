package filetrust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// described is the description of a file of any user.
type described struct {
	uid  uint32
	mode fs.FileMode
}

func (d described) Name() string       { return "f" }
func (d described) Size() int64        { return 0 }
func (d described) Mode() fs.FileMode  { return d.mode }
func (d described) ModTime() time.Time { return time.Time{} }
func (d described) IsDir() bool        { return d.mode.IsDir() }
func (d described) Sys() any           { return &syscall.Stat_t{Uid: d.uid} }

func TestOnlyFilesOfRootAndOfTheServersUserAreTrusted(t *testing.T) {
	const self, other = 54321, 54322 // without names
	for _, tt := range []struct {
		what    described
		refused string // part of the error; "" if it is trusted
	}{
		{described{self, 0o600}, ""},
		{described{0, 0o644}, ""},
		{described{0, 0o664}, ""}, // a group is a matter of a warning
		{described{self, 0o602}, "run: chmod o-w 'a file'"},
		{described{0, 0o666}, "run: chmod o-w 'a file'"},
		{described{other, 0o600}, "it belongs to user 54322; if its content is yours, run: chown 54321 'a file'"},
		{described{other, 0o666}, "run: chown 54321 'a file'"},
		{described{self, fs.ModeDir | 0o700}, ""},
		{described{self, fs.ModeDir | fs.ModeSticky | 0o777}, "chmod o-w"},
		{described{other, fs.ModeDir | 0o700}, "chown"},
		{described{self, fs.ModeSymlink | 0o777}, ""},
		{described{other, fs.ModeSymlink | 0o777}, "symbolic link of user 54322"},
	} {
		err := CheckFor(self, "a file", tt.what)
		if (err != nil) != (tt.refused != "") || err != nil && (!errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), tt.refused)) {
			t.Errorf("%+v: %v, want %q", tt.what, err, tt.refused)
		}
	}
}

// TestOwnerIsReadFromTheFileSystem: as root, the test gives files away. As any other
// user, it checks files of root and of its own.
func TestOwnerIsReadFromTheFileSystem(t *testing.T) {
	file, link := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	verdict := func() (error, error) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return Check(file, info), CheckLink(link)
	}
	if a, b := verdict(); a != nil || b != nil {
		t.Errorf("of one's own: %v, %v", a, b)
	}
	if os.Geteuid() != 0 {
		if info, err := os.Stat("/proc/1"); err != nil || Check("/proc/1", info) != nil {
			t.Errorf("a folder of root: %v", err)
		}
		return
	}
	if err := errors.Join(os.Chown(file, 12345, 12345), os.Lchown(link, 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	if a, b := verdict(); !errors.Is(a, ErrUntrusted) || !errors.Is(b, ErrUntrusted) {
		t.Errorf("of another user: %v, %v", a, b)
	}
}

func TestSecretsAreForTheirOwnerAlone(t *testing.T) {
	self := uint32(os.Geteuid())
	for mode, want := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o610: false, 0o644: false} {
		err := CheckSecret("a file", described{self, mode})
		if (err == nil) != want || err != nil && !(errors.Is(err, ErrUntrusted) && strings.Contains(err.Error(), "run: chmod 600 'a file'")) {
			t.Errorf("%o: %v", mode, err)
		}
	}
	if err := CheckSecret("/run/credentials/s.service/f", described{self, 0o440}); err != nil {
		t.Errorf("a credential: %v", err)
	}
}
