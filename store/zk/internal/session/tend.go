package session

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Tend watches over the session until it has ended: it fails one whose calls
// stay unanswered, and sends a heartbeat, whether the znode path exists, on one
// that is silent.
func (s *Session) Tend(path string) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	before, busy := int64(0), 0
	for {
		select {
		case <-s.ended:
			return
		case <-ticker.C:
		}
		if s.late() {
			s.pauses.Add(1) // before ticked, for Paused
		}
		s.ticked.Store(Now())
		received := s.received.Load()
		if busy--; received-before >= progress {
			busy = digesting
		}
		before = received
		limit := s.cfg.Unanswered
		if busy > 0 {
			limit = max(limit, unfinished)
		}
		if s.calls.overdue(s.calls.now.Add(1), limit) {
			s.Fail(fmt.Errorf("no answer for %v", limit))
			return
		}
		if s.Silence() >= Heartbeat || s.awake.Load() != s.pauses.Load() {
			s.heartbeat(path)
		}
	}
}

// late says whether Tend has not run for so long that the process counts as
// stopped.
func (s *Session) late() bool { return Now()-s.ticked.Load() > int64(pause) }

// Paused returns how often this process was stopped, or got no time to run, since
// the session began; now says that this is so right now, or was until a moment ago.
func (s *Session) Paused() (count int64, now bool) {
	count = s.pauses.Load()
	if s.late() {
		return count + 1, true // Tend will count it
	}
	return count, false
}

// Awake returns how many pauses are over: a question that was put after the last
// of them was answered. All events that the server sent during these pauses have
// been passed to OnEvent.
func (s *Session) Awake() int64 { return s.awake.Load() }

// heartbeat asks the server a question. If all slots are taken, calls are under
// way, and overdue will tell.
func (s *Session) heartbeat(path string) {
	select {
	case s.calls.slots <- struct{}{}:
		go func() {
			defer s.calls.end(s.calls.begin())
			pauses := s.pauses.Load()
			_, _, err := s.conn.Exists(path)
			if s.heard(err) && s.awake.Swap(pauses) != pauses && s.cfg.OnAwake != nil {
				s.cfg.OnAwake()
			}
		}()
	default:
	}
}

// heard notes an answer of the server, if err is one.
func (s *Session) heard(err error) bool {
	yes := err == nil || Answered(err)
	if yes {
		s.replied()
	}
	return yes
}

// calls are those under way.
type calls struct {
	slots   chan struct{}       // one token for each
	now     atomic.Int64        // ticks so far
	pending [ticks]atomic.Int32 // unanswered calls, by the tick they began in
}

// begin is called with a token in slots. It returns what end needs.
func (c *calls) begin() int64 {
	now := c.now.Load()
	c.pending[now%ticks].Add(1)
	return now
}

func (c *calls) end(began int64) {
	c.pending[began%ticks].Add(-1)
	<-c.slots
}

// overdue says whether a call began at least limit before tick now and has no
// answer yet.
func (c *calls) overdue(now int64, limit time.Duration) bool {
	for age := int64(limit / tick); age < ticks-1; age++ {
		if now >= age && c.pending[(now-age)%ticks].Load() > 0 {
			return true
		}
	}
	return false
}
