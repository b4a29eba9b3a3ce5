package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	bbolt "go.etcd.io/bbolt"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/cli"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/porttest"
	"secretstore/seal/sealtest"
)

// patience bounds every wait of the scripts. It only bounds tests that fail.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	// Most tests wait for other processes. -parallel on the command line prevails.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){
		// The program, but servers do not spend seconds on making a key:
		// TestShippedProgram has one that does.
		"secretstore": func() {
			p := process(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
			p.TestOnlyGenerateKey = sealtest.GenerateKey
			p.TestOnlyPasswordRounds = 1000
			os.Exit(cli.Main(p))
		},
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "../../testdata/script", nil, nil)
}

// runScripts runs the scripts of a folder against the real program. In each,
// $WORK holds the HS256 key "key", and root.token for the uid root, which
// $SECRETSTORE_TOKEN_FILE names; servers listen on a free port. $MEMORY is a
// folder on a tmpfs, and $ROOT the source tree.
//
//	seeded FILE              puts a bootstrapped bbolt store there
//	boltput FILE KEY TEXT    writes a record into it, or without TEXT an empty value
//	boltrm FILE KEY          removes a key
//	certificate CERT KEY     makes a TLS certificate
//	sign UID FILE            writes a token
//	start [@NAME] ARGS...    starts a server; its log is server.log, its standard
//	                         output server.out (or NAME.log and NAME.out); sets
//	                         SECRETSTORE_SERVER
//	halt [@NAME]             sends SIGTERM and wants exit status 0
//	crash [@NAME]            sends SIGKILL
//	ends STATUS [@NAME]      waits for the server to end by itself with this exit status
//	hangup [@NAME]           sends SIGHUP
//	exits STATUS PROGRAM...  runs a program and wants the exit status
//	until STATUS PROGRAM...  repeats it until it exits so
//	shows REGEXP PROGRAM...  repeats it until its standard output matches
func runScripts(t *testing.T, dir string, setup func(*testscript.Env) error, more map[string]command) {
	params := testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("SECRETSTORE_LISTEN", "127.0.0.1:0")
			// Under -race each program would sleep for a second at its end.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, ".state"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			env.Setenv("SECRETSTORE_TOKEN_FILE", filepath.Join(env.WorkDir, "root.token"))
			memory, err := os.MkdirTemp("/dev/shm", "secretstore-script")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(memory) })
			env.Setenv("MEMORY", memory)
			root, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			env.Setenv("ROOT", root)
			env.Setenv("XDG_RUNTIME_DIR", memory)
			err = errors.Join(
				os.WriteFile(filepath.Join(env.WorkDir, "key"), []byte(fixture.Key+"\n"), 0o600),
				sign("root", filepath.Join(env.WorkDir, "root.token")))
			if err == nil && setup != nil {
				err = setup(env)
			}
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"seeded": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(fixture.Bootstrapped(ts.MkAbs(args[0])))
			},
			"boltput": func(ts *testscript.TestScript, _ bool, args []string) {
				var value []byte
				if len(args) > 2 {
					value = append([]byte{7: 1}, args[2]...) // at version 1
				}
				ts.Check(inBolt(ts.MkAbs(args[0]), func(records *bbolt.Bucket) error { return records.Put([]byte(args[1]), value) }))
			},
			"boltrm": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(inBolt(ts.MkAbs(args[0]), func(records *bbolt.Bucket) error { return records.Delete([]byte(args[1])) }))
			},
			"certificate": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(fixture.Certificate(ts.MkAbs(args[0]), ts.MkAbs(args[1])))
			},
			"sign":   func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(sign(args[0], ts.MkAbs(args[1]))) },
			"start":  cmdStart,
			"halt":   cmdHalt,
			"crash":  cmdCrash,
			"hangup": cmdHangup,
			"ends":   cmdEnds,
			"exits":  cmdExits,
			"until":  cmdUntil,
			"shows":  cmdShows,
		},
	}
	maps.Copy(params.Cmds, more)
	testscript.Run(t, params)
}

// inBolt changes the records in a bbolt file as another program can.
func inBolt(file string, change func(records *bbolt.Bucket) error) error {
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: patience})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte("records"))) })
	return errors.Join(err, db.Close())
}

type command = func(ts *testscript.TestScript, neg bool, args []string)

func sign(uid, file string) error {
	raw, err := token.Sign(uid, time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(raw+"\n"), 0o600)
}

// servers holds the last server of each name, by script and name.
var servers sync.Map

// named takes the name of a server off the arguments.
func named(args []string) (name string, rest []string) {
	if len(args) > 0 && strings.HasPrefix(args[0], "@") {
		return args[0][1:], args[1:]
	}
	return "server", args
}

