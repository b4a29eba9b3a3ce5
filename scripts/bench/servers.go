package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// serversCase compares three servers on one ZooKeeper with one, on the same
// machine. All run all the time, the three in their own ROOT, and the two
// sides are loaded in turns. An idle server sends about ten packets a second
// and follows the change records of its own ROOT only, so it hardly disturbs
// the others. Starting servers for each turn would be worse: each start leaves
// a change record, and a few hundred of those would keep servers from caching
// anything.
func serversCase(ctx context.Context, o options, s *server, zk *zooKeeper, dir string) error {
	if zk == nil {
		return errors.New("servers share a storage only on ZooKeeper: -storage zk")
	}
	if few := slices.Min(o.conns); few < 3 {
		return fmt.Errorf("-conns %d cannot be spread over three servers", few)
	}
	one := fleet{s}
	three, err := startFleet(ctx, o, dir, "zk://"+zk.addr+"/three", 3)
	if err != nil {
		return err
	}
	defer three.stop()
	if err := three.fill(ctx, o); err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer out.Flush()
	fmt.Fprint(out, "one / three servers\tconns\treq/s\tratio\tp50\tof p50\tserver CPU\tZooKeeper CPU\tpackets\ttransactions\t\n")
	for _, row := range []struct {
		name string
		of   func(options, *server) request
	}{
		{"read", readOf},
		{"read no-cache", freshOf},
		{"update", updateOf},
		{"create", createOf}, // last: these push the others out of the server's memory
	} {
		for _, conns := range o.conns {
			all, spread := one.requests(o, conns, row.of), three.requests(o, conns, row.of)
			err := errors.Join(warmUp(ctx, o, all), warmUp(ctx, o, spread))
			d := duel{a: one.side(o, all), b: three.side(o, spread)}
			if err == nil {
				err = d.measure(ctx, o.runs, zk)
			}
			if err != nil {
				return fmt.Errorf("%s at %d connections: %w", row.name, conns, err)
			}
			printBoth(out, row.name, conns, d)
		}
	}
	return nil
}

// fleet is several servers on one storage.
type fleet []*server

func (f fleet) stop() {
	for _, s := range f {
		s.stop()
	}
}

func startFleet(ctx context.Context, o options, dir, storage string, size int) (fleet, error) {
	var f fleet
	for n := range size {
		own := filepath.Join(dir, fmt.Sprintf("fleet-%d", n+1)) // each writes an audit log
		err := os.Mkdir(own, 0o700)
		var s *server
		if err == nil {
			s, err = startReady(ctx, o, own, storage, true)
		}
		if err != nil {
			f.stop()
			return nil, err
		}
		f = append(f, s)
	}
	return f, nil
}

// fill stores the secrets and has each server read them once, so that all have
// them in memory.
func (f fleet) fill(ctx context.Context, o options) error {
	if err := fill(ctx, o, f[0]); err != nil {
		return err
	}
	for _, s := range f {
		if err := fillWith(ctx, o.secrets, readOf(o, s)); err != nil {
			return err
		}
	}
	return nil
}

// requests gives each connection one of the servers, as a load balancer does.
// All take the secrets from one sequence, so each server asks for every secret
// and updates what another has updated.
func (f fleet) requests(o options, conns int, of func(options, *server) request) []request {
	var all []request
	for n := range conns {
		all = append(all, of(o, f[n%len(f)]))
	}
	return all
}

func (f fleet) side(o options, all []request) *side {
	return &side{servers: f, run: func(ctx context.Context) (figure, error) { return loadEach(ctx, o.duration, all) }}
}

// warmUp runs until each secret was requested once: the cost of a request
// depends on what other servers did to the secret before.
func warmUp(ctx context.Context, o options, all []request) error {
	for before := sent.Load(); sent.Load()-before < uint64(o.secrets); {
		if _, err := loadEach(ctx, o.duration/4, all); err != nil {
			return err
		}
	}
	return nil
}

func printBoth(out io.Writer, name string, conns int, d duel) {
	a, b := median(d.a.figs), median(d.b.figs)
	x, y := d.a.spent.each(), d.b.spent.each()
	fmt.Fprintf(out, "%s\t%d\t%.0f / %.0f\t%.2f\t%d / %d µs\t%.2f\t%.0f / %.0f µs\t%.0f / %.0f µs\t%.2f / %.2f\t%.2f / %.2f\t\n", name, conns,
		a.perSecond, b.perSecond, middle(d.rates), a.p50.Microseconds(), b.p50.Microseconds(), middle(d.medians),
		x.server, y.server, x.zooKeeper, y.zooKeeper, x.packets, y.packets, x.transactions, y.transactions)
}
