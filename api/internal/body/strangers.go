package body

import (
	"container/list"
	"errors"
	"net/http"
	"sync"
	"time"

	"secretstore/api/internal/problem"
)

// StrangersBytes bounds the bodies of strangers in memory at once: of callers who have
// not shown who they are, such as those who sign in.
const StrangersBytes = 16 << 20

const textStrangers = "too many requests without a token at once: try again later"

// strangers is the memory for bodies of strangers. When it is used up, the body that has
// been arriving longest is given up for a new one. So strangers who take their time keep
// nobody out.
type strangers struct {
	mu       sync.Mutex
	free     int64     // bytes; guarded by mu
	arriving list.List // of *arrival, the oldest first; guarded by mu
}

// arrival is a body that is being read, or was read.
type arrival struct {
	from *strangers
	ctl  *http.ResponseController
	size int64         // what it takes; guarded by strangers.mu
	at   *list.Element // in strangers.arriving; nil once it has arrived; guarded by strangers.mu
}

// enter takes size bytes for a body.
func (s *strangers) enter(b *Body, size int64) (*arrival, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	enough := s.free
	for e := s.arriving.Front(); e != nil && enough < size; e = e.Next() {
		enough += e.Value.(*arrival).size
	}
	if enough < size {
		return nil, problem.Busy(textStrangers)
	}
	for s.free < size {
		s.giveUp(s.arriving.Front().Value.(*arrival))
	}
	s.free -= size
	a := &arrival{from: s, ctl: http.NewResponseController(b.w), size: size}
	a.at = s.arriving.PushBack(a)
	return a, nil
}

// giveUp ends the reading of a body. The caller holds mu.
func (s *strangers) giveUp(a *arrival) {
	s.leave(a)
	_ = a.ctl.SetReadDeadline(time.Unix(1, 0)) // without deadlines, it ends when more of it arrives
}

// leave gives back what a body takes. The caller holds mu.
func (s *strangers) leave(a *arrival) {
	if a.at != nil {
		s.arriving.Remove(a.at)
		a.at = nil
	}
	s.free += a.size
	a.size = 0
}

var errGivenUp = errors.New("the body was given up for others")

// check returns an error if the body was given up. Call it after each new deadline,
// which may be later than that of giveUp.
func (a *arrival) check() error {
	a.from.mu.Lock()
	defer a.from.mu.Unlock()
	if a.at == nil {
		return errGivenUp
	}
	return nil
}

// arrived says that the body has been read, and returns false if it was given up.
func (a *arrival) arrived() bool {
	a.from.mu.Lock()
	defer a.from.mu.Unlock()
	if a.at == nil {
		return false
	}
	a.from.arriving.Remove(a.at)
	a.at = nil
	return true
}

// release gives back what the body takes. Further calls do nothing.
func (a *arrival) release() {
	a.from.mu.Lock()
	defer a.from.mu.Unlock()
	a.from.leave(a)
}

// read is Budget.Read for strangers.
func (s *strangers) read(body *Body, size int64, limit Limit) (content []byte, release func(), err error) {
	a, err := s.enter(body, size)
	if err != nil {
		return nil, nil, err
	}
	content, err = body.read(size, limit, a.check)
	if !a.arrived() {
		err = problem.Busy(textStrangers)
	}
	if err != nil {
		clear(content)
		a.release()
		return nil, nil, err
	}
	return content, a.release, nil
}
