package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait.
const patience = time.Minute

// This program is also the parts of its tests: "run" supervises the rest of its
// arguments, "record" prints the signals that it gets and the lines that it
// reads, "shell" runs the rest of its arguments as a job in the background.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "run":
			os.Exit(runMain(os.Args[2:]))
		case "record":
			os.Exit(recordMain())
		case "shell":
			os.Exit(shellMain(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// runMain restarts the program for each byte from descriptor 3, with one more
// in COUNT, if that is a pipe.
func runMain(args []string) int {
	// So that orphans come here, as they do to process 1.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		panic(err)
	}
	changes := make(chan Change)
	// A file opened later, such as the terminal, gets number 3 if the test passes
	// no pipe.
	var info unix.Stat_t
	if err := unix.Fstat(3, &info); err == nil && info.Mode&unix.S_IFMT == unix.S_IFIFO {
		unix.CloseOnExec(3)
		go restartForEachByte(os.NewFile(3, "changes"), changes)
	}
	timeout := patience
	if os.Getenv("STUBBORN") != "" {
		timeout = 200 * time.Millisecond
	}
	status, err := Run(Command{Path: path, Args: args, Env: append(os.Environ(), "COUNT=0")}, Options{Changes: changes, StopTimeout: timeout})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 126
	}
	return status
}

func restartForEachByte(wanted *os.File, changes chan<- Change) {
	for n := 1; ; n++ {
		if _, err := wanted.Read(make([]byte, 1)); err != nil {
			return
		}
		changes <- Change{Restart: true, Env: append(os.Environ(), "COUNT="+strconv.Itoa(n))}
	}
}

func recordMain() int {
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	signals := make(chan os.Signal, 100)
	if os.Getenv("STOPS") == "" {
		signal.Notify(signals)
	} else {
		signal.Notify(signals, unix.SIGINT, unix.SIGCONT, unix.SIGTERM)
	}
	say("ready %d group %d", os.Getpid(), unix.Getpgrp())
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			say("read %s", lines.Text())
		}
	}()
	for s := range signals {
		switch s {
		case unix.SIGURG, unix.SIGCHLD:
		case unix.SIGTERM:
			if os.Getenv("STUBBORN") == "" {
				say("ending")
				return 7
			}
		default:
			say("got %d", s)
		}
	}
	return 0
}

// talk is a program whose output is read line by line.
type talk struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.Writer
	lines chan string
	ended chan struct{}
}

func start(t *testing.T, cmd *exec.Cmd) *talk {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return follow(t, cmd, in, out)
}

func follow(t *testing.T, cmd *exec.Cmd, in io.Writer, out io.ReadCloser) *talk {
	k := &talk{t: t, cmd: cmd, in: in, lines: make(chan string, 1000), ended: make(chan struct{})}
	go func() {
		s := bufio.NewScanner(out)
		for s.Scan() {
			k.lines <- strings.TrimRight(s.Text(), "\r")
		}
		close(k.lines)
	}()
	go func() {
		cmd.Wait() // its state is read
		close(k.ended)
	}()
	t.Cleanup(func() {
		if cmd.Args[1] == "run" {
			cmd.Process.Signal(unix.SIGTERM) // it ends what it has started, or that would outlive the test
		} else {
			cmd.Process.Kill()
		}
		<-k.ended
		out.Close()
	})
	return k
}

// until reads up to a line with the words, and returns all lines.
func (k *talk) until(words string) []string {
	k.t.Helper()
	var all []string
	for timeout := time.After(patience); ; {
		select {
		case line, ok := <-k.lines:
			if !ok {
				k.t.Fatalf("the output ended before %q: %q", words, all)
			}
			all = append(all, line)
			if strings.Contains(line, words) {
				return all
			}
		case <-timeout:
			k.t.Fatalf("never came: %q, only %q", words, all)
		}
	}
}

func (k *talk) status() int {
	k.t.Helper()
	select {
	case <-k.ended:
	case <-time.After(patience):
		k.t.Fatal("it does not end")
	}
	return k.cmd.ProcessState.ExitCode()
}

func (k *talk) signal(s syscall.Signal) {
	k.t.Helper()
	if err := k.cmd.Process.Signal(s); err != nil {
		k.t.Fatal(err)
	}
}

// restartable starts a program that restart has start again.
func restartable(t *testing.T, cmd *exec.Cmd) (k *talk, restart func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{r}
	t.Cleanup(func() { w.Close() })
	k = start(t, cmd)
	r.Close()
	return k, func() {
		t.Helper()
		if _, err := w.Write([]byte{0}); err != nil {
			t.Fatal(err)
		}
	}
}

