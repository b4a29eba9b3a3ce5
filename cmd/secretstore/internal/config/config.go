// Package config turns the flags, environment and YAML file of "secretstore server"
// into a Config, or into a list of all problems with them. It reads only the file of
// --config, and no secret: options that concern secrets name files.
package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"secretstore/acl/clientcert"
	"secretstore/seal"
)

// Config is the checked configuration of a server: each field is valid, and none
// contradicts another. The zero value listens nowhere.
type Config struct {
	File      string // that was read; "" if there was none
	Listen    string // address of plain HTTP; "" for none
	TLSListen string // address of HTTPS; "" for none

	Storage          Storage
	ZKAuthFile       string // "user:password"
	ZKTLSCA          string
	ZKTLSCert        string
	ZKTLSKey         string
	ZKSessionTimeout time.Duration
	MaxStale         time.Duration // 0 to serve no cached answers in an outage
	Bootstrap        bool

	AuthSecretFile  string
	AuthSecretZnode string
	// AuthSecretZnodeInsecure accepts a znode that others can write.
	AuthSecretZnodeInsecure bool
	AuthJWKS                string // URL or file
	JWKSServiceClaim        bool
	Issuers                 []string // of tokens; none: any
	Audiences               []string // of tokens; none: any
	Superusers              []string
	PolicyFile              string
	IAM                     string // IAMNone or IAMBuiltin
	SuperuserPasswordFile   string
	TokenLifetime           time.Duration
	ForeignTokens           bool // for users with an account
	OIDCCreateUsers         bool
	OIDCFirstUser           bool

	TrustedProxies []netip.Prefix
	Web            string // WebAuto, WebOn or WebOff
	RequestRate    int    // requests a second of one principal; 0 for any number
	TLSCertFile    string
	TLSKeyFile     string
	PublicHost     string // of --public-url: host, or host:port; "" if it is not given
	// TLSSelfSigned asks for a certificate in place of TLSCertFile.
	TLSSelfSigned bool
	TLSClientCA   string          // "": clients are not asked for certificates
	TLSClientUID  clientcert.Rule // what names their user
	SecurityMode  seal.Mode
	MaxSecretSize int64  // bytes
	KeepVersions  int    // earlier values of a secret
	AuditLog      string // file, "-" for stdout, "" for none
	LogLevel      zapcore.Level
	LogFormat     string // "json" or "console"
	PprofListen   string // address of the loopback for profiles; "" for none

	// Dev asks for the development setup: see package server.
	Dev bool

	given  map[string]bool // options that have a value from outside
	failed map[string]bool // options whose value could not be parsed
}

// The values of Config.IAM.
const (
	IAMNone    = "none"
	IAMBuiltin = "builtin"
)

// The values of Config.Web.
const (
	WebAuto = "auto"
	WebOn   = "on"
	WebOff  = "off"
)

// Given reports whether a flag, the environment or the file set the option to a value
// that is not empty.
func (c Config) Given(name string) bool { return c.given[name] }

// off reports whether the option was set to an empty value.
func (c Config) off(value, name string) bool { return value == "" && !c.failed[name] }

// Problem is one mistake in the configuration. It says where it is and what to do about
// it.
type Problem struct {
	Where string // "--listen", "SECRETSTORE_LISTEN", "conf.yaml:3: listen"
	What  string
}

func (p Problem) String() string { return fmt.Sprintf("%s: %s", p.Where, p.What) }

// Error is the list of all problems of a configuration.
type Error []Problem

// Error returns one line for each problem.
func (e Error) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Problems returns a problem for each line of an error: the parsers of files report all
// mistakes at once, one per line.
func Problems(where string, err error) []Problem {
	var out []Problem
	for line := range strings.SplitSeq(err.Error(), "\n") {
		out = append(out, Problem{where, strings.TrimSpace(line)})
	}
	return out
}
