package atomicfile

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inDir returns a function that names things in a new folder.
func inDir(t *testing.T) func(string) string {
	dir := t.TempDir()
	return func(name string) string { return filepath.Join(dir, name) }
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

func want(t *testing.T, path, content string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("%s holds %q, %v; want %q", filepath.Base(path), got, err, content)
	}
}

func TestFileIsCreatedAndReplacedWhole(t *testing.T) {
	at := inDir(t)
	for _, content := range []string{"first and longer", "second", ""} {
		if err := WriteFile(at("a"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		want(t, at("a"), content)
		if got := names(t, at("")); got != "a" {
			t.Errorf("the folder has %s", got)
		}
	}
}

// TestOpenReaderKeepsTheOldContent: the old file is not written to.
func TestOpenReaderKeepsTheOldContent(t *testing.T) {
	at := inDir(t)
	if err := WriteFile(at("a"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(at("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := WriteFile(at("a"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if n, err := old.Read(got); err != nil || string(got[:n]) != "old" {
		t.Errorf("the old file holds %q, %v", got[:n], err)
	}
}

func TestModeIsExact(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		at := inDir(t)
		old := syscall.Umask(umask)
		for _, mode := range []fs.FileMode{0o600, 0o400, 0o644, 0o666, 0} {
			err := WriteFile(at("a"), []byte("x"), mode)
			info, statErr := os.Stat(at("a"))
			if err := errors.Join(err, statErr); err != nil || info.Mode() != mode {
				t.Errorf("umask %o: %v, %v, want %v", umask, err, info, mode)
			}
		}
		syscall.Umask(old)
	}
}

// TestContentIsPrivateBeforeItIsFinished, whatever the mode of the file will be.
func TestContentIsPrivateBeforeItIsFinished(t *testing.T) {
	at := inDir(t)
	f, err := Create(at("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if info, err := f.f.Stat(); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestPlainNameIsInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := WriteFile("a", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, "a", "x")
}

func TestWhatIsNotARegularFileIsRefusedAndStays(t *testing.T) {
	at := inDir(t)
	err := errors.Join(
		os.WriteFile(at("target"), []byte("old"), 0o600),
		os.Symlink(at("target"), at("link")),
		os.Symlink(at("nowhere"), at("dangling")),
		os.Mkdir(at("folder"), 0o700),
		os.Symlink(at("folder"), at("to-folder")),
		syscall.Mkfifo(at("pipe"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	before := names(t, at(""))
	for path, want := range map[string]error{
		at("link"): ErrLink, at("dangling"): ErrLink, at("to-folder"): ErrLink,
		at("folder"): ErrNotRegular, at("pipe"): ErrNotRegular,
		at("dangling/a"): ErrLink, at("target/a"): unix.ENOTDIR, at("missing/a"): unix.ENOENT,
		at("folder") + "/": ErrNoName, "": ErrNoName, "/": ErrNoName, ".": ErrNoName, at("folder") + "/..": ErrNoName,
	} {
		if err := WriteFile(path, []byte("x"), 0o600); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	want(t, at("target"), "old")
	if got := names(t, at("")); got != before {
		t.Errorf("the folder has %s, want %s", got, before)
	}
}

// TestLinkThatTakesTheNameLateIsNotFollowed: it is refused while the content is
// being written, and replaced if it comes even later.
func TestLinkThatTakesTheNameLateIsNotFollowed(t *testing.T) {
	at := inDir(t)
	f, err := Create(at("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if err := errors.Join(os.WriteFile(at("target"), []byte("old"), 0o600), os.Symlink(at("target"), at("a"))); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(0o600); !errors.Is(err, ErrLink) {
		t.Errorf("%v, want ErrLink", err)
	}
	f.Discard()
	want(t, at("target"), "old")
	if got := names(t, at("")); got != "a target" {
		t.Errorf("the folder has %s", got)
	}
}

// TestFolderIsUsedAsItWasOpened: a link that takes its name meanwhile does not
// lead the content elsewhere.
func TestFolderIsUsedAsItWasOpened(t *testing.T) {
	at := inDir(t)
	if err := errors.Join(os.Mkdir(at("folder"), 0o700), os.Mkdir(at("elsewhere"), 0o700)); err != nil {
		t.Fatal(err)
	}
	f, err := Create(at("folder/a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if err := errors.Join(os.Rename(at("folder"), at("moved")), os.Symlink(at("elsewhere"), at("folder"))); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(0o600); err != nil {
		t.Fatal(err)
	}
	if elsewhere, moved := names(t, at("elsewhere")), names(t, at("moved")); elsewhere != "" || moved != "a" {
		t.Errorf("elsewhere has %q, the folder that was opened %q", elsewhere, moved)
	}
}

// foreign gives path to another user. Only root can do that: for any other user, the
// rules that it returns are checked as if the test were run by somebody else, so
// that all files of this user are foreign.
func foreign(t *testing.T, path string, r Rules) Rules {
	t.Helper()
	if self := os.Geteuid(); self != 0 {
		r.testOnlySelf = self + 1
	} else if err := os.Lchown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLinksAreFollowedOnlyIfTheRulesPermitAndOnlyOnesOwn: a link of another user
// could lead anywhere.
func TestLinksAreFollowedOnlyIfTheRulesPermitAndOnlyOnesOwn(t *testing.T) {
	at := inDir(t)
	if err := errors.Join(
		os.MkdirAll(at("real/deep"), 0o700),
		os.Symlink("real", at("relative")), os.Symlink(at("real"), at("absolute")),
		os.Symlink("relative/deep/../../absolute", at("chain")),
		os.Symlink("loop", at("loop")),
	); err != nil {
		t.Fatal(err)
	}
	open := func(r Rules, path string) (uint64, error) {
		d, err := r.OpenFolder(path)
		if err != nil {
			return 0, err
		}
		defer d.Close()
		var info unix.Stat_t
		if err := unix.Fstat(d.Fd(), &info); err != nil {
			t.Fatal(err)
		}
		return info.Ino, nil
	}
	deep, err := open(Rules{}, at("real/deep"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"relative/deep", "absolute/deep", "chain/deep", "relative//./deep/", "real/../absolute/deep"} {
		if got, err := open(Rules{Links: true}, at("")+"/"+path); err != nil || got != deep {
			t.Errorf("%s: inode %d, %v, want %d", path, got, err, deep)
		}
		if _, err := open(Rules{}, at("")+"/"+path); !errors.Is(err, ErrLink) {
			t.Errorf("%s without links: %v, want ErrLink", path, err)
		}
	}
	if _, err := open(Rules{Links: true}, at("loop/a")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
	if os.Geteuid() != 0 {
		// The folders are foreign as well here, so only the link itself is asked.
		d, err := Rules{Links: true}.OpenFolder(at(""))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		d.rules = foreign(t, at("relative"), d.rules)
		if _, err := d.follow("relative"); !errors.Is(err, ErrLink) {
			t.Errorf("a foreign link: %v, want ErrLink", err)
		}
		return
	}
	for _, path := range []string{"relative", "absolute", "chain"} {
		if _, err := open(foreign(t, at(path), Rules{Links: true}), at(path)+"/deep"); !errors.Is(err, ErrLink) {
			t.Errorf("%s: %v, want ErrLink", path, err)
		}
	}
}

// TestFoldersAndFilesOfOthersAreRefused, on the way, at its end, and above the
// working directory. Nothing is written.
func TestFoldersAndFilesOfOthersAreRefused(t *testing.T) {
	for _, theirs := range []string{"way", "way/folder", "way/folder/a"} {
		at := inDir(t)
		if err := errors.Join(os.MkdirAll(at("way/folder"), 0o755), os.WriteFile(at("way/folder/a"), []byte("old"), 0o666)); err != nil {
			t.Fatal(err)
		}
		r := foreign(t, at(theirs), Rules{})
		for _, path := range []string{at("way/folder/a"), at("way") + "/../way/folder/a", "a", "./a", "../folder/a"} {
			t.Chdir(at("way/folder"))
			if err := r.WriteFile(path, []byte("x"), 0o600); !errors.Is(err, ErrForeign) {
				t.Errorf("%s of another user: %s: %v, want ErrForeign", theirs, path, err)
			}
		}
		want(t, at("way/folder/a"), "old")
		if got := names(t, at("way/folder")); got != "a" {
			t.Errorf("the folder has %s", got)
		}
		if os.Geteuid() == 0 {
			r.Owner = 12345
			if err := r.WriteFile("a", []byte("x"), 0o600); err != nil {
				t.Errorf("%s of the owner that the rules permit: %v", theirs, err)
			}
		}
	}
}

func TestTrustedAreRootTheUserAndTheOwnerOfTheRules(t *testing.T) {
	for _, tt := range []struct {
		uid, self, owner int
		want             bool
	}{
		{0, 1000, Keep, true}, {1000, 1000, Keep, true}, {1001, 1000, Keep, false}, {1001, 1000, 0, false},
		{1001, 1000, 1001, true}, {1001, 1000, 1002, false},
	} {
		if got := (Rules{Owner: tt.owner, testOnlySelf: tt.self}).trusts(tt.uid); got != tt.want {
			t.Errorf("a file of %d, run by %d, for %d: %v", tt.uid, tt.self, tt.owner, got)
		}
	}
}

// TestFolderThatEverybodyCanWriteToIsRefused even if it is one's own. A sticky one,
// such as /tmp, is fine. A relative path is not treated differently.
func TestFolderThatEverybodyCanWriteToIsRefused(t *testing.T) {
	for mode, want := range map[os.FileMode]error{0o777: ErrOpen, 0o707: ErrOpen, 0o777 | os.ModeSticky: nil, 0o755: nil} {
		at := inDir(t)
		if err := errors.Join(os.MkdirAll(at("open/folder"), 0o700), os.Chmod(at("open"), mode)); err != nil {
			t.Fatal(err)
		}
		t.Chdir(at("open/folder"))
		for _, path := range []string{at("open/a"), at("open/folder/a"), "a", "../a"} {
			if err := WriteFile(path, []byte("x"), 0o600); !errors.Is(err, want) {
				t.Errorf("mode %v: %s: %v, want %v", mode, path, err, want)
			}
			if want == nil {
				continue
			}
			if f, err := CreateNew(path); !errors.Is(err, want) {
				t.Errorf("mode %v: new %s: %v, %v, want %v", mode, path, f, err, want)
			}
		}
		if left := names(t, at("open")); want != nil && left != "folder" {
			t.Errorf("mode %v: %s", mode, left)
		}
	}
}

// TestWorkingDirectoryReachedThroughALinkIsWrittenTo: what counts is where it is,
// not the path by which the shell entered it.
func TestWorkingDirectoryReachedThroughALinkIsWrittenTo(t *testing.T) {
	at := inDir(t)
	if err := errors.Join(os.Mkdir(at("real"), 0o700), os.Symlink("real", at("link"))); err != nil {
		t.Fatal(err)
	}
	t.Chdir(at("link")) // sets PWD, too
	if err := WriteFile("a", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, at("real/a"), "x")
}

func TestCreateNewReplacesNothing(t *testing.T) {
	at := inDir(t)
	f, err := CreateNew(at("a"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Symlink("nowhere", at("link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "link"} {
		if _, err := CreateNew(at(name)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v, want fs.ErrExist", name, err)
		}
	}
	if got := names(t, at("")); got != "a link" {
		t.Errorf("the folder has %s", got)
	}
}

func TestMissingFoldersAreMadePrivately(t *testing.T) {
	at := inDir(t)
	r := Rules{Make: MkdirPrivate}
	if err := r.WriteFile(at("x/y/a"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, at("x/y/a"), "x")
	for _, folder := range []string{"x", "x/y"} {
		if info, err := os.Stat(at(folder)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", folder, info.Mode(), err)
		}
	}
}

// TestFolderOnTheWayNeedsNotBeReadable: only passing through is needed, as in
// /home on many machines. For root every folder is readable.
func TestFolderOnTheWayNeedsNotBeReadable(t *testing.T) {
	at := inDir(t)
	if err := errors.Join(os.MkdirAll(at("way/folder"), 0o700), os.Chmod(at("way"), 0o100), os.Chmod(at("way/folder"), 0o300)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(at("way"), 0o700)
	if err := WriteFile(at("way/folder/a"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, at("way/folder/a"), "x")
	if err := os.Chmod(at("way/folder"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestForeignTemporaryFileIsNotTouched: its name is taken, be it by a file or by a
// link, and nothing is written to it.
func TestForeignTemporaryFileIsNotTouched(t *testing.T) {
	at := inDir(t)
	if err := errors.Join(
		os.WriteFile(at(tempPrefix+"A"), []byte("foreign"), 0o666),
		os.WriteFile(at("target"), []byte("old"), 0o600),
		os.Symlink("target", at(tempPrefix+"B")),
		os.Symlink("nowhere", at(tempPrefix+"C")),
	); err != nil {
		t.Fatal(err)
	}
	d, err := Rules{}.OpenFolder(at(""))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, temp := range []string{"A", "B", "C"} {
		if f, err := d.create("a", tempPrefix+temp); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v, %v, want fs.ErrExist", temp, f, err)
		}
	}
	if err := WriteFile(at("a"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, at(tempPrefix+"A"), "foreign")
	want(t, at("target"), "old")
	if got := names(t, at("")); got != tempPrefix+"A "+tempPrefix+"B "+tempPrefix+"C a target" {
		t.Errorf("the folder has %s", got)
	}
}

// TestCrashLeavesTheOldFileWhole kills a process after it has written new content
// and before it renames it.
func TestCrashLeavesTheOldFileWhole(t *testing.T) {
	const variable = "ATOMICFILE_CRASH"
	if path := os.Getenv(variable); path != "" {
		f, err := Create(path)
		if err == nil {
			_, err = f.Write([]byte("new"))
		}
		if err == nil {
			err = f.Finish(Keep, Keep, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	at := inDir(t)
	if err := WriteFile(at("a"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"="+at("a"))
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("%v\n%s", err, out)
	}
	want(t, at("a"), "old")
	left := strings.Fields(names(t, at("")))
	if len(left) != 2 || !strings.HasPrefix(left[0], tempPrefix) || left[1] != "a" {
		t.Errorf("the folder has %q", left)
	}
	if err := WriteFile(at("a"), []byte("newer"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, at("a"), "newer")
}

func TestContentReadsBackWhatWasWritten(t *testing.T) {
	f, err := Create(inDir(t)("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	for _, part := range []string{"one ", "two"} {
		if _, err := f.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := io.ReadAll(f.Content()); err != nil || string(got) != "one two" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDiscardLeavesNothing(t *testing.T) {
	at := inDir(t)
	if err := WriteFile(at("a"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, finished := range []bool{false, true} {
		f, err := Create(at("a"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		if finished {
			if err := f.Finish(Keep, Keep, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f.Discard()
		f.Discard() // again does nothing
		want(t, at("a"), "old")
		if got := names(t, at("")); got != "a" {
			t.Errorf("the folder has %s", got)
		}
	}
}

// TestFailedWriteLeavesTheOldFile: the content is larger than this process may
// write. The error names neither it nor the temporary file.
func TestFailedWriteLeavesTheOldFile(t *testing.T) {
	at := inDir(t)
	if err := WriteFile(at("a"), []byte("old"), 0o600); err != nil {
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
	err := WriteFile(at("a"), bytes.Repeat([]byte("canary"), 1<<20), 0o600)
	if e := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, unix.EFBIG) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), tempPrefix) {
		t.Errorf("%v", err)
	}
	want(t, at("a"), "old")
	if got := names(t, at("")); got != "a" {
		t.Errorf("the folder has %s", got)
	}
}

// TestDescriptorsAreClosed, those of failures too.
func TestDescriptorsAreClosed(t *testing.T) {
	at := inDir(t)
	if err := errors.Join(os.Symlink(at(""), at("self")), os.Symlink("loop", at("loop"))); err != nil {
		t.Fatal(err)
	}
	count := func() int { return len(strings.Fields(names(t, "/dev/fd"))) }
	before := count()
	for range 20 {
		r := Rules{Links: true}
		if err := r.WriteFile(at("self/self/a"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"missing/a", "self", "loop/a", "a/b"} {
			if err := r.WriteFile(at(path), []byte("x"), 0o600); err == nil {
				t.Errorf("%s was written", path)
			}
			if _, err := r.OpenStream(at(path)); err == nil {
				t.Errorf("%s was opened", path)
			}
		}
	}
	if after := count(); after > before+5 {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// TestOnlyOldTemporaryFilesOfThisUserAreLeftovers: nothing else is removed.
func TestOnlyOldTemporaryFilesOfThisUserAreLeftovers(t *testing.T) {
	at := inDir(t)
	dir, err := Rules{}.OpenFolder(at(""))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	now := time.Now()
	old := now.Add(-time.Hour)
	temp := func(text string) string { return tempPrefix + text + strings.Repeat("A", len(rand.Text())-len(text)) }
	kept := []string{tempPrefix + "dev", tempPrefix, temp("A") + "A", temp("a"), temp("0"), "x" + temp("B"), "secretstore-20010101T000000Z.backup"}
	for _, name := range append([]string{temp("OLD"), temp("NEW")}, kept...) {
		if err := errors.Join(os.WriteFile(at(name), []byte("x"), 0o600), os.Chtimes(at(name), old, old)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chtimes(at(temp("NEW")), now, now), os.Mkdir(at(temp("DIR")), 0o700), os.Chtimes(at(temp("DIR")), old, old),
		os.Symlink(at(kept[0]), at(temp("LINK"))), unix.Mkfifo(at(temp("PIPE")), 0o600), os.Chtimes(at(temp("PIPE")), old, old)); err != nil {
		t.Fatal(err)
	}
	kept = append(kept, temp("NEW"), temp("DIR"), temp("LINK"), temp("PIPE"))
	slices.Sort(kept)
	foreign := &Folder{dir.fd, Rules{testOnlySelf: os.Geteuid() + 1}}
	if err := foreign.RemoveLeftovers(now.Add(-time.Minute)); err != nil || !strings.Contains(names(t, at("")), temp("OLD")) {
		t.Errorf("as another user: %v, %s", err, names(t, at("")))
	}
	if err := dir.RemoveLeftovers(now.Add(-time.Minute)); err != nil || names(t, at("")) != strings.Join(kept, " ") {
		t.Errorf("%v, left are %s\nwant %s", err, names(t, at("")), strings.Join(kept, " "))
	}
}
