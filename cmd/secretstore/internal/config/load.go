package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"secretstore/internal/filetrust"
	"secretstore/internal/textfile"
)

// maxFile is the largest configuration file, in bytes. A larger one is another file,
// named by mistake.
const maxFile = 1 << 20

// Flags is the part of the configuration from the command line.
type Flags struct {
	file  *pflag.Flag
	flags map[string]*recorder
}

// recorder records the values of a flag. They are parsed later, with those of the other
// sources, so that all mistakes are found in one run.
type recorder struct {
	option Option
	values []string
}

func (r *recorder) String() string {
	if len(r.values) > 0 {
		return strings.Join(r.values, ",")
	}
	return r.option.Default
}

// Type is the word after the flag in help; for "bool", pflag prints a switch.
func (r *recorder) Type() string {
	if r.option.Switch {
		return "bool"
	}
	return r.option.Arg
}

func (r *recorder) Set(s string) error {
	r.values = append(r.values, s)
	return nil
}

// Register adds all options and --config to a flag set.
func Register(fs *pflag.FlagSet) *Flags { return register(fs, Options()) }

// RegisterStorage adds --config and the options of the storage, for commands that work
// on a storage without a server. Load then leaves all other options at their defaults,
// even if the environment sets them.
func RegisterStorage(fs *pflag.FlagSet) *Flags {
	var some []Option
	for _, o := range storageOptions() {
		if o.Name == "storage" || strings.HasPrefix(o.Name, "zk-") {
			some = append(some, o)
		}
	}
	return register(fs, some)
}

func register(fs *pflag.FlagSet, options []Option) *Flags {
	out := &Flags{flags: map[string]*recorder{}}
	fs.String("config", "", "YAML `FILE` with the same options, without the dashes")
	out.file = fs.Lookup("config")
	for _, o := range options {
		r := &recorder{option: o}
		fs.Var(r, o.Name, o.Usage)
		if o.Switch {
			fs.Lookup(o.Name).NoOptDefVal = "true"
		}
		out.flags[o.Name] = r
	}
	return out
}

// Load merges the sources. Flags take precedence over the environment, then the file,
// then the defaults. If there are problems, the Config is incomplete and must not be
// used to serve.
func Load(flags *Flags, getenv func(string) string) (cfg Config, problems []Problem) {
	path, where := flags.file.Value.String(), "--config"
	if !flags.file.Changed {
		path, where = getenv("SECRETSTORE_CONFIG"), "SECRETSTORE_CONFIG"
	}
	var file map[string]setting
	if path != "" || flags.file.Changed {
		file, problems = readFile(where, path)
		cfg.File = path
	}
	cfg.given, cfg.failed = map[string]bool{}, map[string]bool{}
	for _, o := range Options() {
		s := setting{"", []string{o.Default}}
		if flag, ok := flags.flags[o.Name]; ok {
			s = choose(o, flag.values, getenv, file)
			problems = append(problems, disagreement(o, s, getenv)...)
		}
		if s.where == "" && o.Repeat {
			continue // no default
		}
		cfg.given[o.Name] = s.where != "" && strings.Join(s.values, "") != ""
		if err := o.set(&cfg, s.values); err != nil {
			cfg.failed[o.Name] = true
			problems = append(problems, Problems(s.where, err)...)
		}
	}
	return cfg, append(problems, contradictions(cfg)...)
}

// setting is the value of one option in one source.
type setting struct {
	where  string
	values []string
}

// choose picks the source of an option. An empty environment variable counts as unset,
// because unit files and compose files leave such variables.
func choose(o Option, flag []string, getenv func(string) string, file map[string]setting) setting {
	if len(flag) > 0 {
		return setting{"--" + o.Name, commas(o, flag)}
	}
	for _, name := range o.Env() {
		if v := getenv(name); v != "" {
			return setting{name, commas(o, []string{v})}
		}
	}
	if s, ok := file[o.Name]; ok {
		return s
	}
	return setting{"", []string{o.Default}}
}

// disagreement returns a problem if the environment sets an option to two values, by
// two of its names.
func disagreement(o Option, s setting, getenv func(string) string) []Problem {
	names := o.Env()
	if !slices.Contains(names, s.where) {
		return nil
	}
	var chosen Config
	if o.set(&chosen, s.values) != nil {
		return nil // reported elsewhere
	}
	for _, name := range names {
		var other Config
		v := getenv(name)
		// Parsed values are compared: true and 1 are the same.
		if v != "" && (o.set(&other, commas(o, []string{v})) != nil || !reflect.DeepEqual(chosen, other)) {
			return []Problem{{name, "contradicts " + s.where + ", which is another name of the same option; remove one of the two"}}
		}
	}
	return nil
}

// commas splits the values of a repeatable option.
func commas(o Option, values []string) []string {
	if !o.Repeat {
		return values
	}
	var out []string
	for _, v := range values {
		out = append(out, strings.Split(v, ",")...)
	}
	return out
}

func readFile(where, path string) (map[string]setting, []Problem) {
	f, err := os.Open(path)
	if err != nil {
		return nil, []Problem{{where, fmt.Sprintf("cannot read the configuration: %v", err)}}
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err == nil {
		err = errors.Join(filetrust.CheckLink(path), filetrust.Check(path, info))
	}
	if err != nil {
		return nil, Problems(where, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, []Problem{{where, fmt.Sprintf("cannot read the configuration: %v", err)}}
	}
	if len(data) > maxFile {
		return nil, []Problem{{where, fmt.Sprintf("%s is larger than 1 MiB; is it the right file?", path)}}
	}
	text, err := textfile.Text(data)
	if err != nil {
		return nil, []Problem{{where, fmt.Sprintf("%s: %v", path, err)}}
	}
	return parseFile(path, text)
}
