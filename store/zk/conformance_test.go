//go:build zookeeper

package zk_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"secretstore/store"
	"secretstore/store/storetest"
	"secretstore/store/zk"
)

// config is for a backend on servers, below a root of the test's own. Its calls
// may take long, as they do on a machine under load.
func config(t testing.TB, servers ...string) zk.Config {
	return zk.Patient(prompt(t, servers...))
}

// prompt is config for tests of the limits of calls.
func prompt(t testing.TB, servers ...string) zk.Config {
	return zk.Config{
		Servers: servers, Root: zk.NewRoot(), MaxStale: time.Minute,
		Log: zaptest.NewLogger(t, zaptest.Level(logLevel)),
	}
}

const logLevel = zap.InfoLevel

// open returns a backend that the test closes.
func open(t testing.TB, cfg zk.Config) *zk.Backend {
	t.Helper()
	b, err := zk.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// openReady is open, and waits for the connection, on a machine with much else to do
// for longer than a call does, and until it hears of changes.
func openReady(t testing.TB, cfg zk.Config) *zk.Backend {
	t.Helper()
	b := open(t, cfg)
	eventually(t, "a connection to ZooKeeper that hears of changes", b.Hears)
	return b
}

func TestZooKeeperKeepsTheContract(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	configs := make(map[store.Backend]zk.Config)
	first := func(t *testing.T) store.Backend {
		cfg := config(t, server)
		b := openReady(t, cfg)
		configs[b] = cfg
		return b
	}
	storetest.Run(t, first, storetest.Second(func(t *testing.T, first store.Backend) store.Backend {
		return openReady(t, configs[first])
	}))
}

func TestZooKeeperDoesWhatTheModelDoes(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	storetest.RunModel(t, func(t *testing.T) store.Backend { return openReady(t, config(t, server)) })
}
