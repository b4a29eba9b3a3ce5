package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"secretstore/acl"
	"secretstore/acl/clientcert"
	"secretstore/acl/token"
	"secretstore/internal/hostport"
	"secretstore/seal"
)

// MaxSecretSizeLimit is the largest --max-secret-size, in bytes. During a request, a
// value is in memory several times.
const MaxSecretSizeLimit = 1 << 30

const (
	// A ZooKeeper server limits the session timeout to 2-20 ticks anyway (4 to 40 s by
	// default).
	minSession = time.Second
	maxSession = time.Minute
	maxStale   = 30 * 24 * time.Hour
	// The bounds of the life of a token.
	minLifetime = time.Minute
	maxLifetime = 90 * 24 * time.Hour
)

// one returns a setter for an option with a single value.
func one[T any](field func(*Config) *T, parse func(string) (T, error)) func(*Config, []string) error {
	return func(c *Config, values []string) error {
		v, err := parse(values[len(values)-1])
		if err != nil {
			return err
		}
		*field(c) = v
		return nil
	}
}

// list returns a setter for an option with any number of values.
func list[T any](field func(*Config) *[]T, parse func(string) (T, error)) func(*Config, []string) error {
	return func(c *Config, values []string) error {
		var out []T
		var errs []error
		for _, s := range values {
			v, err := parse(s)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			out = append(out, v)
		}
		*field(c) = out
		return errors.Join(errs...)
	}
}

type durationRange struct {
	field    *time.Duration
	min, max time.Duration
}

func oneDuration(target func(*Config) durationRange) func(*Config, []string) error {
	return func(c *Config, values []string) error {
		r := target(c)
		d, err := time.ParseDuration(values[len(values)-1])
		if err != nil {
			return fmt.Errorf("%q is not a duration; write for example 30s, 5m or 1h30m", values[len(values)-1])
		}
		if d < r.min || d > r.max {
			return fmt.Errorf("%v is out of range; it can be from %v to %v", d, r.min, r.max)
		}
		*r.field = d
		return nil
	}
}

func parseText(s string) (string, error) {
	if strings.ContainsRune(s, 0) {
		return "", errors.New("contains a NUL byte")
	}
	return s, nil
}

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}

func parseOneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("%q is unknown; it can be %s", s, strings.Join(words, ", "))
		}
		return s, nil
	}
}

func parseLevel(c *Config, values []string) error {
	word, err := parseOneOf("debug", "info", "warn", "error")(values[len(values)-1])
	if err != nil {
		return err
	}
	return c.LogLevel.UnmarshalText([]byte(word))
}

// parseAddress checks host:port. The port must be a number, so that a mistake is
// found before the server listens.
func parseAddress(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is not an address; write host:port, for example 127.0.0.1:1337", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return s, nil
}

// parseLoopback accepts an address of the loopback, as a number: a name may come to
// mean another machine.
func parseLoopback(s string) (string, error) {
	s, err := parseAddress(s)
	if s == "" || err != nil {
		return s, err
	}
	addr, err := netip.ParseAddrPort(s)
	if err != nil || !addr.Addr().Unmap().IsLoopback() {
		return "", fmt.Errorf("%q is not a loopback address; write for example 127.0.0.1:6060", s)
	}
	return s, nil
}

// parsePublicURL accepts https://HOST or https://HOST:PORT, and returns what is behind
// the slashes.
func parsePublicURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	authority, https := strings.CutPrefix(s, "https://")
	host, port, err := hostport.Split(strings.TrimSuffix(authority, "/"))
	if !https || err != nil {
		return "", errors.New("is not the address of a server by HTTPS; write for example https://secrets.example.com or https://secrets.example.com:8443")
	}
	return hostport.Join(host, port), nil
}

func parseSecurityMode(s string) (seal.Mode, error) {
	m, err := seal.ParseMode(s)
	if err != nil {
		return 0, fmt.Errorf("%q is unknown; it can be disabled, permissive or strict", s)
	}
	return m, nil
}

// parseProxies takes networks and single addresses.
func parseProxies(c *Config, values []string) error {
	return list(func(c *Config) *[]netip.Prefix { return &c.TrustedProxies }, func(s string) (netip.Prefix, error) {
		s = strings.TrimSpace(s)
		if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
			return netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is not a network; write for example 10.0.0.0/8", s)
		}
		return p.Masked(), nil
	})(c, values)
}

// ParseSize reads a number of bytes: plain, or with the unit KiB, MiB or GiB.
// It refuses decimal units, which are ambiguous.
func ParseSize(s string) (int64, error) {
	digits, unit := s, int64(1)
	for suffix, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = strings.TrimSpace(rest), n
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size; write bytes, or for example 512KiB, 1MiB or 64MiB", s)
	}
	if n == 0 || n > uint64(MaxSecretSizeLimit/unit) {
		return 0, fmt.Errorf("%s is out of range; it can be from 1 byte to 1GiB", s)
	}
	return int64(n) * unit, nil
}

func parseVersions(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n > seal.MaxKeepVersions {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", s, seal.MaxKeepVersions)
	}
	return int(n), nil
}

func parseRate(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 20)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of requests from 0 to %d", s, 1<<20-1)
	}
	return int(n), nil
}

// parseKeySet accepts what package token accepts, and "" for no key set.
func parseKeySet(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	_, err := token.NewJWKSSource(s, nil)
	return s, err
}

// parseClaim takes what a claim has to be. It is never empty, so that an unset
// variable of a shell does not switch the check off.
func parseClaim(s string) (string, error) {
	if strings.TrimSpace(s) == "" {
		return "", errors.New("is empty; write what the claim has to be, or remove the option")
	}
	return parseText(s)
}

// parseUID accepts a user id as in a token.
func parseUID(s string) (string, error) {
	s = strings.TrimSpace(s)
	if !acl.ValidUID(s) {
		return "", fmt.Errorf("%q is not a user id; write 1 to %d printable ASCII characters, as in the claim uid of a token", s, acl.MaxUIDBytes)
	}
	return s, nil
}

// parseClientUID accepts "" for no rule.
func parseClientUID(s string) (clientcert.Rule, error) {
	if s == "" {
		return clientcert.Rule{}, nil
	}
	return clientcert.ParseRule(s)
}

// IsLoopback reports whether host is this machine's loopback: an address of it,
// or the name localhost.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
