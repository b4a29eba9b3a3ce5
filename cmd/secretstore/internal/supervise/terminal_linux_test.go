package supervise

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// onTerminal starts a program as the leader of a session on a terminal of its
// own. What is written to in is typed there.
func onTerminal(t *testing.T, cmd *exec.Cmd) *talk {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = side, side, side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	side.Close()
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

// TestCtrlZStopsNothing: a shell could not continue the program, for it does not
// see it stop.
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