func supervised(args ...string) *exec.Cmd {
	return exec.Command(os.Args[0], append([]string{"run"}, args...)...)
}

func TestExitStatusPassesThrough(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 7": 7, "exit 255": 255, "kill -9 $$": 137, "kill -TERM $$": 143, "kill -USR1 $$": 128 + 10,
	} {
		if got := start(t, supervised("sh", "-c", script)).status(); got != want {
			t.Errorf("%s: status %d, want %d", script, got, want)
		}
	}
}

func TestProgramThatDoesNotStartIsAnError(t *testing.T) {
	if got := start(t, supervised("/etc")).status(); got == 0 {
		t.Error("a folder runs")
	}
}

// TestEverySignalReachesTheProgram except the two that cannot be caught and those about
// this process itself.
func TestEverySignalReachesTheProgram(t *testing.T) {
	k := start(t, supervised(os.Args[0], "record"))
	k.until("ready")
	for _, s := range forwarded() {
		switch s {
		case unix.SIGTERM: // at the end
		case unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGSTKFLT, unix.SIGSYS, unix.SIGPROF:
			// Of the program itself, in Go programs.
		default:
			k.signal(s.(syscall.Signal))
			k.until(fmt.Sprintf("got %d", s))
		}
	}
	k.signal(unix.SIGTERM)
	k.until("ending")
	if got := k.status(); got != 7 {
		t.Errorf("status %d, want 7", got)
	}
}

func TestRestartWaitsForTheEndAndUsesTheNewEnvironment(t *testing.T) {
	k, restart := restartable(t, supervised("sh", "-c", `trap 'echo ending $COUNT; exit 3' TERM; echo started $COUNT; while :; do sleep 0.05; done`))
	k.until("started 0")
	restart()
	// The shell may say that its sleep was terminated, too.
	if got := k.until("started 1"); !slices.Contains(got, "ending 0") {
		t.Errorf("%q", got)
	}
	k.signal(unix.SIGTERM)
	k.until("ending 1")
	if got := k.status(); got != 3 {
		t.Errorf("status %d, want 3", got)
	}
}

func TestProgramThatIgnoresSIGTERMIsKilledForARestart(t *testing.T) {
	cmd := supervised(os.Args[0], "record")
	cmd.Env = append(os.Environ(), "STUBBORN=1")
	k, restart := restartable(t, cmd)
	first := k.until("ready")
	restart()
	second := k.until("ready")
	if first[len(first)-1] == second[len(second)-1] {
		t.Errorf("the same process: %q", second)
	}
}

// leavesAServer is a shell that ends at SIGTERM at once, while the server that it runs
// takes its time.
func leavesAServer() *exec.Cmd { return supervised("sh", "-c", os.Args[0]+" record; true") }

// readyPid returns the process that said that it is ready.
func readyPid(t *testing.T, lines []string) (pid int) {
	t.Helper()
	var group int
	if _, err := fmt.Sscanf(lines[len(lines)-1], "ready %d group %d", &pid, &group); err != nil || pid == group {
		t.Fatalf("%q, %v", lines, err)
	}
	return pid
}

