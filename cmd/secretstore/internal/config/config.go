// Package config turns flags, environment and the YAML file of
// "secretstore server" into one Config, or into the list of everything that is
// wrong with them. It reads no file but the one named by --config, and no
// secret: options that concern secrets name files.
package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// Config is what the server was told, checked: each field is valid by itself
// and none contradicts another. The zero value listens nowhere.
type Config struct {
	Listen    string // address of plain HTTP; "" is none
	TLSListen string // address of HTTPS; "" is none

	Storage          Storage
	ZKAuthFile       string // "user:password"
	ZKTLSCA          string
	ZKTLSCert        string
	ZKTLSKey         string
	ZKSessionTimeout time.Duration
	MaxStale         time.Duration // 0: cached answers are never served in an outage
	Bootstrap        bool

	AuthSecretFile   string
	AuthSecretZnode  string
	AuthJWKS         string // URL or file
	JWKSServiceClaim bool
	Superusers       []string
	PolicyFile       string

	TrustedProxies []netip.Prefix
	TLSCertFile    string
	TLSKeyFile     string
	SecurityMode   string
	MaxSecretSize  int64  // bytes
	KeepVersions   int    // earlier values of a secret
	AuditLog       string // file, "-" is stdout, "" is none
	LogLevel       zapcore.Level
	LogFormat      string // "json" or "console"

	// Dev asks for the development setup: see package server.
	Dev bool

	given  map[string]bool // options that have a value from outside
	failed map[string]bool // options whose value could not be parsed
}

// Given reports whether the option was set to something by a flag, the
// environment or the file, rather than left at its default or emptied.
func (c Config) Given(name string) bool { return c.given[name] }

// off reports whether the option is deliberately without a value.
func (c Config) off(value, name string) bool { return value == "" && !c.failed[name] }

// Problem is one mistake in the configuration, in words that say where it is
// and what to do about it.
type Problem struct {
	Where string // "--listen", "SECRETSTORE_LISTEN", "conf.yaml:3: listen"
	What  string
}

func (p Problem) String() string { return fmt.Sprintf("%s: %s", p.Where, p.What) }

// Error is a configuration with problems.
type Error []Problem

// Error returns one line for each problem.
func (e Error) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Problems makes one problem of each line of an error: the parsers of files
// report all their findings at once, a line each.
func Problems(where string, err error) []Problem {
	var out []Problem
	for line := range strings.SplitSeq(err.Error(), "\n") {
		out = append(out, Problem{where, strings.TrimSpace(line)})
	}
	return out
}
