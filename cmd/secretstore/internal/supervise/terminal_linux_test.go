package supervise

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"secretstore/internal/ptytest"
)

// onTerminal starts a program as the leader of a session on a terminal of its
// own. What is written to in is typed there.
func onTerminal(t *testing.T, cmd *exec.Cmd) *talk {
	t.Helper()
	master := ptytest.Start(t, cmd)
	return follow(t, cmd, master, master)
}

func (k *talk) write(s string) {
	k.t.Helper()
	if _, err := io.WriteString(k.in, s); err != nil {
		k.t.Fatal(err)
	}
}

// TestCtrlCReachesTheProgramOnce, and what is typed reaches it too.
func TestCtrlCReachesTheProgramOnce(t *testing.T) {
	k := onTerminal(t, supervised(os.Args[0], "record"))
	k.until("ready")
	k.write("hello\n")
	k.until("read hello") // it has the terminal
	k.write("\x03")
	k.until("got 2")
	k.signal(unix.SIGUSR1)
	if got := strings.Join(k.until("got 10"), " "); strings.Contains(got, "got 2") {
		t.Errorf("Ctrl-C came again: %s", got)
	}
	k.signal(unix.SIGTERM)
	if got := k.status(); got != 7 {
		t.Errorf("status %d, want 7", got)
	}
}

// TestCtrlZStopsNothing: a shell could not continue the program, because it
// does not see it stop.
func TestCtrlZStopsNothing(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *talk{
		"as the leader of the session": func(t *testing.T) *talk {
			cmd := supervised(os.Args[0], "record")
			cmd.Env = append(os.Environ(), "STOPS=1")
			return onTerminal(t, cmd)
		},
		"as the job of a shell": func(t *testing.T) *talk {
			cmd := exec.Command("sh", "-i")
			cmd.Env = append(os.Environ(), "STOPS=1", "PS1=", "ENV=")
			k := onTerminal(t, cmd)
			k.write("'" + os.Args[0] + "' run '" + os.Args[0] + "' record; echo status $?; exit\n")
			return k
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t)
			lines := k.until("ready")
			var pid, group int
			if _, err := fmt.Sscanf(lines[len(lines)-1], "ready %d group %d", &pid, &group); err != nil {
				t.Fatalf("%q: %v", lines, err)
			}
			// A hangup does not end them where it is ignored, as under nohup.
			t.Cleanup(func() { unix.Kill(pid, unix.SIGTERM) })
			k.write("hello\n")
			k.until("read hello")
			k.write("\x1a")
			k.until("got 18") // SIGCONT
			k.write("still here\n")
			k.until("read still here")
			k.write("\x03")
			k.until("got 2")
		})
	}
}

// TestShellGetsItsTerminalBack once the program has ended.
func TestShellGetsItsTerminalBack(t *testing.T) {
	cmd := exec.Command("sh", "-i")
	cmd.Env = append(os.Environ(), "PS1=", "ENV=")
	k := onTerminal(t, cmd)
	k.write("'" + os.Args[0] + "' run sh -c 'echo rea\"\"dy; read line; exit 7'; echo status $?\n")
	k.until("ready")
	k.write("\n")
	k.until("status 7")
	k.write("echo the shell has $((20+22))\n")
	k.until("the shell has 42")
}

// shellMain runs a job in the background, and brings it to the foreground for a
// byte from descriptor 3, without a signal.
func shellMain(args []string) int {
	unix.CloseOnExec(3)
	job := exec.Command(args[0], args[1:]...)
	job.Stdin, job.Stdout, job.Stderr = os.Stdin, os.Stdout, os.Stderr
	job.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := job.Start(); err != nil {
		panic(err)
	}
	fmt.Println("job", job.Process.Pid)
	go func() {
		if _, err := os.NewFile(3, "foreground").Read(make([]byte, 1)); err == nil {
			if err := unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, job.Process.Pid); err != nil {
				panic(err)
			}
		}
	}()
	job.Wait() // its status is returned
	return job.ProcessState.ExitCode()
}

// stoppedInBackground starts a program as a background job on a terminal, and
// returns once reading the terminal has stopped it.
func stoppedInBackground(t *testing.T) (k *talk, job int, foreground func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	cmd := exec.Command(os.Args[0], "shell", os.Args[0], "run", os.Args[0], "record")
	cmd.Env = append(os.Environ(), "STOPS=1")
	cmd.ExtraFiles = []*os.File{r}
	k = onTerminal(t, cmd)
	r.Close()
	var pid, group int
	for _, line := range k.until("ready") {
		fmt.Sscanf(line, "job %d", &job)
		fmt.Sscanf(line, "ready %d group %d", &pid, &group)
	}
	if job == 0 || pid == 0 {
		t.Fatalf("job %d, program %d", job, pid)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(stat), ") T ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("reading in the background does not stop it: %s", stat)
		}
	}
	return k, job, func() {
		t.Helper()
		if _, err := w.Write([]byte{0}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProgramStoppedInTheBackgroundContinuesInTheForeground(t *testing.T) {
	k, job, foreground := stoppedInBackground(t)
	foreground()
	k.until("got 18") // SIGCONT
	k.write("hello\n")
	k.until("read hello")
	k.write("\x03")
	k.until("got 2")
	syscall.Kill(job, unix.SIGTERM)
	if got := k.status(); got != 7 {
		t.Errorf("status %d, want 7", got)
	}
}

func TestProgramStoppedInTheBackgroundCanBeEnded(t *testing.T) {
	k, job, _ := stoppedInBackground(t)
	syscall.Kill(job, unix.SIGTERM)
	k.until("ending")
	if got := k.status(); got != 7 {
		t.Errorf("status %d, want 7", got)
	}
}
