package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
)

// tlsCase compares cached reads over TLS with hello over TLS: once with
// connections that are kept, once with a new connection, and so a full
// handshake, for each request. Both show the same ECDSA P-256 certificate.
func tlsCase(ctx context.Context, o options, s *server) error {
	helloURL, stop, err := startHello(ctx, o.size, o.certs)
	if err != nil {
		return err
	}
	defer stop()
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer out.Flush()
	fmt.Fprint(out, "over TLS\tconns\treq/s\tp50\tp99\tserver CPU\thello\tp50\tratio\tof p50\t\n")
	for _, row := range []struct {
		name  string
		fresh bool
	}{
		{"read, connections kept", false},
		{"read, new connections", true},
	} {
		hello := getOf(o, helloURL, s.token)
		read := getOf(o, s.tlsURL, s.token)
		hello.tls, read.tls = o.certs.client, o.certs.client
		hello.fresh, read.fresh = row.fresh, row.fresh
		hello.warm, read.warm = !row.fresh, !row.fresh
		for _, conns := range o.conns {
			turn := func(r request) func(context.Context) (figure, error) {
				return func(ctx context.Context) (figure, error) { return load(ctx, conns, o.duration, r) }
			}
			d := duel{a: &side{run: turn(hello)}, b: &side{run: turn(read), servers: []*server{s}}}
			if err := d.measure(ctx, o.runs, nil); err != nil {
				return fmt.Errorf("%s at %d connections: %w", row.name, conns, err)
			}
			fig, ref := median(d.b.figs), median(d.a.figs)
			fmt.Fprintf(out, "%s\t%d\t%.0f\t%d µs\t%d µs\t%.0f µs\t%.0f\t%d µs\t%.2f\t%.2f\t\n", row.name, conns, fig.perSecond, fig.p50.Microseconds(),
				fig.p99.Microseconds(), d.b.spent.each().server, ref.perSecond, ref.p50.Microseconds(), middle(d.rates), middle(d.medians))
		}
	}
	return nil
}

// getOf reads the secrets in turn from a server with this URL.
func getOf(o options, url, token string) request {
	return request{method: "GET", want: 200, token: token,
		next: func(n uint64) (string, []byte) { return url + "/secrets/v1/secret/default/" + name(o, n), nil }}
}
