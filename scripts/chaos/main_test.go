//go:build zookeeper && linux

package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// inside is an environment variable of the process that runs the tests.
const inside = "SECRETSTORE_CHAOS_INSIDE"

// TestMain runs the tests in namespaces of their own: they change no other
// network, and every process that they start ends with them.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(enter())
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "chaos: cannot set up the namespaces of the tests:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func enter() (status int) {
	runtime.LockOSThread() // the kernel treats the end of this thread as the end of the parent
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "chaos: the tests need network namespaces (root, or user namespaces):", err)
		return 1
	}
	if err != nil {
		return max(1, cmd.ProcessState.ExitCode())
	}
	return 0
}

// furnish mounts /proc for the new process ids, and a /run in which ip keeps
// the names of namespaces.
func furnish() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of our own: %w", err)
	}
	for kind, at := range map[string]string{"proc": "/proc", "tmpfs": "/run"} {
		if err := syscall.Mount(kind, at, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	return ip("link", "set", "lo", "up")
}
