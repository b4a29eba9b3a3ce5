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
	"os/signal"
	"slices"
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
	number      syscall.Signal // of signal; 0 if none
	ignore      []string
	ignored     []os.Signal // of ignore
}

// Commands returns the commands that give tasks their secrets.
func Commands(p *base.Process) []*cobra.Command {
	return []*cobra.Command{checkCommand(p), execCommand(p), renderCommand(p)}
}

func execCommand(p *base.Process) *cobra.Command {
	flags := execFlags{deliveryFlags: deliveryFlags{onlyFiles: true}}
	cmd := &cobra.Command{
		Use:   "exec [--env NAME=PATH]... [--all PREFIX]... [--file DEST=PATH]... [--template DEST=FILE]... [--definition FILE] -- COMMAND [ARGUMENT]...",
		Short: "Run a program with its secrets",
		Long: "exec fetches all secrets in one request and runs COMMAND with them, in environment variables or in\n" +
			"files. COMMAND replaces secretstore in this process, so it has its signals, standard streams, terminal and\n" +
			"exit status. It does not get the store's token. If exec cannot get one of the secrets, it runs nothing\n" +
			"and writes nothing.\n\n" +
			"--all sets a variable for each secret below PREFIX. Its name is the rest of the path in capitals, with an\n" +
			"underscore for each character that is not a letter or digit, and before a digit at the start: with --all\n" +
			"team/app, the secret team/app/db-password is DB_PASSWORD. Two secrets with one name are an error, and so is\n" +
			"a variable that is already set. --all needs the permission to list PREFIX; a task token does not have it.\n\n" +
			"--template fills in a text with actions such as {{secret \"team/app/db\"}}: see secretstore render --help.\n\n" +
			"--definition takes the secrets that the JSON of a Marathon app or pod, or of a Metronome job, names.\n" +
			"Relative file names are relative to the working directory.\n\n" +
			"Files are replaced as a whole, and only on a tmpfs (/dev/shm, /run) unless --allow-disk is given.\n" +
			"$MESOS_SANDBOX is on a disk, and Mesos shows its files. The files stay when COMMAND ends.\n\n" +
			"With --watch, exec stays and learns of changes from the server. When values have changed and then stay\n" +
			"the same for a second, it replaces the files, then sends COMMAND the --signal, or with --restart stops it\n" +
			"with SIGTERM and starts it again.\n" +
			"Environment variables need --restart. COMMAND still gets every signal, and exec ends with its exit\n" +
			"status, or 128 plus the signal that killed it. Ctrl-Z does not suspend it. On a restart, on SIGTERM and\n" +
			"when COMMAND ends, all processes of its process group get SIGTERM, and after --stop-timeout SIGKILL.\n\n" +
			"--max-stale keeps a plain-text copy of the values, which only this user can read, in $XDG_RUNTIME_DIR\n" +
			"or /dev/shm. While the server is unreachable, the same command uses that copy, until it is too old or\n" +
			"the machine reboots. The copy is not used if the store is sealed or refuses the request.\n\n" +
			"A signal that the caller ignores may not be ignored in COMMAND, because of the Go runtime. systemd ignores\n" +
			"PIPE in its units: give --ignore-signal PIPE there.\n\n" +
			"The exit status is that of COMMAND; 127 if there is no such program, 126 if it cannot be run.",
		Example: "  secretstore exec --env PGPASSWORD=team/app/db-password -- psql -h db\n" +
			"  secretstore exec --all team/app -- ./run-it\n" +
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
	f.SetInterspersed(false) // what follows COMMAND belongs to it
	f.StringArrayVar(&flags.env, "env", nil, "`NAME=PATH` sets the variable NAME to the secret PATH (repeatable)")
	f.StringArrayVar(&flags.all, "all", nil, "a variable for each secret below the folder `PREFIX` that the service may read (repeatable)")
	flags.incomplete.Register(cmd)
	flags.register(p, cmd)
	f.DurationVar(&flags.maxStale, "max-stale", 0, "keep a copy, and use it for `DURATION` while the server is unreachable")
	f.BoolVar(&flags.watch, "watch", false, "stay, and act when a value changes")
	f.StringVar(&flags.signal, "signal", "", "with --watch: send COMMAND this `SIGNAL`, such as HUP")
	f.BoolVar(&flags.restart, "restart", false, "with --watch: restart COMMAND")
	f.DurationVar(&flags.interval, "interval", 30*time.Second, "with --watch: poll a server that does not report changes every `DURATION`")
	f.DurationVar(&flags.stopTimeout, "stop-timeout", 30*time.Second, "with --watch: kill COMMAND and its process group if they take longer than `DURATION` to end")
	f.StringArrayVar(&flags.ignore, "ignore-signal", nil, "run COMMAND with this `SIGNAL` ignored, such as PIPE in a systemd unit (repeatable)")
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
	if err := e.readIgnored(); err != nil {
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
	got, err := e.first(p, q)
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
	if len(e.ignored) > 0 { // Ignore without arguments ignores all
		signal.Ignore(e.ignored...) // COMMAND inherits it
	}
	if e.watch {
		return e.supervise(p, q, what, got, program, args, undo)
	}
	err = syscall.Exec(program, args, got.environment())
	undo() // Exec has failed
	return notRun(args[0], err)
}

func (e *execFlags) readWatch(what *delivery) error {
	switch {
	case !e.watch && (e.signal != "" || e.restart):
		return base.Usagef("--signal and --restart need --watch")
	case e.watch && !e.restart && len(what.env)+len(what.folders) > 0:
		return base.Usagef("the environment of a running program cannot change; use --restart, or --file instead of --env and --all")
	case e.interval < time.Second:
		return base.Usagef("--interval must be at least 1s")
	case e.stopTimeout <= 0 || e.maxStale < 0:
		return base.Usagef("--stop-timeout and --max-stale must not be negative")
	case e.signal == "":
		return nil
	}
	e.number = unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(e.signal), "SIG"))
	if e.number == 0 {
		return base.Usagef("unknown signal %q; use a name such as HUP or USR1", e.signal)
	}
	return nil
}

