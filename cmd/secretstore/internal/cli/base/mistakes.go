package base

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// mistake returns an error about flags or arguments as a sentence that says what to
// type. The texts of the flag library are for programmers, and some repeat a value.
func mistake(cmd *cobra.Command, err error) string {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return unknownFlag(cmd, e)
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return flagName(e.GetFlag()) + " needs a value; write " + withValue(e.GetFlag())
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Sprintf("%s needs %s, not %q", flagName(e.GetFlag()), kindOf(e.GetFlag()), e.GetValue())
	}
	if e, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		name, _, _ := strings.Cut(e.GetSpecifiedFlag(), "=")
		return fmt.Sprintf("%q is not a flag; write flags as --name VALUE", name)
	}
	for _, row := range libraryTexts {
		if m := row.text.FindStringSubmatch(err.Error()); m != nil {
			return row.say(cmd, m[1:])
		}
	}
	return err.Error()
}

// libraryTexts are the errors of cobra that have no type.
var libraryTexts = []struct {
	text *regexp.Regexp
	say  func(cmd *cobra.Command, match []string) string
}{
	{regexp.MustCompile(`^required flag\(s\) "(.*)" not set$`), func(cmd *cobra.Command, match []string) string {
		return cmd.Name() + " needs " + flagList(cmd, strings.Split(match[0], `", "`), "and", withValue)
	}},
	{regexp.MustCompile(`^at least one of the flags in the group \[(.*)\] is required$`), func(cmd *cobra.Command, match []string) string {
		return cmd.Name() + " needs " + flagList(cmd, strings.Fields(match[0]), "or", withValue)
	}},
	{regexp.MustCompile(`^if any flags in the group \[(.*)\] are set none of the others can be; \[(.*)\] were all set$`), func(cmd *cobra.Command, match []string) string {
		return flagList(cmd, strings.Fields(match[1]), "and", flagName) + " exclude each other; give one of them"
	}},
}

// flagList names flags of a command.
func flagList(cmd *cobra.Command, names []string, word string, say func(*pflag.Flag) string) string {
	var all []string
	for _, name := range names {
		all = append(all, say(cmd.Flag(name)))
	}
	if len(all) == 1 {
		return all[0]
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " " + word + " " + all[last]
}

func flagName(f *pflag.Flag) string { return "--" + f.Name }

// withValue writes a flag as the user types it, with the name of its value.
func withValue(f *pflag.Flag) string {
	value, _ := pflag.UnquoteUsage(f)
	switch f.Value.Type() {
	case "bool":
		return flagName(f)
	case "duration":
		value = "30s"
	case "int", "uint64":
		if value == f.Value.Type() || value == "uint" {
			value = "N"
		}
	}
	return flagName(f) + " " + value
}

// kindOf says what a flag takes.
func kindOf(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "bool":
		return "true or false after =, or no value"
	case "duration":
		return "a time such as 30s, 5m or 1h30m"
	case "int", "uint64":
		return "a whole number"
	}
	return "another value"
}

// unknownFlag repeats no more than the name: what follows a letter may be a value.
func unknownFlag(cmd *cobra.Command, e *pflag.NotExistError) string {
	name := e.GetSpecifiedName()
	if e.GetSpecifiedShortnames() != "" {
		return fmt.Sprintf("%s has no flag -%s", cmd.Name(), name)
	}
	text := fmt.Sprintf("%s has no flag --%s", cmd.Name(), name)
	if near := nearest(cmd, name); near != "" {
		text += "; did you mean --" + near + "?"
	}
	return text
}

// nearest returns the flag of a command that name is a part of, or part of it, "" if
// there is none.
func nearest(cmd *cobra.Command, name string) (near string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if near == "" && len(name) > 2 && (strings.Contains(f.Name, name) || strings.Contains(name, f.Name)) {
			near = f.Name
		}
	})
	return near
}
