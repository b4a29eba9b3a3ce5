package base

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"

	"secretstore/internal/textfile"
)

// maxUserFile is the largest size of a file in the user's folders, in bytes.
const maxUserFile = 1 << 20

// userConfig is the user's config.yaml.
type userConfig struct {
	// Servers are all servers of the store. Only the operator names them. If the
	// storage could, anybody who writes to it could add their own server and
	// collect shares and tokens.
	Servers []string `yaml:"servers"`
}

// NamedServers returns the URLs of the servers. It takes the first of these that
// names any: the flags, SECRETSTORE_SERVER (separated by commas), the user's
// config.yaml, the default.
func NamedServers(p *Process, flags []string) ([]string, error) {
	return NamedServersOr(p, flags, defaultServer)
}

// NamedServersOr is NamedServers with another default.
func NamedServersOr(p *Process, flags []string, other string) ([]string, error) {
	all := splitList(flags)
	if len(all) == 0 {
		all = splitList([]string{p.Getenv("SECRETSTORE_SERVER")})
	}
	if len(all) == 0 {
		cfg, err := loadUserConfig(p)
		if err != nil {
			return nil, err
		}
		all = splitList(cfg.Servers)
	}
	if len(all) == 0 {
		all = []string{other}
	}
	for _, s := range all {
		if _, err := ParseServer(s); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// splitList splits lists at commas and drops duplicates: the table of servers would
// show them twice.
func splitList(lists []string) []string {
	var all []string
	for _, list := range lists {
		for s := range strings.SplitSeq(list, ",") {
			if s = strings.TrimRight(strings.TrimSpace(s), "/"); s != "" && !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

func loadUserConfig(p *Process) (userConfig, error) {
	dir := UserDir(p, "XDG_CONFIG_HOME", ".config")
	if dir == "" {
		return userConfig{}, nil
	}
	path := filepath.Join(dir, "config.yaml")
	data, err := ReadUserFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return userConfig{}, nil
	}
	if err != nil {
		return userConfig{}, Usagef("%v", err)
	}
	cfg, err := parseUserConfig(data)
	if err != nil {
		return userConfig{}, Usagef("%s: %v", path, err)
	}
	return cfg, nil
}

// parseUserConfig reads the text of config.yaml. An unknown key is an error: it may
// be a misspelled "servers".
func parseUserConfig(data []byte) (cfg userConfig, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&cfg); err != nil && !errors.Is(err, io.EOF) {
		return userConfig{}, fmt.Errorf("write it as \"servers: [URL, URL]\": %w", err)
	}
	return cfg, nil
}

// UserDir returns this program's folder below the one that the XDG variable names,
// or else below inHome in the home folder; "" if neither is set. A relative XDG
// folder counts as unset, as its specification says.
func UserDir(p *Process, variable, inHome string) string {
	if dir := p.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "secretstore")
	}
	if home := p.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, inHome, "secretstore")
	}
	return ""
}

// ReadUserFile reads a file of at most 1 MiB. Below a HOME that is not a folder,
// /dev/null for example, it does not exist.
func ReadUserFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxUserFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxUserFile {
		return nil, fmt.Errorf("%s is larger than 1 MiB; is it the right file?", path)
	}
	text, err := textfile.Text(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}