// ignorable are the signals that --ignore-signal accepts. Others are about exec itself,
// or cannot be ignored, or are faults.
var ignorable = []string{"HUP", "INT", "QUIT", "PIPE", "ALRM", "TERM", "USR1", "USR2", "TSTP", "TTIN", "TTOU"}

// readIgnored reads the signals to ignore. The Go runtime handles PIPE and others before
// main, so what the caller ignores, such as systemd, is lost without this flag.
func (e *execFlags) readIgnored() error {
	for _, name := range e.ignore {
		name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
		if !slices.Contains(ignorable, name) {
			return base.Usagef("--ignore-signal %s: the signal must be one of %s", name, strings.Join(ignorable, ", "))
		}
		e.ignored = append(e.ignored, unix.SignalNum("SIG"+name))
	}
	return nil
}

// findProgram finds the program, before any secret is fetched.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, fs.ErrPermission):
		return "", &base.CannotRun{Status: base.ExitNotExecutable, Err: fmt.Errorf("%s cannot be executed", name)}
	case errors.Is(err, exec.ErrDot):
		return "", &base.CannotRun{Status: base.ExitNoCommand, Err: fmt.Errorf("%s is only in the current folder; to run it, write ./%s", name, name)}
	}
	if info, err := os.Stat(name); strings.Contains(name, "/") && err == nil && info.IsDir() {
		return "", &base.CannotRun{Status: base.ExitNotExecutable, Err: fmt.Errorf("%s is a folder", name)}
	}
	return "", &base.CannotRun{Status: base.ExitNoCommand, Err: fmt.Errorf("%s: no such program", name)}
}

// notRun says why the system did not run a program that exists.
func notRun(name string, err error) error {
	switch {
	case errors.Is(err, syscall.E2BIG):
		err = errors.New("its arguments and environment are too large; give large secrets with --file")
	case errors.Is(err, syscall.ENOEXEC):
		err = errors.New("it is neither a program nor a script that begins with \"#!\"")
	case errors.Is(err, syscall.ENOENT):
		err = errors.New("its interpreter is missing")
	}
	return &base.CannotRun{Status: base.ExitNotExecutable, Err: fmt.Errorf("run %s: %w", name, err)}
}

// supervise runs the program and watches its secrets until it ends.
func (e *execFlags) supervise(p *base.Process, q *question, what *delivery, got *bundle, program string, args []string, undo func()) error {
	if err := supervise.Protect(); err != nil {
		return fmt.Errorf("protect the memory: %w", err)
	}
	w := &watcher{flags: e, p: p, q: q, what: what, got: got, changes: make(chan supervise.Change)}
	w.fetch = w.fetchOnce
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
