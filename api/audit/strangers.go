package audit

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"secretstore/api/internal/rates"
	"secretstore/internal/clientnet"
)

// Strangers are clients without a valid token. Anybody can be one, so their
// lines must not fill the disk: beyond these rates, requests are counted, and
// one line says how many there were.
const (
	addressRate, addressBurst = 10, 50 // lines a second of one address
	overallRate, overallBurst = 20, 200
	// summaryEvery is how often the counted ones are written.
	summaryEvery = time.Second
	// maxCounted is how many addresses are counted apart; the rest is one count.
	maxCounted = 16
)

const reasonLeftOut = "requests without a valid token, too many for a line each"

// strangers decides which of their requests get a line, and counts the others.
type strangers struct {
	each    *rates.Limit[netip.Prefix]
	overall *rate.Limiter

	mu      sync.Mutex
	leftOut map[netip.Prefix]int64 // guarded by mu; the zero Prefix is all that have no entry
	// summary writes the counts; set by the first of them. Guarded by mu.
	summary *time.Timer
	closed  bool // guarded by mu
}

func newStrangers() (*strangers, error) {
	each, err := rates.New[netip.Prefix](addressRate, addressBurst)
	if err != nil {
		return nil, err
	}
	return &strangers{each: each, overall: rate.NewLimiter(overallRate, overallBurst), leftOut: make(map[netip.Prefix]int64)}, nil
}

// admit reports whether the request of an address gets a line.
func (s *strangers) admit(remote string) bool {
	return s.each.Allow(clientnet.Parse(remote)) && s.overall.Allow()
}

// count adds n requests of an address to those without a line. write is called
// a second later, if it is not called then anyway, and is expected to take them.
func (s *strangers) count(of netip.Prefix, n int64, write func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.leftOut[of]; !known && len(s.leftOut) >= maxCounted {
		of = netip.Prefix{}
	}
	s.leftOut[of] += n
	if s.summary == nil && !s.closed {
		s.summary = time.AfterFunc(summaryEvery, write)
	}
}

// take returns the counts by address, and forgets them.
func (s *strangers) take() map[netip.Prefix]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.summary != nil {
		s.summary.Stop()
		s.summary = nil
	}
	taken := s.leftOut
	s.leftOut = make(map[netip.Prefix]int64)
	return taken
}

// summaryOf returns the line for so many requests of an address.
func summaryOf(of netip.Prefix, n int64) *Entry {
	e := &Entry{Time: time.Now(), Endpoint: "audit", Outcome: Denied, Reason: reasonLeftOut, LeftOut: n}
	switch {
	case of.IsSingleIP():
		e.Remote = of.Addr().String()
	case of.IsValid():
		e.Remote = of.String()
	}
	return e
}

// close ends the timer.
func (s *strangers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.summary != nil {
		s.summary.Stop()
	}
}
