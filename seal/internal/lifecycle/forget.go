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

// scrubbing scrubs the memory, at once or at planned times.
type scrubbing struct {
	scrub func() // Config.Scrub
	poke  func() // has follow look at the times

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
func (s *scrubbing) forgetKeys() {
	s.scrub()
	s.plan(time.Now().Add(settled))
}

// forgetKeysSoon has follow do so.
func (s *scrubbing) forgetKeysSoon() {
	now := time.Now()
	s.plan(now, now.Add(settled))
	s.poke()
}

// forgetShares has follow erase what is left of shares that were used.
func (s *scrubbing) forgetShares() {
	s.plan(time.Now())
	s.poke()
}
