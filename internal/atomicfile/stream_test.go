package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestStreamWritesToAPipeAndADevice(t *testing.T) {
	at := inDir(t)
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		got, err := os.ReadFile(at("pipe"))
		read <- fmt.Sprint(string(got), err)
	}()
	for _, path := range []string{at("pipe"), os.DevNull} {
		f, err := OpenStream(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("secret"); err != nil {
			t.Error(err)
		}
		f.Close()
	}
	if got := <-read; got != "secret<nil>" {
		t.Errorf("the pipe got %s", got)
	}
}

// TestPipeOfAnotherUserIsRefused although this user may write to it, and at once:
// it has no reader, so an attempt to open it would never return.
func TestLogIsAppendedToAndIsNotOfAnotherUser(t *testing.T) {
	at := inDir(t)
	for range 2 {
		f, err := Rules{}.OpenAppend(at("log"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("line\n"); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	text, err := os.ReadFile(at("log"))
	info, statErr := os.Stat(at("log"))
	if err != nil || statErr != nil || string(text) != "line\nline\n" || info.Mode() != 0o600 {
		t.Errorf("%q, %v, %v, %v", text, info.Mode(), err, statErr)
	}
	if err := errors.Join(os.Symlink("log", at("link")), syscall.Mkfifo(at("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"link": ErrLink, "pipe": ErrNotRegular, "": ErrFolder} {
		if f, err := (Rules{}).OpenAppend(at(name)); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v, want %v", name, f, err, want)
		}
	}
	d, err := Rules{}.OpenFolder(at(""))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.rules = foreign(t, at("log"), d.rules)
	if f, err := d.openAppend("log"); !errors.Is(err, ErrForeign) {
		t.Errorf("%v, %v, want ErrForeign", f, err)
	}
}

func TestPipeOfAnotherUserIsRefused(t *testing.T) {
	at := inDir(t)
	if err := errors.Join(syscall.Mkfifo(at("pipe"), 0o666), os.Chmod(at("pipe"), 0o666)); err != nil {
		t.Fatal(err)
	}
	d, err := Rules{}.OpenFolder(at(""))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.rules = foreign(t, at("pipe"), d.rules)
	if f, err := d.openStream("pipe"); !errors.Is(err, ErrForeign) {
		t.Errorf("%v, %v, want ErrForeign", f, err)
	}
}

func TestStreamIsNeitherALinkNorAFileNorInAnOpenFolder(t *testing.T) {
	at := inDir(t)
	if err := errors.Join(
		syscall.Mkfifo(at("pipe"), 0o600), os.Symlink("pipe", at("link")), os.WriteFile(at("file"), []byte("old"), 0o600),
		os.Mkdir(at("folder"), 0o700), os.Mkdir(at("open"), 0o700), os.Chmod(at("open"), 0o777), syscall.Mkfifo(at("open/pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"link": ErrLink, "folder": ErrFolder, "open/pipe": ErrOpen, "missing": os.ErrNotExist} {
		if f, err := OpenStream(at(name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, %v, want %v", name, f, err, want)
		}
	}
	if f, err := OpenStream(at("file")); err == nil {
		t.Errorf("a file: %v", f)
	}
	want(t, at("file"), "old")
}
