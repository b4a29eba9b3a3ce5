//go:build zookeeper

package zk_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"secretstore/store"
	"secretstore/store/zk"
)

// BenchmarkBackend measures one backend, 64 callers at once.
func BenchmarkBackend(b *testing.B) {
	server := zk.SharedServer(b)
	cfg := config(b, server)
	cfg.Log = zap.NewNop()
	backend := open(b, cfg)
	ctx := context.Background()
	var n atomic.Int64
	value := make([]byte, 400)
	versions, err := backend.Apply(ctx, store.Create("keyring", value), store.Create("seal", value))
	if err != nil {
		b.Fatal(err)
	}
	run := func(name string, call func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := call(); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
	run("create", func() error {
		i := n.Add(1)
		_, err := backend.Apply(ctx, store.Check("keyring", versions[0]), store.Check("seal", versions[1]),
			store.Ensure(fmt.Sprintf("s/f%d", i%10), value), store.Create(fmt.Sprintf("s/f%d/k%d", i%10, i), value))
		return err
	})
	run("cached", func() error { _, err := backend.Get(ctx, "keyring", store.Cached); return err })
	run("miss", func() error {
		i := 1 + n.Add(1)%1000
		_, err := backend.Get(ctx, fmt.Sprintf("s/f%d/none%d", i%10, n.Add(1)), store.Cached)
		if err == store.ErrNotFound {
			err = nil
		}
		return err
	})
	run("latest", func() error { _, err := backend.Get(ctx, "keyring", store.Latest); return err })
}
