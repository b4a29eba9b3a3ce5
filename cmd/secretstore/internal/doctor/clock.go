package doctor

import (
	"fmt"
	"time"
)

const (
	// inaccurate is a difference between clocks that should not be, and wrong one at
	// which valid tokens are refused, or expired ones accepted: they have a leeway of
	// 30 s.
	inaccurate = 5 * time.Second
	wrong      = 30 * time.Second
)

const fixClock = "let a time service set the clock of each machine: sudo timedatectl set-ntp true"

// Offset is a clock compared with that of this machine: it is ahead by at least Low and
// at most High. The zero Offset is a clock that agrees.
type Offset struct{ Low, High time.Duration }

// CompareClock returns the offset of a clock that showed at between sent and done.
func CompareClock(sent, done, at time.Time) Offset {
	// Round drops the monotonic clock, which stops while a machine sleeps.
	return Offset{limited(at.Sub(done.Round(0))), limited(at.Sub(sent.Round(0)))}
}

// limited keeps differences that a server invents from overflowing.
func limited(d time.Duration) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	return max(-most, min(d, most))
}

// between returns by how much two clocks differ at least.
func between(a, b Offset) time.Duration { return max(a.Low-b.High, b.Low-a.High, 0) }

func checkClock(f *Facts) (all []Finding) {
	add := func(subject, other string, by time.Duration) {
		if by = by.Abs(); by < inaccurate {
			return
		}
		severity, effect := Warning, ""
		if by >= wrong {
			severity, effect = Serious, ": tokens expire too early or too late"
		}
		all = append(all, Finding{CheckClock, severity, subject,
			fmt.Sprintf("its clock and that of %s differ by %v%s", other, by.Round(time.Second), effect), fixClock})
	}
	for i, p := range f.Processes {
		if c := p.StorageClock; c != nil {
			add(p.Server, "ZooKeeper", seconds(c.Ahead))
		}
		if p.Self {
			continue
		}
		add(p.Server, "this machine", between(p.Offset, Offset{}))
		for _, q := range f.Processes[:i] {
			add(p.Server, q.Server, between(p.Offset, q.Offset))
		}
	}
	if z := f.ZooKeeper; z != nil && !z.Tree.Changed.IsZero() {
		add("this machine", "ZooKeeper", max(z.Tree.Changed.Sub(z.Read), 0))
	}
	return all
}

// seconds limits what a server may say to what a Duration can hold.
func seconds(s float64) time.Duration {
	const most = 1e9
	return time.Duration(max(-most, min(s, most)) * float64(time.Second))
}
