package cli

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// raw are the texts of the flag library.
var raw = regexp.MustCompile(`required flag\(s\)|flags in the group|unknown (shorthand )?flag|unknown command|strconv\.|invalid argument|invalid syntax|` +
	`arg\(s\)|flag needs an argument|bad flag syntax|time: `)

// everyCommand calls visit with each command of the tree and the words that name it.
func everyCommand(visit func(cmd *cobra.Command, words []string)) {
	var walk func(cmd *cobra.Command, words []string)
	walk = func(cmd *cobra.Command, words []string) {
		visit(cmd, words)
		for _, c := range cmd.Commands() {
			walk(c, slices.Concat(words, []string{c.Name()}))
		}
	}
	walk(newRoot(&base.Process{Getenv: func(string) string { return "" }}), nil)
}

// TestMistakesAreExplainedInOurWords makes each mistake that the flag library finds, in
// every command. Each answer says what to type.
func TestMistakesAreExplainedInOurWords(t *testing.T) {
	dir := t.TempDir() // of user files
	mistakes := 0
	try := func(words []string, say string, args ...string) {
		t.Helper()
		mistakes++
		got := call(map[string]string{"HOME": dir, "XDG_CONFIG_HOME": dir}, "", slices.Concat(words, args)...)
		if got.status != 2 || got.stdout != "" || raw.MatchString(got.stderr) || !strings.Contains(got.stderr, say) || !strings.HasPrefix(got.stderr, "secretstore: ") {
			t.Errorf("%q: status %d, want %q in:\n%s%s", slices.Concat(words, args), got.status, say, got.stdout, got.stderr)
		}
	}
	everyCommand(func(cmd *cobra.Command, words []string) {
		if cmd.Name() == "server" { // its mistakes are all reported at once
			try(words, "--frob: is not an option", "--frob")
			return
		}
		try(words, "has no flag --frob", "--frob=kanarienvogel")
		try(words, "has no flag -Q", "-Qkanarienvogel")
		try(words, "is not a flag; write flags as --name VALUE", "--=kanarienvogel")
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			switch f.Value.Type() {
			case "bool":
				if cmd.CommandPath() == "secretstore doctor" && f.Name != "json" && f.Name != "help" { // the server's own
					try(words, "--"+f.Name+": \"perhaps\" is neither true nor false", "--"+f.Name+"=perhaps")
					return
				}
				try(words, "--"+f.Name+" needs true or false", "--"+f.Name+"=perhaps")
			case "duration":
				try(words, "--"+f.Name+" needs a time such as 30s", "--"+f.Name, "soon")
			case "int", "uint64":
				try(words, "--"+f.Name+" needs a whole number", "--"+f.Name, "few")
			}
			if f.NoOptDefVal == "" {
				try(words, "--"+f.Name+" needs a value; write --"+f.Name+" ", "--"+f.Name)
			}
		})
		// Whatever it needs is missing, and then there is too much.
		got := call(map[string]string{"HOME": dir, "SECRETSTORE_SERVER": "http://127.0.0.1:1"}, "", words...)
		if raw.MatchString(got.stderr) {
			t.Errorf("%q: %s", words, got.stderr)
		}
		got = call(map[string]string{"HOME": dir, "SECRETSTORE_SERVER": "http://127.0.0.1:1"}, "", slices.Concat(words, []string{"a", "b", "c", "d"})...)
		if raw.MatchString(got.stderr) {
			t.Errorf("%q with four arguments: %s", words, got.stderr)
		}
	})
	if mistakes < 400 {
		t.Errorf("only %d mistakes were made", mistakes)
	}
	for args, say := range map[string]string{
		"rollback a":                   "rollback needs --to N",
		"token":                        "token needs --secret-file FILE and --uid UID",
		"import":                       "import needs --from-dir DIR, --from-json FILE, --from-dotenv FILE, --from-vault-zk zk://HOST:PORT,HOST:PORT/ROOT, --from-vault-znodes FILE",
		"put a -v x -f y":              "--file and --value exclude each other; give one of them",
		"rekey --verify --cancel":      "--cancel and --verify exclude each other",
		"get":                          "name the PATH of the secret, as in: secretstore get PATH",
		"get a b":                      `unexpected argument "b"; write it as: secretstore get PATH`,
		"get a --vers 1":               "did you mean --version?",
		"getx a":                       `secretstore has no command "getx"; did you mean get?`,
		"help frob":                    `secretstore has no command "frob"`,
		"keys frob":                    "secretstore keys doctor",
		"put a -v x --value-file nope": "--value and --value-file exclude each other",
	} {
		try(strings.Fields(args), say)
	}
	// Groups of flags, all at once; something else may be wrong as well.
	everyCommand(func(cmd *cobra.Command, words []string) {
		for _, group := range groupsOf(cmd) {
			var args []string
			for _, name := range group {
				if f := cmd.Flag(name); f.NoOptDefVal != "" {
					args = append(args, "--"+name)
				} else {
					args = append(args, "--"+name, "x")
				}
			}
			try(words, "", args...)
		}
	})
}

// groupsOf returns the flags of a command that exclude each other.
func groupsOf(cmd *cobra.Command) (groups [][]string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		for _, group := range f.Annotations["cobra_annotation_mutually_exclusive"] {
			if names := strings.Fields(group); !slices.ContainsFunc(groups, func(g []string) bool { return slices.Equal(g, names) }) {
				groups = append(groups, names)
			}
		}
	})
	return groups
}
