//go:build zookeeper

package server

import (
	"context"
	"errors"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"secretstore/acl/token"
	"secretstore/internal/zktest"
)

// TestKeyOfTokensFromZnode follows a protected znode through changes, an outage
// and a removal, past a server that is down, and leaves nothing running.
func TestKeyOfTokensFromZnode(t *testing.T) {
	defer goleak.VerifyNone(t)
	zookeeper := zktest.Start(t)
	defer zookeeper.Stop()
	set := znodeWriter(t, zookeeper.Addr())
	set("first\nsecond line")

	source := &znodeKey{
		servers: []string{"127.0.0.1:1", zookeeper.Addr()}, session: 6 * time.Second, path: "/token-secret", log: zap.NewNop(),
		access: zkAccess{user: "admin", password: "secret"},
	}
	keys, problems := make(chan string, 100), make(chan error, 100)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		source.watch(ctx, func(k []byte) error { keys <- string(k); return nil }, token.Watch{Every: 50 * time.Millisecond, Report: func(err error) { problems <- err }})
	}()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-keys:
			if got != want {
				t.Fatalf("key %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("no key in a minute, want %q", want)
		}
	}
	fails := func(because error) {
		t.Helper()
		for timeout := time.After(time.Minute); ; {
			select {
			case err := <-problems:
				if err != nil && (because == nil || errors.Is(err, because)) {
					return
				}
			case <-timeout:
				t.Fatalf("no report of %v in a minute", because)
			}
		}
	}
	next("first")
	set("changed")
	next("changed")

	zookeeper.Stop()
	fails(nil)
	zookeeper.Restart()
	next("changed")

	set("")
	fails(zkc.ErrNoNode)
	stop()
	<-done
}

// znodeWriter returns a function that sets /token-secret, which only the user
// admin may read, or removes it for "".
func znodeWriter(t *testing.T, addr string) func(string) {
	return func(text string) {
		t.Helper()
		conn, events, err := zkc.Connect([]string{addr}, 10*time.Second, zkc.WithLogInfo(false))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			conn.Close()
			for range events {
			}
		}()
		if err := conn.AddAuth("digest", []byte("admin:secret")); err != nil {
			t.Fatal(err)
		}
		switch _, err = conn.Set("/token-secret", []byte(text), -1); {
		case text == "":
			err = conn.Delete("/token-secret", -1)
		case errors.Is(err, zkc.ErrNoNode):
			_, err = conn.Create("/token-secret", []byte(text), 0, zkc.DigestACL(zkc.PermAll, "admin", "secret"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
