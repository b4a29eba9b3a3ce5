package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// failoverCase loads three servers on one ZooKeeper through a list of their
// addresses and kills one of them. Each client uses one server, and changes to
// the next in the list when a request fails; that request is repeated once.
// Nine requests of ten read, the tenth updates.
func failoverCase(ctx context.Context, o options, s *server, zk *zooKeeper, dir string) error {
	if zk == nil {
		return errors.New("servers share a storage only on ZooKeeper: -storage zk")
	}
	s.stop() // it has nothing to do in this case
	three, err := startFleet(ctx, o, dir, "zk://"+zk.addr+"/failover", 3)
	if err != nil {
		return err
	}
	defer func() { three.stop() }()
	if err := three.fill(ctx, o); err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer out.Flush()
	fmt.Fprint(out, "one of three killed\tconns\trun\trequests\trepeated\tlost after one repetition\tlongest stall\tp99 before\tp99 after\t\n")
	for _, conns := range o.conns {
		for run := range o.runs {
			victim := run % len(three)
			f := &failover{o: o, servers: three, conns: conns}
			if err := f.run(ctx, victim); err != nil {
				return fmt.Errorf("at %d connections: %w", conns, err)
			}
			fmt.Fprintf(out, "\t%d\t%d\t%d\t%d\t%d\t%d ms\t%d µs\t%d µs\t\n", conns, run+1, len(f.waits), f.repeated, f.lost, f.longest().Milliseconds(),
				f.p99(true).Microseconds(), f.p99(false).Microseconds())
			if f.firstLost != nil {
				fmt.Fprintln(os.Stderr, "bench: the first lost request:", f.firstLost)
			}
			again, err := startReady(ctx, o, filepath.Join(dir, fmt.Sprintf("fleet-%d", victim+1)), "zk://"+zk.addr+"/failover", true)
			if err != nil {
				return err
			}
			three[victim] = again
			if err := fillWith(ctx, o.secrets, readOf(o, again)); err != nil {
				return err
			}
		}
	}
	return nil
}

// wait is one request as its client saw it.
type wait struct {
	began time.Time
	took  time.Duration // until the last answer
}

// failover is one run: clients under load, and a server that is killed.
type failover struct {
	o       options
	servers fleet
	conns   int

	mu        sync.Mutex
	waits     []wait // guarded by mu, as what follows
	repeated  int
	lost      int
	firstLost error
	killed    time.Time
}

func (f *failover) run(ctx context.Context, victim int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*f.o.duration)
	defer cancel()
	var workers sync.WaitGroup
	for w := range f.conns {
		workers.Go(func() { f.client(ctx, w) })
	}
	select {
	case <-time.After(f.o.duration):
	case <-ctx.Done():
	}
	killed := time.Now()
	err := f.servers[victim].cmd.Process.Kill()
	_ = f.servers[victim].cmd.Wait() // it was killed
	workers.Wait()
	f.killed = killed
	if err == nil && len(f.waits) == 0 {
		err = errors.New("no request was answered")
	}
	return err
}

// client sends requests one after the other until ctx is done.
func (f *failover) client(ctx context.Context, at int) {
	client := newClient(1, nil)
	client.MaxIdemponentCallAttempts = 1 // the one repetition is that of this function
	client.ReadTimeout = 10 * time.Second
	defer client.CloseIdleConnections()
	var waits []wait
	var repeated, lost int
	var firstLost error
	for ctx.Err() == nil {
		n, began := sent.Add(1), time.Now()
		if _, err := once(client, f.request(at, n)); err != nil {
			repeated++
			at++
			if _, err := once(client, f.request(at, n)); err != nil {
				lost++
				firstLost = err
			}
		}
		waits = append(waits, wait{began, time.Since(began)})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits = append(f.waits, waits...)
	f.repeated += repeated
	f.lost += lost
	if f.firstLost == nil {
		f.firstLost = firstLost
	}
}

// request is number n, to the server at that place of the list.
func (f *failover) request(at int, n uint64) request {
	r := mixed(f.o, f.servers[at%len(f.servers)])
	next := r.next
	r.next = func(uint64) (string, []byte) { return next(n) }
	return r
}

func (f *failover) longest() time.Duration {
	return slices.MaxFunc(f.waits, func(a, b wait) int { return int(a.took - b.took) }).took
}

// p99 is that of the requests that began before the kill, or after it.
func (f *failover) p99(before bool) time.Duration {
	var all []time.Duration
	for _, w := range f.waits {
		if w.began.Before(f.killed) == before {
			all = append(all, w.took)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}
