package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// ParseAll parses a command line past each mistake in it, where pflag ends at
// the first, so that an unknown flag does not hide the rest of the
// configuration. What follows an unknown flag and is none itself is taken for
// its value, as pflag does.
func ParseAll(args []string) (flags *Flags, positional []string, problems []Problem) {
	for args = slices.Clone(args); ; {
		// Made anew: what was parsed before the mistake is parsed again.
		fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
		fs.Usage = func() {}
		fs.BoolP("help", "h", false, "") // every command has it
		flags = Register(fs)
		err := fs.Parse(args)
		if err == nil {
			return flags, fs.Args(), problems
		}
		at, problem := badFlag(args, err)
		if at < 0 {
			return flags, nil, append(problems, problem)
		}
		problems = append(problems, problem)
		end := at + 1
		if _, unknown := errors.AsType[*pflag.NotExistError](err); unknown && end < len(args) &&
			!strings.Contains(args[at], "=") && !strings.HasPrefix(args[end], "-") {
			end++
		}
		args = slices.Delete(args, at, end)
	}
}

// badFlag explains an error of pflag, and finds the argument that it is about;
// -1 if there is none. A value that was given is never repeated.
func badFlag(args []string, err error) (int, Problem) {
	text, what := "", ""
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		text, what = "--"+e.GetSpecifiedName(), unknownKey(known(), e.GetSpecifiedName())
		if short := e.GetSpecifiedShortnames(); short != "" {
			text = "-" + short
		}
	} else if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		text, what = "--"+e.GetSpecifiedName(), "needs a value"
	} else if e, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		text, what = e.GetSpecifiedFlag(), "is no flag; see secretstore server --help for all of them"
	} else {
		return -1, Problem{"the command line", err.Error()}
	}
	name, _, _ := strings.Cut(text, "=")
	at := slices.IndexFunc(args, func(a string) bool { return a == text || strings.HasPrefix(a, text+"=") })
	return at, Problem{name, what}
}

// Unexpected makes a problem of each argument that is no flag.
func Unexpected(positional []string) []Problem {
	var out []Problem
	for _, arg := range positional {
		out = append(out, Problem{fmt.Sprintf("argument %q", arg),
			"is unexpected (a flag that is true or false takes its value after =, as in --bootstrap=false)"})
	}
	return out
}
