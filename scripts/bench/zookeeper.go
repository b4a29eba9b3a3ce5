package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

// rawSessions is how many sessions the reference uses: one alone stops at
// 15,000 reads a second.
const rawSessions = 4

// rawZooKeeper does with the ZooKeeper client alone what a request does.
type rawZooKeeper struct {
	conns   []*zk.Conn
	o       options
	created atomic.Uint64
}

const rawRoot = "/raw"

func (z *zooKeeper) client(o options) (*rawZooKeeper, error) {
	o.secrets = min(o.secrets, 10_000) // as many names as the list that it is compared with
	r := &rawZooKeeper{o: o}
	for range rawSessions {
		conn, _, err := zk.Connect([]string{z.addr}, 10*time.Second, zk.WithLogInfo(false))
		if err != nil {
			return nil, err
		}
		r.conns = append(r.conns, conn)
	}
	for _, path := range []string{rawRoot, rawRoot + "/list", rawRoot + "/new"} {
		if _, err := r.conns[0].Create(path, nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
			return nil, fmt.Errorf("create %s: %w", path, err)
		}
	}
	for n := 0; n < o.secrets; n += 100 {
		var batch []any
		for i := n; i < min(n+100, o.secrets); i++ {
			batch = append(batch, &zk.CreateRequest{Path: r.path(uint64(i)), Data: make([]byte, o.size+150), Acl: zk.WorldACL(zk.PermAll)})
		}
		if _, err := r.conns[0].Multi(batch...); err != nil {
			return nil, fmt.Errorf("fill: %w", err)
		}
	}
	return r, nil
}

func (r *rawZooKeeper) close() {
	for _, c := range r.conns {
		c.Close()
	}
}

func (r *rawZooKeeper) path(n uint64) string {
	return fmt.Sprintf("%s/list/%032d", rawRoot, n%uint64(r.o.secrets))
}

func (r *rawZooKeeper) syncGet(ctx context.Context, conns int) (figure, error) {
	return r.load(ctx, conns, func(c *zk.Conn, n uint64) error {
		if _, err := c.Sync(r.path(n)); err != nil {
			return err
		}
		_, _, err := c.Get(r.path(n))
		return err
	})
}

func (r *rawZooKeeper) get(ctx context.Context, conns int) (figure, error) {
	return r.load(ctx, conns, func(c *zk.Conn, n uint64) error {
		_, _, err := c.Get(r.path(n))
		return err
	})
}

func (r *rawZooKeeper) children(ctx context.Context, conns int) (figure, error) {
	return r.load(ctx, conns, func(c *zk.Conn, _ uint64) error {
		_, _, err := c.Children(rawRoot + "/list")
		return err
	})
}

func (r *rawZooKeeper) create(ctx context.Context, conns int) (figure, error) {
	return r.load(ctx, conns, func(c *zk.Conn, _ uint64) error {
		_, err := c.Create(fmt.Sprintf("%s/new/%032d", rawRoot, r.created.Add(1)), make([]byte, r.o.size+150), 0, zk.WorldACL(zk.PermAll))
		return err
	})
}

func (r *rawZooKeeper) set(ctx context.Context, conns int) (figure, error) {
	return r.load(ctx, conns, func(c *zk.Conn, n uint64) error {
		_, err := c.Set(r.path(n), make([]byte, r.o.size+150), -1)
		return err
	})
}

// load runs as many goroutines as the case has connections, spread over the
// sessions.
func (r *rawZooKeeper) load(ctx context.Context, conns int, op func(*zk.Conn, uint64) error) (figure, error) {
	var done atomic.Uint64
	failures := make([]error, conns)
	latencies := make([][]time.Duration, conns)
	start := time.Now()
	var workers sync.WaitGroup
	for w := range conns {
		conn := r.conns[w%len(r.conns)]
		workers.Go(func() {
			for time.Since(start) < r.o.duration && ctx.Err() == nil {
				began := time.Now()
				if err := op(conn, done.Add(1)); err != nil {
					failures[w] = err
					return
				}
				latencies[w] = append(latencies[w], time.Since(began))
			}
		})
	}
	workers.Wait()
	for _, err := range failures {
		if err != nil {
			return figure{}, err
		}
	}
	return figureOf(ctx, latencies, time.Since(start))
}
