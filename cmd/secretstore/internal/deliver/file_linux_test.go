package deliver

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"secretstore/internal/atomicfile"
)

// memory returns a new folder on a tmpfs.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "secretstore-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func file(dest, data string) File {
	return File{Dest: dest, Mode: 0o400, UID: Keep, GID: Keep, Data: []byte(data)}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range all {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestFilesHaveTheirModeAndAreReplacedAsAWhole(t *testing.T) {
	dir := memory(t)
	path := filepath.Join(dir, "deep", "er", "a=b")
	for _, text := range []string{"first and longer", "second"} {
		if _, err := (Files{List: []File{file(path, text)}}).Place(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, err2 := os.Stat(path)
		if err != nil || err2 != nil || string(got) != text || info.Mode() != 0o400 {
			t.Errorf("%q, %v, mode %v", got, err, info.Mode())
		}
	}
	info, err := os.Stat(filepath.Join(dir, "deep"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a new folder: %v, %v", info, err)
	}
	if got := names(t, filepath.Dir(path)); got != "a=b" {
		t.Errorf("left: %s", got)
	}
}

// TestAReaderSeesTheOldFileOrTheNew keeps the old one open: it is not written to.
func TestAReaderSeesTheOldFileOrTheNew(t *testing.T) {
	path := filepath.Join(memory(t), "a")
	if _, err := (Files{List: []File{file(path, "old")}}).Place(); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := (Files{List: []File{file(path, "new")}}).Place(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if n, err := old.Read(got); err != nil || string(got[:n]) != "old" {
		t.Errorf("the old file holds %q, %v", got[:n], err)
	}
}

func TestFileAndItsNewFolderBelongToTheOwner(t *testing.T) {
	path := filepath.Join(memory(t), "new", "a")
	f := file(path, "x")
	f.UID, f.GID = os.Getuid(), os.Getgid()
	if os.Getuid() == 0 {
		f.UID, f.GID = 1234, 4321
	}
	if _, err := (Files{List: []File{f}}).Place(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, filepath.Dir(path)} {
		var st syscall.Stat_t
		if err := syscall.Stat(name, &st); err != nil || int(st.Uid) != f.UID || int(st.Gid) != f.GID {
			t.Errorf("%s: owner %d:%d, %v, want %d:%d", name, st.Uid, st.Gid, err, f.UID, f.GID)
		}
	}
}

// TestFolderOnADiskIsRefused uses /proc, which is never a tmpfs.
func TestFolderOnADiskIsRefused(t *testing.T) {
	for _, dest := range []string{"/proc/secret", "/proc/new/folder/secret"} {
		if err := (Files{List: []File{file(dest, "x")}}).Check(); !errors.Is(err, ErrDisk) {
			t.Errorf("%s: %v, want ErrDisk", dest, err)
		}
	}
	path := filepath.Join(t.TempDir(), "a")
	if _, err := (Files{List: []File{file(path, "x")}, AllowDisk: true}).Place(); err != nil {
		t.Errorf("with AllowDisk: %v", err)
	}
}

func TestLinksAndOtherThingsAreRefusedAndStay(t *testing.T) {
	dir := memory(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(
		os.WriteFile(at("target"), []byte("old"), 0o600), os.Symlink(at("target"), at("link")),
		os.Symlink(at("nowhere"), at("dangling")),
		os.Mkdir(at("folder"), 0o700), os.Symlink(at("folder"), at("to-folder")), syscall.Mkfifo(at("pipe"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	for _, tt := range []struct {
		dest string
		want error
	}{
		{"link", atomicfile.ErrLink}, {"dangling", atomicfile.ErrLink}, {"to-folder", atomicfile.ErrLink}, {"to-folder/a", atomicfile.ErrLink}, {"dangling/a", atomicfile.ErrLink},
		{"folder", atomicfile.ErrNotRegular}, {"pipe", atomicfile.ErrNotRegular}, {"target/a", syscall.ENOTDIR},
	} {
		if _, err := (Files{List: []File{file(at(tt.dest), "x")}}).Place(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.dest, err, tt.want)
		}
	}
	for _, dest := range []string{"", "/", at("folder") + "/", ".", ".."} {
		if err := (Files{List: []File{file(dest, "x")}, AllowDisk: true}).Check(); err == nil {
			t.Errorf("%q is taken for a file", dest)
		}
	}
	twice := Files{List: []File{file(at("a"), "x"), file(at("folder/../a"), "y")}}
	if err := twice.Check(); !errors.Is(err, ErrTwice) {
		t.Errorf("the same twice: %v", err)
	}
	if got, err := os.ReadFile(at("target")); err != nil || string(got) != "old" || names(t, dir) != before || names(t, at("folder")) != "" {
		t.Errorf("%q, %v; there is now %s", got, err, names(t, dir))
	}
}

// TestAFailureLeavesNothingBehind: the second file is larger than this process
// may write.
func TestAFailureLeavesNothingBehind(t *testing.T) {
	dir := memory(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(a, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 1 << 20
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &low); err != nil {
		t.Fatal(err)
	}
	canary := "kanarienvogel"
	large := file(b, string(bytes.Repeat([]byte(canary), 1<<20)))
	_, err := (Files{List: []File{file(a, "new"), large}}).Place()
	if e := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, unix.EFBIG) || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), ".secretstore-") {
		t.Errorf("%v", err)
	}
	if got, err := os.ReadFile(a); err != nil || string(got) != "old" || names(t, dir) != "a" {
		t.Errorf("a holds %q, %v; there is %s", got, err, names(t, dir))
	}
}

func TestUndoRemovesWhatWasNotThere(t *testing.T) {
	dir := memory(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(a, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	undo, err := (Files{List: []File{file(a, "new"), file(b, "new")}}).Place()
	if err != nil {
		t.Fatal(err)
	}
	undo()
	if got := names(t, dir); got != "a" {
		t.Errorf("there is %q, want a", got)
	}
}

// TestFolderOrFileOfAnotherUserIsRefused: in /dev/shm anybody can make a folder with
// the name that somebody else will use. The owner of the file, as root may set it, is
// trusted. As root, the test gives a folder away; for any other user, the rules are
// those of package atomicfile, which tests them as that user.
func TestFolderOrFileOfAnotherUserIsRefused(t *testing.T) {
	if got := (Files{}).rules(File{UID: 12345}).Owner; got != 12345 {
		t.Errorf("the rules trust %d", got)
	}
	if os.Geteuid() != 0 {
		t.Log("only root can give folders away; package atomicfile tests the rules for this user")
		return
	}
	for _, theirs := range []string{"d", "d/f"} {
		dir := memory(t)
		path := filepath.Join(dir, "d", "f")
		if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("old"), 0o666), os.Chown(filepath.Join(dir, theirs), 12345, 12345)); err != nil {
			t.Fatal(err)
		}
		t.Chdir(filepath.Dir(path))
		for _, dest := range []string{path, "f"} {
			f := file(dest, "x")
			if _, err := (Files{List: []File{f}}).Place(); !errors.Is(err, atomicfile.ErrForeign) {
				t.Errorf("%s of another user: %s: %v, want ErrForeign", theirs, dest, err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
				t.Errorf("%s: %q, %v", dest, got, err)
			}
			f.UID, f.GID = 12345, 12345
			if _, err := (Files{List: []File{f}}).Place(); err != nil {
				t.Errorf("%s of the owner of the file: %v", theirs, err)
			}
			if err := errors.Join(os.WriteFile(path, []byte("old"), 0o666), os.Chown(filepath.Join(dir, theirs), 12345, 12345)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestFolderInWhichAnybodyCanReplaceFilesIsRefused even if it is one's own, and also
// if it is the working directory. A sticky one, such as /dev/shm, is fine.
func TestFolderInWhichAnybodyCanReplaceFilesIsRefused(t *testing.T) {
	for mode, want := range map[os.FileMode]error{0o777: atomicfile.ErrOpen, 0o707: atomicfile.ErrOpen, 0o777 | os.ModeSticky: nil, 0o755: nil} {
		dir := filepath.Join(t.TempDir(), "d")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		t.Chdir(dir)
		for _, dest := range []string{filepath.Join(dir, "f"), "f"} {
			_, err := Files{AllowDisk: true, List: []File{file(dest, "v")}}.Place()
			if !errors.Is(err, want) {
				t.Errorf("mode %v: %s: %v, want %v", mode, dest, err, want)
			}
			left, err := os.ReadDir(dir)
			if err != nil || (len(left) > 0) != (want == nil) {
				t.Errorf("mode %v: %s: %d files, %v", mode, dest, len(left), err)
			}
		}
	}
}
