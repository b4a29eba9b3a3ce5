package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"secretstore/cmd/secretstore/internal/slack"
)

// TestAServerToleratesLateTimers: all its threads do, those of the Go runtime included;
// one that was started with a slack of somebody's choice keeps that.
func TestAServerToleratesLateTimers(t *testing.T) {
	t.Run("by default", func(t *testing.T) { haveSlack(t, slack.OfKernel, slack.OfServer) })
	t.Run("unless told otherwise", func(t *testing.T) { haveSlack(t, 70*time.Microsecond, 70*time.Microsecond) })
}

func haveSlack(t *testing.T, inherited, want time.Duration) {
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("secretstore", "server", "--dev")
	cmd.Dir, cmd.Stderr = t.TempDir(), f
	cmd.Env = append(os.Environ(), "SECRETSTORE_LISTEN=127.0.0.1:0", "GORACE=atexit_sleep_ms=0")
	if os.Geteuid() != 0 {
		// Only root may see the slack of others, or who owns the namespace they are in.
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
	}
	if err := startWithSlack(cmd, inherited); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(log)
		if err == nil && listening.Match(text) {
			break
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			t.Fatalf("the server does not listen: %v\n%s", cmd.Wait(), text)
		}
	}
	for thread, has := range slackOf(t, cmd.Process.Pid) {
		if has != want.String() {
			t.Errorf("thread %s has a slack of %s, want %s", thread, has, want)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error("the server, asked to end:", err)
	}
}

// startWithSlack starts a program that inherits a slack.
func startWithSlack(cmd *exec.Cmd, inherited time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(inherited), 0, 0, 0); err != nil {
		return err
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.OfKernel), 0, 0, 0)
	return cmd.Start()
}

// slackOf returns the slack of each thread of a process.
func slackOf(t *testing.T, pid int) map[string]string {
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*"))
	if err != nil || len(threads) == 0 {
		t.Fatal("no threads:", err)
	}
	all := make(map[string]string)
	for _, path := range threads {
		thread := filepath.Base(path)
		ns, err := os.ReadFile(filepath.Join("/proc", thread, "timerslack_ns"))
		if os.IsNotExist(err) {
			continue // it has ended
		}
		has, parseErr := time.ParseDuration(strings.TrimSpace(string(ns)) + "ns")
		if err != nil || parseErr != nil {
			t.Fatal(err, parseErr)
		}
		all[thread] = has.String()
	}
	return all
}
