package main

import "context"

// duel measures two sides in turns, so that each ratio compares figures
// measured within seconds of each other.
type duel struct {
	a, b           *side
	rates, medians []float64 // b's of a's, one for each turn
}

// side is one of the two.
type side struct {
	run     func(ctx context.Context) (figure, error) // one turn
	servers []*server                                 // that work in it
	figs    []figure
	spent   usage
}

func (d *duel) measure(ctx context.Context, turns int, zk *zooKeeper) error {
	for range turns {
		a, err := d.a.turn(ctx, zk)
		if err != nil {
			return err
		}
		b, err := d.b.turn(ctx, zk)
		if err != nil {
			return err
		}
		d.rates = append(d.rates, b.perSecond/a.perSecond)
		d.medians = append(d.medians, float64(b.p50)/float64(max(1, a.p50)))
	}
	return nil
}

func (s *side) turn(ctx context.Context, zk *zooKeeper) (figure, error) {
	before := use(zk, s.servers...)
	fig, err := s.run(ctx)
	if err != nil {
		return figure{}, err
	}
	s.spent = s.spent.plus(use(zk, s.servers...).minus(before))
	s.figs = append(s.figs, fig)
	return fig, nil
}
