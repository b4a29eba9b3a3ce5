package zk

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"go.uber.org/zap"

	"secretstore/store"
	"secretstore/store/zk/internal/tree"
)

// The defaults for fields of Config that are zero.
const (
	DefaultRoot           = "/dcos/secrets"
	DefaultSessionTimeout = 6 * time.Second
	DefaultCacheBytes     = 64 << 20
)

// maxRoot bounds Config.Root, which every request repeats for each operation:
// store.MaxNaming counts keys only.
const maxRoot = 200

// ErrConfig: a Config that Open refuses.
var ErrConfig = errors.New("ZooKeeper configuration")

// Config says where the ensemble is and how to get in.
type Config struct {
	// Servers are the members, host:port each. Names are looked up again for
	// every connection.
	Servers []string
	// Root is the znode under which everything is kept: an absolute path of at
	// most 200 bytes without a trailing slash. It and its parents are made when
	// they are missing. "" is DefaultRoot.
	Root string
	// User and Password are for digest authentication; both or neither. With
	// them every znode is made with an ACL that admits only this user, and
	// weaker ACLs found under Root are repaired. Without them anyone may do
	// anything to the znodes, and a warning is logged.
	User, Password string
	// TLS is for connections to the secure client port; nil is plain TCP. It is
	// called for each new connection, so that certificates can be replaced.
	// Without a ServerName the host of the member is verified.
	TLS func() *tls.Config
	// SessionTimeout is asked of the ensemble, 1 s to 1 min; 0 is
	// DefaultSessionTimeout. An unanswered call ends a connection after 2 s
	// already.
	SessionTimeout time.Duration
	// MaxStale is how long records in memory are served (with their Age) while
	// the ensemble is out of reach; 0 is never.
	MaxStale time.Duration
	// CacheBytes bounds the memory for records and listings; 0 is
	// DefaultCacheBytes.
	CacheBytes int64
	// Meter measures what ZooKeeper is asked; nil does not.
	Meter store.Meter
	// Log may be nil. Neither the password nor any data ever gets there; names
	// of znodes do.
	Log *zap.Logger

	testOnlyLimits limits // zero is the usual ones
}

// tls returns the configuration of a new connection, nil for plain TCP.
func (c *Config) tls() *tls.Config {
	if c.TLS == nil {
		return nil
	}
	return c.TLS()
}

// check fills in the defaults and returns everything that is wrong.
func (c *Config) check() error {
	if c.Root == "" {
		c.Root = DefaultRoot
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = DefaultSessionTimeout
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	if c.testOnlyLimits == (limits{}) {
		c.testOnlyLimits = limits{call: maxCall, await: maxAwait, unanswered: maxUnanswered, pause: maxWritePause}
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Meter == nil {
		c.Meter = func(store.Call, time.Duration, error) {}
	}
	var all []error
	say := func(bad bool, format string, args ...any) {
		if bad {
			all = append(all, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
		}
	}
	say(len(c.Servers) == 0, "no servers")
	for _, server := range c.Servers {
		host, port, err := net.SplitHostPort(server)
		say(err != nil || host == "" || port == "", "server %q is not host:port", server)
	}
	err := tree.CheckPath(c.Root)
	say(err != nil, "root: %v", err)
	say(len(c.Root) > maxRoot, "root is longer than %d bytes", maxRoot)
	say((c.User == "") != (c.Password == ""), "user and password belong together")
	say(strings.Contains(c.User, ":"), "a user name cannot hold a colon")
	say(c.SessionTimeout < time.Second || c.SessionTimeout > time.Minute, "session timeout %v is not within 1s and 1m", c.SessionTimeout)
	say(c.MaxStale < 0, "negative staleness")
	say(c.CacheBytes < 0, "negative cache size")
	return errors.Join(all...)
}
