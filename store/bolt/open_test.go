package bolt_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
	"secretstore/store/bolt"
)

func TestRecordsAndVersionsSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	v, err := b.Apply(t.Context(), store.Create("a/b", []byte("x")), store.Create("c", []byte("y")))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = openAt(t, path)
	for i, want := range []struct{ key, data string }{{"a/b", "x"}, {"c", "y"}} {
		n, err := b.Get(t.Context(), want.key, store.Latest)
		if err != nil || string(n.Data) != want.data || n.Version != v[i] {
			t.Errorf("%s: %q at %d, %v, want %q at %d", want.key, n.Data, n.Version, err, want.data, v[i])
		}
	}
	if len(b.Warnings()) != 0 {
		t.Errorf("warnings %q", b.Warnings())
	}
}

func TestVersionsAreNeverReused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	seen := make(map[store.Version]bool)
	for range 5 {
		b := openAt(t, path)
		for range 5 {
			v, err := b.Apply(t.Context(), store.Create("a", []byte("x")), store.Create("b", []byte("x")))
			if err != nil {
				t.Fatal(err)
			}
			if seen[v[0]] || seen[v[1]] || v[0] == v[1] {
				t.Fatalf("versions %d are used again", v)
			}
			seen[v[0]], seen[v[1]] = true, true
			if _, err := b.Apply(t.Context(), store.Delete("a", v[0]), store.Delete("b", v[1])); err != nil {
				t.Fatal(err)
			}
		}
		_ = b.Close()
	}
}

func TestNewFileIsOnlyAccessibleToItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	b := openAt(t, path)
	if mode := modeOf(t, path); mode != 0o600 {
		t.Errorf("mode %04o", mode)
	}
	if len(b.Warnings()) != 0 {
		t.Errorf("warnings %q", b.Warnings())
	}
}

func TestWiderModeIsFixedAndReported(t *testing.T) {
	for _, mode := range []fs.FileMode{0o644, 0o660, 0o604, 0o700} {
		path := filepath.Join(t.TempDir(), "secrets.db")
		_ = openAt(t, path).Close()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		b := openAt(t, path)
		if got := modeOf(t, path); got != 0o600 {
			t.Errorf("mode %04o became %04o", mode, got)
		}
		if w := b.Warnings(); len(w) != 1 || !strings.Contains(w[0], path) || !strings.Contains(w[0], fmt.Sprintf("%04o", mode)) {
			t.Errorf("warnings %q", w)
		}
	}
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestErrInUseNamesTheLockHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	_, err := bolt.Open(t.Context(), path)
	wantInUse(t, err, path, fmt.Sprintf("this process (%d)", os.Getpid()))
	_ = b.Close()
	_ = openAt(t, path).Close()

	child, lines := helper(t, path)
	readLine(t, lines, "ready")
	_, err = bolt.Open(t.Context(), path)
	wantInUse(t, err, path, fmt.Sprintf("process %d (", child.Process.Pid))
}

func wantInUse(t *testing.T, err error, path, by string) {
	t.Helper()
	if !errors.Is(err, bolt.ErrInUse) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "in use by "+by) {
		t.Errorf("got %v, want %s in use by %s", err, path, by)
	}
}

// helper runs TestHelperProcess in another process, until the test ends.
func helper(t *testing.T, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), "BOLT_TEST_HELPER="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

func readLine(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	if !lines.Scan() || lines.Text() != want {
		t.Fatalf("the helper printed %q, want %q (%v)", lines.Text(), want, lines.Err())
	}
}

// TestHelperProcess is the other process. It opens the file, prints "ready", and
// writes records until it is killed. It prints the number of each record that was
// acknowledged.
func TestHelperProcess(t *testing.T) {
	path := os.Getenv("BOLT_TEST_HELPER")
	if path == "" {
		return // this is the test run itself
	}
	b := openAt(t, path)
	fmt.Println("ready")
	for i := 0; ; i++ {
		if _, err := b.Apply(context.Background(), store.Create(fmt.Sprintf("k%d", i), []byte("x"))); err != nil {
			t.Fatal(err)
		}
		if os.Getenv("BOLT_TEST_COMPACTS") != "" {
			if err := b.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Println(i)
	}
}

func TestAcknowledgedWritesSurviveAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	child, lines := helper(t, path)
	readLine(t, lines, "ready")
	const count = 30
	for i := range count {
		readLine(t, lines, fmt.Sprint(i))
	}
	_ = child.Process.Kill()
	_ = child.Wait() // it has the lock until it has ended
	b := openAt(t, path)
	for i := range count {
		if _, err := b.Get(t.Context(), fmt.Sprintf("k%d", i), store.Latest); err != nil {
			t.Errorf("k%d: %v", i, err)
		}
	}
}

