// Package tasks holds the commands that give tasks their secrets: exec, render,
// check and task-token.
package tasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/supervise"
)

// execFlags are those of exec.
type execFlags struct {
	deliveryFlags
	watch       bool
	signal      string
	restart     bool
	interval    time.Duration
	stopTimeout time.Duration
	number      syscall.Signal // of signal; 0 is none
}

// Commands are those that give tasks their secrets.
func Commands(p *base.Process) []*cobra.Command {
	return []*cobra.Command{checkCommand(p), execCommand(p), renderCommand(p)}
}

func execCommand(p *base.Process) *cobra.Command {
	var flags execFlags
	cmd := &cobra.Command{
		Use:   "exec [--env NAME=PATH]... [--file DEST=PATH]... [--definition FILE] -- COMMAND [ARGUMENT]...",
		Short: "Run a program with its secrets",
		Long: "exec fetches all secrets in one request and runs COMMAND with them: in environment variables, or in files.\n" +
			"The program takes the place of this one: signals, standard streams, terminal and exit status are its own. The\n" +
			"store's token is not in its environment. If a secret cannot be had, nothing is run and nothing is written.\n\n" +
			"--definition gives what a Marathon app or pod, or a Metronome job, names in its JSON. Relative names of files\n" +
			"count from the working directory.\n\n" +
			"Files are replaced as a whole, and are put on a tmpfs only (/dev/shm, /run), unless --allow-disk says that\n" +
			"a disk will do; $MESOS_SANDBOX is one, and its files are shown by Mesos. They stay when the program ends.\n\n" +
			"--watch has the server tell of changes. When a value is another one it replaces the files, then sends --signal, or\n" +
			"stops the program with SIGTERM and starts it again with --restart, which variables need. The program still gets\n" +
			"every signal, and exec ends with its status: 128 and the signal if it was killed by one.\n\n" +
			"--max-stale keeps a copy of the values in plain text, for this user alone, in $XDG_RUNTIME_DIR or /dev/shm: while\n" +
			"the server is out of reach, the same command starts with it, until it is that old or the machine has booted. It is\n" +
			"not used when the store is sealed or says no.\n\n" +
			"Exit status: the program's; 127 if there is no such program, 126 if it cannot be run.",
		Example: "  secretstore exec --env PGPASSWORD=team/app/db-password -- psql -h db\n" +
			"  secretstore exec --file /dev/shm/app/tls.key=team/app/tls-key --service /team/app -- nginx\n" +
			"  secretstore exec --file /run/app/password=team/app/db --watch --signal HUP -- server\n" +
			"  secretstore exec --env DB=team/app/db --watch --restart --max-stale 1h -- server",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return base.Usagef("name the COMMAND to run, after --")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command is the command's
	flags.register(cmd)
	f.StringArrayVar(&flags.env, "env", nil, "the secret `NAME=PATH` as an environment variable (may be given again)")
	f.DurationVar(&flags.maxStale, "max-stale", 0, "keep a copy in memory, and use it for so long while the server is away")
	f.BoolVar(&flags.watch, "watch", false, "stay, and act when a value changes")
	f.StringVar(&flags.signal, "signal", "", "with --watch: send the program this `SIGNAL`, such as HUP")
	f.BoolVar(&flags.restart, "restart", false, "with --watch: start the program again")
	f.DurationVar(&flags.interval, "interval", 30*time.Second, "with --watch: how often to ask a server that does not tell")
	f.DurationVar(&flags.stopTimeout, "stop-timeout", 30*time.Second, "with --restart: kill a program that has not ended after so long")
	cmd.MarkFlagsMutuallyExclusive("signal", "restart")
	cmd.RunE = base.Run(func(cmd *cobra.Command, args []string) error { return flags.run(cmd, p, args) })
	return cmd
}

func (e *execFlags) run(cmd *cobra.Command, p *base.Process, args []string) error {
	what, err := e.read(cmd, p)
	if err != nil {
		return err
	}
	if err := e.readWatch(what); err != nil {
		return err
	}
	program, err := findProgram(args[0])
	if err != nil {
		return err
	}
	q, done, err := e.question(p, what)
	if err != nil {
		return err
	}
	defer done()
	got, err := e.first(p, q, what)
	if err != nil {
		return err
	}
	undo, err := placeWhole(got.files.Place)
	if err != nil {
		if undo != nil {
			undo() // nothing is run
		}
		return err
	}
	if e.watch {
		return e.supervise(p, q, what, got, program, args, undo)
	}
	err = syscall.Exec(program, args, got.environment())
	undo() // we are still here
	return notRun(args[0], err)
}

func (e *execFlags) readWatch(what *delivery) error {
	switch {
	case !e.watch && (e.signal != "" || e.restart):
		return base.Usagef("--signal and --restart need --watch")
	case e.watch && !e.restart && len(what.env) > 0:
		return base.Usagef("the environment of a running program cannot change: say --restart, or use --file in place of --env")
	case e.interval < time.Second:
		return base.Usagef("--interval must be one second at least")
	case e.stopTimeout <= 0 || e.maxStale < 0:
		return base.Usagef("--stop-timeout and --max-stale must not be negative")
	case e.signal == "":
		return nil
	}
	e.number = unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(e.signal), "SIG"))
	if e.number == 0 {
		return base.Usagef("there is no signal %q; write a name such as HUP or USR1", e.signal)
	}
	return nil
}

// findProgram looks the program up before any secret is asked for.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, fs.ErrPermission):
		return "", &base.CannotRun{Status: base.ExitNotExecutable, Err: fmt.Errorf("%s cannot be executed", name)}
	case errors.Is(err, exec.ErrDot):
		return "", &base.CannotRun{Status: base.ExitNoCommand, Err: fmt.Errorf("%s is in this folder only; write ./%s if it is meant", name, name)}
	}
	if info, err := os.Stat(name); strings.Contains(name, "/") && err == nil && info.IsDir() {
		return "", &base.CannotRun{Status: base.ExitNotExecutable, Err: fmt.Errorf("%s is a folder", name)}
	}
	return "", &base.CannotRun{Status: base.ExitNoCommand, Err: fmt.Errorf("there is no program %s", name)}
}

// notRun says why the system did not run a program that is there.
func notRun(name string, err error) error {
	switch {
	case errors.Is(err, syscall.E2BIG):
		err = errors.New("its arguments and environment are larger than the system takes; give large secrets with --file")
	case errors.Is(err, syscall.ENOEXEC):
		err = errors.New("it is neither a program nor a script that begins with \"#!\"")
	case errors.Is(err, syscall.ENOENT):
		err = errors.New("the interpreter that it names is missing")
	}
	return &base.CannotRun{Status: base.ExitNotExecutable, Err: fmt.Errorf("run %s: %w", name, err)}
}

// supervise runs the program and stays. The watcher has ended when it returns.
func (e *execFlags) supervise(p *base.Process, q *question, what *delivery, got *bundle, program string, args []string, undo func()) error {
	if err := supervise.Protect(); err != nil {
		return fmt.Errorf("protect the memory: %w", err)
	}
	w := &watcher{flags: e, p: p, q: q, what: what, got: got, changes: make(chan supervise.Change)}
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		w.run(ctx)
	}()
	status, err := supervise.Run(supervise.Command{Path: program, Args: args, Env: got.environment()},
		supervise.Options{Changes: w.changes, StopTimeout: e.stopTimeout})
	cancel()
	<-watched
	if err != nil {
		undo()
		return notRun(args[0], err)
	}
	return &base.Ended{Status: status}
}