func isGone(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

func TestRestartWaitsForTheServerThatAShellLeavesBehind(t *testing.T) {
	k, restart := restartable(t, leavesAServer())
	old := readyPid(t, k.until("ready"))
	restart()
	lines := k.until("ready")
	if readyPid(t, lines) == old || !slices.Contains(lines, "ending") || !isGone(old) {
		t.Errorf("the old server has not ended first: %q", lines)
	}
}

func TestServerLeftBehindIsKilledForARestart(t *testing.T) {
	cmd := leavesAServer()
	cmd.Env = append(os.Environ(), "STUBBORN=1")
	k, restart := restartable(t, cmd)
	old := readyPid(t, k.until("ready"))
	restart()
	k.until("ready")
	if !isGone(old) {
		t.Error("the old server is still there")
	}
}

func TestSIGTERMReachesTheServerBelowAShell(t *testing.T) {
	k := start(t, leavesAServer())
	pid := readyPid(t, k.until("ready"))
	k.signal(unix.SIGTERM)
	k.until("ending")
	if got := k.status(); got != 143 || !isGone(pid) {
		t.Errorf("status %d, want 143; the server is gone: %v", got, isGone(pid))
	}
}

// TestProgramThatEndsTakesItsGroupWithIt, also a process that ignores SIGTERM.
func TestProgramThatEndsTakesItsGroupWithIt(t *testing.T) {
	for _, stubborn := range []string{"", "1"} {
		cmd := supervised("sh", "-c", os.Args[0]+" record < /dev/null & read line; exit 5")
		cmd.Env = append(os.Environ(), "STUBBORN="+stubborn)
		k := start(t, cmd)
		pid := readyPid(t, k.until("ready"))
		if _, err := io.WriteString(k.in, "end\n"); err != nil {
			t.Fatal(err)
		}
		if got := k.status(); got != 5 || !isGone(pid) {
			t.Errorf("stubborn %q: status %d, want 5; the rest is gone: %v", stubborn, got, isGone(pid))
		}
	}
}

func TestProgramThatIgnoresSIGTERMIsKilledAtTheEnd(t *testing.T) {
	cmd := supervised(os.Args[0], "record")
	cmd.Env = append(os.Environ(), "STUBBORN=1")
	k := start(t, cmd)
	k.until("ready")
	k.signal(unix.SIGTERM)
	if got := k.status(); got != 137 {
		t.Errorf("status %d, want 137", got)
	}
}

// TestProcessOutsideTheGroupIsLeftAlone: a daemon leaves the group on purpose.
func TestProcessOutsideTheGroupIsLeftAlone(t *testing.T) {
	k := start(t, supervised("sh", "-c", "setsid "+os.Args[0]+" record < /dev/null & read line; exit 5"))
	pid := 0
	for _, line := range k.until("ready") {
		fmt.Sscanf(line, "ready %d", &pid)
	}
	defer unix.Kill(pid, unix.SIGTERM)
	if _, err := io.WriteString(k.in, "end\n"); err != nil {
		t.Fatal(err)
	}
	if got := k.status(); got != 5 || isGone(pid) {
		t.Errorf("status %d, want 5; it is gone: %v", got, isGone(pid))
	}
}

// TestSIGTERMDuringARestartCancelsIt: the program takes its time to end.
func TestSIGTERMDuringARestartCancelsIt(t *testing.T) {
	k, restart := restartable(t, supervised("sh", "-c", `trap 'trap "" TERM; echo ending; read line; exit 4' TERM; echo started; while :; do sleep 0.05; done`))
	k.until("started")
	restart()
	k.until("ending")
	k.signal(unix.SIGTERM)
	if _, err := io.WriteString(k.in, "go\n"); err != nil {
		t.Fatal(err)
	}
	if got := k.status(); got != 4 {
		t.Errorf("status %d, want 4", got)
	}
	for line := range k.lines {
		if line == "started" {
			t.Error("it was started again")
		}
	}
}

// TestOrphansAreWaitedFor has sh leave a process behind.
func TestOrphansAreWaitedFor(t *testing.T) {
	k := start(t, supervised("sh", "-c", `sh -c 'sh -c "echo orphan \$\$; exec sleep 0.2" &'; read line; exit 5`))
	lines := k.until("orphan")
	pid := strings.TrimPrefix(lines[len(lines)-1], "orphan ")
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat("/proc/" + pid); err != nil {
			break // neither running nor a zombie
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s is left", pid)
		}
	}
	if _, err := io.WriteString(k.in, "end\n"); err != nil {
		t.Fatal(err)
	}
	if got := k.status(); got != 5 {
		t.Errorf("status %d, want 5", got)
	}
}

func TestProgramDiesWithItsSupervisor(t *testing.T) {
	k := start(t, supervised(os.Args[0], "record"))
	lines := k.until("ready")
	var pid, group int
	if _, err := fmt.Sscanf(lines[len(lines)-1], "ready %d group %d", &pid, &group); err != nil || pid != group {
		t.Fatalf("%q, %v", lines, err)
	}
	k.signal(unix.SIGKILL)
	for range k.lines { // ends when the pipe has no writer
	}
}

func TestIgnoredSignalsStayIgnored(t *testing.T) {
	cmd := exec.Command("sh", "-c", `trap '' HUP; exec "$0" run sh -c 'echo ready; read line; exit 6'`, os.Args[0])
	k := start(t, cmd)
	k.until("ready")
	k.signal(unix.SIGHUP)
	if _, err := io.WriteString(k.in, "end\n"); err != nil {
		t.Fatal(err)
	}
	if got := k.status(); got != 6 {
		t.Errorf("status %d, want 6", got)
	}
}
