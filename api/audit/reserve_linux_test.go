package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"secretstore/internal/atomicfile"
)

// TestRequestsWithAPrincipalHaveAReserveOfDisk fills the disk of the log.
// Strangers then get no lines, and requests with a principal many more. When the
// reserve is used up, writes fail; when there is room, all is as before.
func TestRequestsWithAPrincipalHaveAReserveOfDisk(t *testing.T) {
	dir := smallDisk(t, 2<<20)
	if dir == "" {
		return
	}
	path, ballast := filepath.Join(dir, "audit.log"), filepath.Join(dir, "ballast")
	l := mustOpen(t, path)
	if l.reserve.size != 1<<20 || onDisk(t, path+".reserve") != 1<<20 {
		t.Fatalf("the reserve is to have %d bytes and has %d", l.reserve.size, onDisk(t, path+".reserve"))
	}
	fillDisk(t, ballast)
	if err := l.Append(entry("first")); err != nil {
		t.Fatalf("a line on the full disk: %v", err)
	}
	if err := l.Fault(); !errors.Is(err, ErrReserve) {
		t.Errorf("the fault is %v", err)
	}
	before := onDisk(t, path)
	for range 5000 {
		if err := l.Append(stranger("192.0.2.1")); err != nil {
			t.Fatal(err)
		}
	}
	if now := onDisk(t, path); now != before {
		t.Errorf("strangers have written %d bytes into the reserve", now-before)
	}
	written := 1
	var err error
	for ; err == nil && written < 100_000; written++ {
		err = l.Append(entry(fmt.Sprint(written)))
	}
	if !errors.Is(err, syscall.ENOSPC) || !errors.Is(l.Fault(), syscall.ENOSPC) || written < 1000 {
		t.Fatalf("after %d lines: %v, fault %v", written, err, l.Fault())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.reserve.tried = time.Time{} // a second has passed
	if err := l.Probe(); err != nil {
		t.Fatal(err)
	}
	// What the lines take is missing for the whole reserve.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	l.reserve.tried = time.Time{}
	if err := l.Probe(); err != nil || l.Fault() != nil {
		t.Fatalf("with room again: %v, fault %v", err, l.Fault())
	}
	if onDisk(t, path+".reserve") != 1<<20 {
		t.Error("the reserve was not made again")
	}
	if err := l.Append(stranger("192.0.2.2")); err != nil {
		t.Fatal(err)
	}
	l.summarize()
	// In any order: the counts are also written every second.
	all, counted, single := lines(t, path), false, false
	for _, line := range all {
		counted = counted || line["left_out"] == 5000.0
		single = single || line["remote"] == "192.0.2.2"
	}
	if !counted || !single {
		t.Errorf("after the disk had room again: %v", all)
	}
}

// TestTheReserveBreaksNoLine: the line that meets the full disk continues in the
// room of the reserve.
func TestTheReserveBreaksNoLine(t *testing.T) {
	dir := smallDisk(t, 1<<20)
	if dir == "" {
		return
	}
	path := filepath.Join(dir, "audit.log")
	l := mustOpen(t, path)
	for i := 0; !l.low.Load(); i++ {
		if err := l.Append(entry(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Append(entry("last")); err != nil {
		t.Fatal(err)
	}
	lines(t, path) // each is JSON
}

func TestTheReserveIsAPrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.Symlink("/etc/passwd", path+".reserve"); err != nil {
		t.Fatal(err)
	}
	l, reserveErr, err := Open(path)
	if err != nil || !errors.Is(reserveErr, atomicfile.ErrLink) {
		t.Fatalf("%v, reserve %v", err, reserveErr)
	}
	defer l.Close()
	if err := l.Append(entry("x")); err != nil || l.Fault() != nil {
		t.Errorf("without a reserve: %v, %v", err, l.Fault())
	}
}

func onDisk(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// smallDisk runs the test again in a process that may mount, and returns the
// folder of a tmpfs there. In the first process it returns "" once that has
// passed.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	const env = "AUDIT_TEST_SMALL_DISK"
	if os.Getenv(env) != "" {
		dir := t.TempDir()
		if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			t.Fatalf("cannot mount a tmpfs: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
		return dir
	}
	var out []byte
	var err error
	for _, flags := range []uintptr{syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER, syscall.CLONE_NEWNS} {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), env+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		if flags&syscall.CLONE_NEWUSER != 0 {
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		if out, err = cmd.CombinedOutput(); err == nil && bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
			return ""
		}
		if !errors.Is(err, syscall.EPERM) && !strings.Contains(string(out), "cannot mount a tmpfs") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	t.Fatalf("this test needs root, or user namespaces: %v\n%s", err, out)
	return ""
}
