package main

import (
	"context"
	"fmt"
	"io"
)

// duel measures two sides in turns, so that each ratio is of two figures of the
// same seconds.
type duel struct {
	a, b           *side
	rates, medians []float64 // b's of a's, one for each turn
}

func (d *duel) measure(ctx context.Context, o options, zk *zooKeeper) error {
	for _, s := range []*side{d.a, d.b} {
		if err := s.warmUp(ctx, o); err != nil {
			return err
		}
	}
	for range o.runs {
		a, err := d.a.turn(ctx, o, zk)
		if err != nil {
			return err
		}
		b, err := d.b.turn(ctx, o, zk)
		if err != nil {
			return err
		}
		d.rates = append(d.rates, b.perSecond/a.perSecond)
		d.medians = append(d.medians, float64(b.p50)/float64(max(1, a.p50)))
	}
	return nil
}

func (d *duel) print(out io.Writer, name string, conns int) {
	a, b := median(d.a.figs), median(d.b.figs)
	x, y := d.a.spent.each(), d.b.spent.each()
	fmt.Fprintf(out, "%s\t%d\t%.0f / %.0f\t%.2f\t%d / %d µs\t%.2f\t%.0f / %.0f µs\t%.0f / %.0f µs\t%.2f / %.2f\t%.2f / %.2f\t\n", name, conns,
		a.perSecond, b.perSecond, middle(d.rates), a.p50.Microseconds(), b.p50.Microseconds(), middle(d.medians),
		x.server, y.server, x.zooKeeper, y.zooKeeper, x.packets, y.packets, x.transactions, y.transactions)
}

// side is one of the two.
type side struct {
	servers []*server
	conns   []request // what each connection sends
	figs    []figure
	spent   usage
}

// warmUp lasts until each secret had its turn: what others have done to it
// before is part of what the next request costs.
func (s *side) warmUp(ctx context.Context, o options) error {
	for before := sent.Load(); sent.Load()-before < uint64(o.secrets); {
		if _, err := loadEach(ctx, o.duration/4, s.conns); err != nil {
			return err
		}
	}
	return nil
}

func (s *side) turn(ctx context.Context, o options, zk *zooKeeper) (figure, error) {
	before := use(zk, s.servers...)
	fig, err := loadEach(ctx, o.duration, s.conns)
	if err != nil {
		return figure{}, err
	}
	s.spent = s.spent.plus(use(zk, s.servers...).minus(before))
	s.figs = append(s.figs, fig)
	return fig, nil
}
