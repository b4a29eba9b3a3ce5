package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

func boltFile(dir string) string { return filepath.Join(dir, "bench.db") }

// benchStorage prints the table of one storage.
func benchStorage(ctx context.Context, o options, storage, dir, helloURL string) error {
	url := "bolt:" + boltFile(dir)
	var zk *zooKeeper
	var raw *rawZooKeeper
	if storage == "zk" {
		var err error
		if zk, err = startZooKeeper(ctx, dir); err != nil {
			return err
		}
		defer zk.stop()
		url = "zk://" + zk.addr + "/bench"
		if raw, err = zk.client(o); err != nil {
			return err
		}
		defer raw.close()
	}
	switch o.only {
	case "backup":
		return backupCase(ctx, o, dir, url)
	case "iam":
		return iamCase(ctx, o, dir, url, helloURL)
	}
	s, err := startReady(ctx, o, dir, url, true)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := fill(ctx, o, s); err != nil {
		return err
	}
	switch o.only {
	case "rotate":
		return rotateCase(ctx, o, s, dir)
	case "footprint":
		return footprintCase(ctx, o, s, dir, url)
	case "servers":
		return serversCase(ctx, o, s, zk, dir)
	case "values":
		return valuesCase(ctx, o, s)
	case "herd":
		return herdCase(ctx, o, s, dir, helloURL)
	case "tls":
		return tlsCase(ctx, o, s)
	case "failover":
		return failoverCase(ctx, o, s, zk, dir)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer out.Flush()
	defer fmt.Fprintln(out)
	fmt.Fprintf(out, "%s\tconns\treq/s\tp50\tp99\tserver CPU\tZooKeeper CPU\tpackets\ttransactions\treference\tp50\tratio\tof p50\t\n", storage)
	if raw != nil { // else only one server can have the storage
		if err := measureAudit(ctx, o, s, zk, dir, url, out); err != nil {
			return err
		}
	}
	return measureAll(ctx, o, cases(o, s, helloURL, raw), s, zk, out)
}

// measureAudit starts a second server and stops it again: it would read after
// each write of the first.
func measureAudit(ctx context.Context, o options, s *server, zk *zooKeeper, dir, url string, out *tabwriter.Writer) error {
	silent, err := startReady(ctx, o, dir, url, false)
	if err != nil {
		return err
	}
	defer silent.stop()
	// It has written nothing, so its memory is empty.
	if err := fillWith(ctx, o.secrets, readOf(o, silent)); err != nil {
		return err
	}
	return measureAll(ctx, o, []benchCase{auditCase(o, s, silent)}, s, zk, out)
}

func measureAll(ctx context.Context, o options, all []benchCase, s *server, zk *zooKeeper, out *tabwriter.Writer) error {
	for _, c := range all {
		if o.only != "" && c.name != o.only {
			continue
		}
		if err := c.warmUp(ctx, o); err != nil {
			return fmt.Errorf("%s: warm up: %w", c.name, err)
		}
		for _, conns := range o.conns {
			if err := c.measure(ctx, o, s, zk, conns, out); err != nil {
				return fmt.Errorf("%s at %d connections: %w", c.name, conns, err)
			}
		}
	}
	return nil
}

// benchCase is one row of the table: a request, and its reference.
type benchCase struct {
	name      string
	req       request
	reference string
	ref       func(ctx context.Context, conns int) (figure, error)
}

// warmUpFor is how long the reference and the case run before they are
// measured. Without it, ZooKeeper's compiler would see both for the first time;
// in production it has been running for long.
const warmUpFor = 6 * time.Second

func (c benchCase) warmUp(ctx context.Context, o options) error {
	conns := slices.Max(o.conns)
	for start := time.Now(); time.Since(start) < warmUpFor; {
		if _, err := c.ref(ctx, conns); err != nil {
			return err
		}
		if _, err := load(ctx, conns, o.duration, c.req); err != nil {
			return err
		}
	}
	return nil
}

// measure runs the reference and the case in turns.
func (c benchCase) measure(ctx context.Context, o options, s *server, zk *zooKeeper, conns int, out *tabwriter.Writer) error {
	d := duel{
		a: &side{run: func(ctx context.Context) (figure, error) { return c.ref(ctx, conns) }},
		b: &side{run: func(ctx context.Context) (figure, error) { return load(ctx, conns, o.duration, c.req) }, servers: []*server{s}},
	}
	if err := d.measure(ctx, o.runs, zk); err != nil {
		return err
	}
	fig, ref, each := median(d.b.figs), median(d.a.figs), d.b.spent.each()
	fmt.Fprintf(out, "%s\t%d\t%.0f\t%d µs\t%d µs\t%.0f µs\t%.0f µs\t%.2f\t%.2f\t%s %.0f\t%d µs\t%.2f\t%.2f\t\n", c.name, conns, fig.perSecond,
		fig.p50.Microseconds(), fig.p99.Microseconds(), each.server, each.zooKeeper, each.packets, each.transactions,
		c.reference, ref.perSecond, ref.p50.Microseconds(), middle(d.rates), middle(d.medians))
	return nil
}

func cases(o options, s *server, helloURL string, raw *rawZooKeeper) []benchCase {
	helloTo := func(token string) func(context.Context, int) (figure, error) {
		return func(ctx context.Context, conns int) (figure, error) {
			return load(ctx, conns, o.duration, request{method: "GET", want: 200, token: token,
				next: func(n uint64) (string, []byte) {
					return fmt.Sprintf("%s/secrets/v1/secret/default/%s", helloURL, name(o, n)), nil
				}})
		}
	}
	hello := helloTo(s.token)
	read, fresh, update, create := readOf(o, s), freshOf(o, s), updateOf(o, s), createOf(o, s)
	list := request{method: "GET", want: 200, token: s.token, next: func(uint64) (string, []byte) { return s.secret("bench/folder?list=true"), nil }}
	afterChange := list
	body := bodyOf(o)
	afterChange.first = &request{method: "PUT", want: 201, token: s.token,
		next: func(n uint64) (string, []byte) { return s.secret(fmt.Sprintf("bench/folder/new%d", n)), body }}
	signed := read
	signed.token = s.rsaToken
	rows := []benchCase{
		{"read", read, "hello", hello},
		{"read with RS256-4096", signed, "hello", helloTo(s.rsaToken)},
	}
	if raw == nil {
		return append(rows,
			benchCase{"read no-cache", fresh, "hello", hello},
			benchCase{"list of all", list, "hello", hello},
			benchCase{"update", update, "hello", hello},
			benchCase{"create", create, "hello", hello},
			benchCase{"list after a create", afterChange, "hello", hello})
	}
	return append(rows,
		benchCase{"read beside Get", read, "raw Get", raw.get},
		benchCase{"read no-cache", fresh, "raw Sync+Get", raw.syncGet},
		benchCase{"list of all", list, "raw Children", raw.children},
		// Before the creates, which push these out of the server's memory.
		benchCase{"update", update, "raw Set", raw.set},
		benchCase{"create", create, "raw Create", raw.create},
		benchCase{"list after a create", afterChange, "raw Children", raw.children})
}

// auditCase compares reads with those of a server that writes no audit log.
func auditCase(o options, s, silent *server) benchCase {
	return benchCase{"read, audited", readOf(o, s), "not audited", func(ctx context.Context, conns int) (figure, error) {
		return load(ctx, conns, o.duration, readOf(o, silent))
	}}
}
