package lifecycle

import (
	"sync"
	"time"
)

// The keys are overwritten when they are dropped, and shares once they were
// used. Copies that libraries made of them are garbage by then, and readable in
// memory until the memory is used again: that is what Config.Scrub is for.

// settled is how long after a seal the memory is scrubbed once more, because the
// requests that were under way have ended by then.
const settled = 3 * time.Minute

// scrubbing says when the memory is to be scrubbed. The zero value has no such
// time.
type scrubbing struct {
	mu    sync.Mutex
	times []time.Time // guarded by mu
}

func (s *scrubbing) plan(times ...time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, times...)
}

// due forgets the times that have passed and reports whether there were any.
func (s *scrubbing) due(now time.Time) (due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var later []time.Time
	for _, at := range s.times {
		if at.After(now) {
			later = append(later, at)
		} else {
			due = true
		}
	}
	s.times = later
	return due
}

// forgetKeys erases what is left of keys that were dropped.
func (m *machine) forgetKeys() {
	m.scrub()
	m.scrubbing.plan(time.Now().Add(settled))
}

// forgetKeysSoon has follow do so.
func (m *machine) forgetKeysSoon() {
	now := time.Now()
	m.scrubbing.plan(now, now.Add(settled))
	m.poke()
}

// forgetShares has follow erase what is left of shares that were used.
func (m *machine) forgetShares() {
	m.scrubbing.plan(time.Now())
	m.poke()
}
