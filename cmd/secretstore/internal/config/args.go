package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// ParseAll parses a whole command line. pflag stops at the first mistake, which would
// hide the others. An argument after an unknown flag that is not a flag is taken for
// its value, as pflag does.
func ParseAll(args []string) (flags *Flags, positional []string, problems []Problem) {
	for args = slices.Clone(args); ; {
		// A new set: the arguments before the mistake are parsed again.
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

// badFlag explains an error of pflag and returns the index of the argument that it is
// about, or -1. It never repeats a value.
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
		text, what = e.GetSpecifiedFlag(), "is not a flag; see secretstore server --help for all of them"
	} else {
		return -1, Problem{"the command line", err.Error()}
	}
	name, _, _ := strings.Cut(text, "=")
	at := slices.IndexFunc(args, func(a string) bool { return a == text || strings.HasPrefix(a, text+"=") })
	return at, Problem{name, what}
}

// Unexpected returns a problem for each argument that is not a flag.
func Unexpected(positional []string) []Problem {
	var out []Problem
	for _, arg := range positional {
		out = append(out, Problem{fmt.Sprintf("argument %q", arg),
			"is unexpected (a flag that is true or false takes its value after =, as in --bootstrap=false)"})
	}
	return out
}