type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has been waited for
}

var listening = regexp.MustCompile(`listening.*?(https?://[0-9.:]+)`)

func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	name, args := named(args)
	id := filepath.Join(ts.Getenv("WORK"), name)
	log, err := os.Create(id + ".log")
	ts.Check(err)
	out, err := os.Create(id + ".out")
	ts.Check(err)
	program := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, "secretstore"); program == "" && exists(path) {
			program = path
		}
	}
	c := &child{cmd: exec.Command(program, append([]string{"server"}, args...)...), ended: make(chan struct{})}
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = ts.MkAbs("."), out, log
	for _, env := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR", "GORACE", "SECRETSTORE_LISTEN", "SECRETSTORE_STORAGE", "SECRETS_BOOTSTRAP"} {
		if v := ts.Getenv(env); v != "" {
			c.cmd.Env = append(c.cmd.Env, env+"="+v)
		}
	}
	ts.Check(c.cmd.Start())
	log.Close()
	out.Close()
	go func() {
		c.cmd.Wait() // its state is read by halt
		close(c.ended)
	}()
	ts.Defer(func() {
		c.cmd.Process.Kill() // fails if it has ended
		<-c.ended
	})
	servers.Store(id, c)
	wait(ts, "the server does not listen", func() bool {
		text := ts.ReadFile(id + ".log")
		if m := listening.FindStringSubmatch(text); m != nil {
			ts.Setenv("SECRETSTORE_SERVER", m[1])
			return true
		}
		select {
		case <-c.ended:
			ts.Fatalf("the server ended: %s\n%s", c.cmd.ProcessState, text)
		default:
		}
		return false
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func wait(ts *testscript.TestScript, what string, done func() bool) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if done() {
			return
		}
	}
	ts.Fatalf("%s", what)
}

func running(ts *testscript.TestScript, args []string) *child {
	name, _ := named(args)
	c, ok := servers.Load(filepath.Join(ts.Getenv("WORK"), name))
	if !ok {
		ts.Fatalf("%s was not started", name)
	}
	return c.(*child)
}

func end(ts *testscript.TestScript, args []string, sig os.Signal) *child {
	c := running(ts, args)
	ts.Check(c.cmd.Process.Signal(sig))
	select {
	case <-c.ended:
	case <-time.After(patience):
		ts.Fatalf("the server does not end after %v", sig)
	}
	return c
}

func cmdHalt(ts *testscript.TestScript, _ bool, args []string) {
	if c := end(ts, args, syscall.SIGTERM); !c.cmd.ProcessState.Success() {
		name, _ := named(args)
		ts.Fatalf("the server ended with %v:\n%s", c.cmd.ProcessState, ts.ReadFile(filepath.Join(ts.Getenv("WORK"), name+".log")))
	}
}

func cmdCrash(ts *testscript.TestScript, _ bool, args []string) { end(ts, args, syscall.SIGKILL) }

func cmdEnds(ts *testscript.TestScript, _ bool, args []string) {
	want, args := wanted(ts, args)
	c := running(ts, args)
	select {
	case <-c.ended:
	case <-time.After(patience):
		ts.Fatalf("the server does not end")
	}
	if got := c.cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("the server ended with exit status %d, want %d", got, want)
	}
}

func cmdHangup(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(running(ts, args).cmd.Process.Signal(syscall.SIGHUP))
}

// status runs a program of the script and returns its exit status.
func status(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	ts.Fatalf("%v", err)
	return -1
}

func wanted(ts *testscript.TestScript, args []string) (int, []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	return want, args[1:]
}

func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, args := wanted(ts, args)
	if got := status(ts, args); got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	want, args := wanted(ts, args)
	wait(ts, fmt.Sprintf("never exits with status %d: %q", want, args), func() bool { return status(ts, args) == want })
}

func cmdShows(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	wait(ts, fmt.Sprintf("never shows %q: %q", args[0], args[1:]), func() bool {
		return status(ts, args[1:]) == 0 && re.MatchString(ts.ReadFile("stdout"))
	})
}

// TestWithoutArgumentsIsBadUsage runs Main as a function.
func TestWithoutArgumentsIsBadUsage(t *testing.T) {
	var stderr strings.Builder
	if got := Main(nil, strings.NewReader(""), io.Discard, &stderr); got != 2 || !strings.Contains(stderr.String(), "Examples:") {
		t.Errorf("status %d, stderr %q; want 2 and the usage", got, stderr.String())
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// freeAddress returns an address where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprint("127.0.0.1:", porttest.Free(t))
}
