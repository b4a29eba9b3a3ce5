package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shells are those that can complete, without any configuration of a user: bash also
// without the package bash-completion.
var shells = map[string][]string{
	"bash": {"bash", "--norc", "--noprofile", "-i"},
	"zsh":  {"zsh", "-f", "-i"},
	"fish": {"fish", "--no-config", "-i"},
}

// completing starts a shell on a terminal that has read the completion.
func completing(t *testing.T, environment []string, shell string) *dialog {
	t.Helper()
	d := onScreen(t, append(slices.Clone(environment), "TERM=xterm", "PS1=READY "), shells[shell][0], shells[shell][1:]...)
	source := "source <(secretstore completion " + shell + ")"
	if shell == "fish" {
		source = "secretstore completion fish | source"
	}
	d.terminal.WriteString(source + "; echo 'completion' 'is' 'read'\r")
	d.types("completion is read", "")
	return d
}

// closes ends the shell, whatever is in its line.
func (d *dialog) closes() {
	d.t.Helper()
	d.cmd.Process.Kill()
	d.cmd.Wait() // it was killed
	d.terminal.Close()
	<-d.read
}

// TestShellsCompleteWithTab types in each shell. What is completed is run, and shows on
// the screen what was not typed.
func TestShellsCompleteWithTab(t *testing.T) {
	t.Parallel()
	environment := withMemoryServer(t)
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("secretstore", args...)
		cmd.Env = environment
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	run("put", "top", "-v", "VALUE-top")
	run("put", "team/app/db", "-v", "VALUE-old")
	run("put", "team/app/db", "-v", "VALUE-db")
	run("put", "team/other", "-v", "VALUE-other")
	for shell := range shells {
		run("put", "gone-"+shell+"/x", "-v", "VALUE-x")
		run("delete", "gone-"+shell+"/x")
	}
	for shell := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			d := completing(t, environment, shell)
			defer d.closes()
			for _, row := range []struct{ keys, shown string }{
				{"secretstore get to\t", "VALUE-top"},
				{"secretstore get team/a\td\t", "VALUE-db"},
				{"secretstore get 'team/o\t", "VALUE-other"},
				{"secretstore get top --version \t", "VALUE-top"},
				{"secretstore get top --version=\t", "VALUE-top"},
				{"secretstore get team/app/db --ver\t 1", "VALUE-old"},
				{"secretstore exec --service /team/app --env=DB=team/app/d\t -- printenv DB", "VALUE-db"},
				{"secretstore exec --service /team/app --env DB=team/app/d\t -- printenv DB", "VALUE-db"},
				{"secretstore diff top@\t team/oth\t", "+++ team/other"},
				{"secretstore hist\ttop", "VERSION"},
				{"secretstore undelete gone-" + shell + "/\t", "restored gone-" + shell + "/x"},
				{"secretstore help keys d\t", "secretstore keys doctor --json"},
			} {
				d.terminal.WriteString(row.keys + "\r")
				// A completion that takes the server longer than a second is given up.
				for tries := 1; !d.shows(row.shown, patience/6); tries++ {
					if tries == 6 {
						t.Fatalf("%q does not lead to %q: %q", row.keys, row.shown, d.screen.text())
					}
					d.terminal.WriteString("\x03" + row.keys + "\r") // of the line that may be unfinished
				}
			}
			// The texts of flags are for people.
			d.terminal.WriteString("secretstore get --t\t\t")
			d.types("--token-file", "")
			d.types("--timeout", "\x03")
			if text := d.screen.text(); strings.Contains(text, "`") {
				t.Errorf("a backquote: %q", text)
			}
		})
	}
}

// TestCompletionEvaluatesNothingThatIsTyped, and is silent if no server answers.
func TestCompletionEvaluatesNothingThatIsTyped(t *testing.T) {
	t.Parallel()
	for shell := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			environment := append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "SECRETSTORE_SERVER=http://127.0.0.1:1")
			d := completing(t, environment, shell)
			defer d.closes()
			evaluated := filepath.Join(dir, "evaluated")
			typed := "$(touch " + evaluated + ")"
			if shell == "fish" {
				typed = "(touch " + evaluated + ")"
			}
			before := len(d.screen.text())
			for _, keys := range []string{"secretstore get " + typed + " t\t", "secretstore get t\t", "secretstore get top --version \t", "secretstore undelete \t"} {
				d.terminal.WriteString(keys + "\x15echo 'still' 'there'\r")
				d.types("still there", "")
			}
			if _, err := os.Stat(evaluated); err == nil {
				t.Error("the shell ran what was typed")
			}
			text := escapes.ReplaceAllString(d.screen.text()[before:], "")
			for _, noise := range []string{"refused", "not found", "Usage", "Completion ended", "secretstore: "} {
				if strings.Contains(text, noise) {
					t.Errorf("%q on the screen: %q", noise, text)
				}
			}
		})
	}
}