// refusedFiles returns files that Open must refuse and not change.
func refusedFiles(t *testing.T) map[string]struct {
	content []byte
	want    error
} {
	valid := validFile(t)
	foreign := bboltFile(t, func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("records"))
		return err
	})
	newer := bboltFile(t, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("secretstore"))
		if err != nil {
			return err
		}
		return b.Put([]byte("format"), []byte("2"))
	})
	noMetaPages := append(make([]byte, 2*os.Getpagesize()), valid[2*os.Getpagesize():]...)
	return map[string]struct {
		content []byte
		want    error
	}{
		"text":               {[]byte("not a database\n"), bolt.ErrDamaged},
		"one byte":           {[]byte{0}, bolt.ErrDamaged},
		"zeros":              {make([]byte, 1<<16), bolt.ErrDamaged},
		"noise":              {noise(1 << 16), bolt.ErrDamaged},
		"no meta pages":      {noMetaPages, bolt.ErrDamaged},
		"first page only":    {valid[:os.Getpagesize()], bolt.ErrDamaged},
		"meta pages only":    {valid[:2*os.Getpagesize()], bolt.ErrDamaged},
		"first half only":    {valid[:len(valid)/2], bolt.ErrDamaged},
		"last page missing":  {valid[:highWater(t, valid)-1], bolt.ErrDamaged},
		"another program's":  {foreign, bolt.ErrForeign},
		"of a newer release": {newer, bolt.ErrForeign},
		"all but meta pages": {append(bytes.Clone(valid[:2*os.Getpagesize()]), noise(len(valid)-2*os.Getpagesize())...), bolt.ErrDamaged},
	}
}

func TestForeignAndDamagedFilesAreRefusedUnchanged(t *testing.T) {
	for name, file := range refusedFiles(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secrets.db")
			if err := os.WriteFile(path, file.content, 0o644); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time, to find that the lock was released
				_, err := bolt.Open(t.Context(), path)
				if !errors.Is(err, file.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("Open: %v, want %v and the path", err, file.want)
				}
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(after, file.content) {
				t.Errorf("the file was changed (%v)", err)
			}
			if mode := modeOf(t, path); mode != 0o644 {
				t.Errorf("the mode was changed to %04o", mode)
			}
		})
	}
}

func TestOpenReturnsTheSystemError(t *testing.T) {
	folder := t.TempDir()
	fifo := filepath.Join(folder, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		folder:                           syscall.EISDIR,
		filepath.Join(folder, "no/file"): fs.ErrNotExist,
		filepath.Join(folder, "a\x00b"):  syscall.EINVAL,
		fifo:                             nil,
	} {
		_, err := bolt.Open(t.Context(), path)
		if err == nil || want != nil && !errors.Is(err, want) || errors.Is(err, bolt.ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%q): %v, want %v", path, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(folder, "secrets.db")
	if _, err := bolt.Open(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("Open under an ended context: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open under an ended context left a file: %v", err)
	}
}

func TestEmptyFileIsTreatedAsNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := openAt(t, path)
	if _, err := b.Apply(t.Context(), store.Create("a", []byte("x"))); err != nil {
		t.Error(err)
	}
}

// TestDamagedPagesNeverPanic: damage in the middle of the file is only noticed
// when its page is read. Calls must end with an error or an answer.
func TestDamagedPagesNeverPanic(t *testing.T) {
	valid := validFile(t)
	rnd := rand.New(rand.NewPCG(3, 5))
	refusals := 0
	for range 80 {
		damaged := bytes.Clone(valid)
		at := rnd.IntN(len(damaged) - 64)
		if rnd.IntN(2) == 0 { // at the header of a page
			at -= at % os.Getpagesize()
		}
		for i := range 1 + rnd.IntN(64) {
			damaged[at+i] = byte(rnd.Uint32())
		}
		path := filepath.Join(t.TempDir(), "secrets.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		refusals += useAllCalls(t, path)
	}
	if refusals == 0 {
		t.Error("no damage was noticed: this test proves nothing")
	}
}

// useAllCalls makes every kind of call on a file that may be damaged, and counts
// the errors.
func useAllCalls(t *testing.T, path string) (refusals int) {
	t.Helper()
	count := func(err error) {
		if err != nil {
			refusals++
			if !strings.Contains(err.Error(), path) && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("error does not name the file: %v", err)
			}
		}
	}
	b, err := bolt.Open(t.Context(), path)
	count(err)
	if err != nil {
		return refusals
	}
	for i := 0; i < 200; i += 3 {
		_, err := b.Get(t.Context(), fmt.Sprintf("p/k%03d", i), store.Latest)
		count(err)
	}
	_, err = b.Children(t.Context(), "p", store.Latest)
	count(err)
	for i := range 8 {
		var op *store.OpError
		if _, err = b.Apply(t.Context(), store.Ensure(fmt.Sprintf("p/k%03d", i*25), []byte("x")), store.Ensure(fmt.Sprintf("p/n%d", i), []byte("x"))); !errors.As(err, &op) {
			count(err)
		}
	}
	_ = b.Close()
	return refusals
}

// validFile returns the content of a file with 200 records on many pages.
func validFile(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	for i := range 200 {
		if _, err := b.Apply(t.Context(), store.Create(fmt.Sprintf("p/k%03d", i), noise(500))); err != nil {
			t.Fatal(err)
		}
	}
	_ = b.Close()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// bboltFile returns the content of a bbolt file that was made without this
// package.
func bboltFile(t *testing.T, fill func(*bbolt.Tx) error) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(fill); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// highWater returns the length of the part of the file that is in use.
func highWater(t *testing.T, content []byte) int64 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var size int64
	_ = db.View(func(tx *bbolt.Tx) error {
		size = tx.Size()
		return nil
	})
	return size
}

// noise returns the same n bytes every time.
func noise(n int) []byte {
	rnd, b := rand.New(rand.NewPCG(1, uint64(n))), make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}
