package session

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"secretstore/internal/zktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(zktest.Main{M: m}) }

func TestACallIsOverdueOnceItHasLastedTheLimit(t *testing.T) {
	const limit = 2 * time.Second
	c := calls{slots: make(chan struct{}, 2)}
	call := func() int64 {
		c.slots <- struct{}{}
		return c.begin()
	}
	early := call()
	for n := range int64(limit / tick) {
		if c.overdue(n, limit) {
			t.Errorf("overdue after %d ticks", n)
		}
		c.now.Add(1)
	}
	late := call()
	if !c.overdue(c.now.Load(), limit) {
		t.Error("not overdue after the limit")
	}
	c.end(early)
	if c.overdue(c.now.Load(), limit) {
		t.Error("overdue though the call has ended")
	}
	c.end(late)
	if len(c.slots) > 0 {
		t.Error("a slot was not given back")
	}
}
