package zk

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestConfigThatCannotWorkIsRefusedWithAllReasons(t *testing.T) {
	good := Config{Servers: []string{"h:2181", "[::1]:2181"}}
	if err := good.check(); err != nil || good.Root != DefaultRoot || good.SessionTimeout != DefaultSessionTimeout || good.Log == nil {
		t.Errorf("%v, %+v", err, good)
	}
	for want, change := range map[string]func(*Config){
		"no servers":        func(c *Config) { c.Servers = nil },
		"not host:port":     func(c *Config) { c.Servers = []string{"h"} },
		"not an absolute":   func(c *Config) { c.Root = "dcos" },
		"ends in a slash":   func(c *Config) { c.Root = "/dcos/" },
		"ends in":           func(c *Config) { c.Root = "/" },
		"not a znode path":  func(c *Config) { c.Root = "/a//b" },
		"is not a znode":    func(c *Config) { c.Root = "/a/../b" },
		"ZooKeeper itself":  func(c *Config) { c.Root = "/zookeeper/x" },
		"longer than":       func(c *Config) { c.Root = "/" + strings.Repeat("x", maxRoot) },
		"belong together":   func(c *Config) { c.User = "u" },
		"cannot hold":       func(c *Config) { c.User, c.Password = "a:b", "c" },
		"session timeout":   func(c *Config) { c.SessionTimeout = time.Millisecond },
		"negative":          func(c *Config) { c.MaxStale = -1 },
		"negative cache si": func(c *Config) { c.CacheBytes = -1 },
	} {
		c := Config{Servers: []string{"h:1"}}
		change(&c)
		b, err := Open(context.Background(), c)
		if b != nil || !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	_, err := Open(context.Background(), Config{Root: "x", User: "u"})
	if got := strings.Count(err.Error(), ErrConfig.Error()); got != 3 {
		t.Errorf("%d reasons, want 3: %v", got, err)
	}
}

func TestOpenUnderAnEndedContextRefuses(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, Config{Servers: []string{"h:1"}}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
