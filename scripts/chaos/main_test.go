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

// inside is set in the environment of the process that the tests run in.
const inside = "SECRETSTORE_CHAOS_INSIDE"

// TestMain runs the tests in namespaces of their own: what they do to the
// network is theirs alone, and every process they start ends with them.
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
	runtime.LockOSThread() // the kernel takes the end of this thread for that of the parent
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

// furnish mounts what belongs to the new namespaces: /proc for the new process
// ids, and a /run in which ip keeps the names of networks.
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
