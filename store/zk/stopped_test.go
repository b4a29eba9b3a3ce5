package zk

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk/internal/batch"
	"secretstore/store/zk/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(zktest.Main{M: m}) }

// idle returns a Backend of which nothing runs.
func idle(t *testing.T) *Backend {
	t.Helper()
	cfg := Config{Servers: []string{"h:1"}}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	cache, err := newRecordCache(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := newBackend(&cfg, cache)
	t.Cleanup(cache.close)
	return b
}

func newRequest(t *testing.T, b *Backend, ops ...store.Op) *batch.Request {
	t.Helper()
	r, err := b.write.builder.NewRequest(ops)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTheReadsOfAWriteEndWithIt: each has its own limit besides.
func TestTheReadsOfAWriteEndWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idle(t)
		r := newRequest(t, b, store.Check("k", 0))
		began := time.Now()
		err := b.write.findBareParents(t.Context(), r, began.Add(maxAwait/2))
		if took := time.Since(began); took > maxAwait/2 || !errors.Is(err, errTooSlow) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestNoWriteWaitsBehindAnUnknownOutcome: while ZooKeeper is away that
// takes as long as the outage.
func TestNoWriteWaitsBehindAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idle(t)
		r := newRequest(t, b)
		b.write.queue.Push(r)
		sought := make(chan *connection)
		go func() { sought <- b.write.awaitLong(nil) }()
		ctx, cancel := context.WithTimeout(context.Background(), 3*maxAwait)
		defer cancel()
		if _, err := r.Wait(ctx, maxCall, errTooSlow); !errors.Is(err, errAway) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("a write: %v, want %v", err, errAway)
		}
		close(b.life.closing)
		if l := <-sought; l != nil {
			t.Error("a connection out of nowhere")
		}
	})
}

// TestNoCallWaitsOnceNothingListens: neither a connection nor the outcome
// of a write that was under way, which is still sought.
func TestNoCallWaitsOnceNothingListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idle(t)
		began, r := time.Now(), newRequest(t, b)
		r.Send()
		sought := make(chan *connection)
		go func() { sought <- b.write.awaitLong([]*batch.Request{r}) }()
		other := make(chan error)
		go func() {
			_, err := b.conns.await(t.Context())
			other <- err
		}()
		synctest.Wait()
		b.conns.stopped.Store(true)
		b.conns.publish(nil)
		if _, err := r.Wait(t.Context(), maxCall, errTooSlow); !errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, errAway) {
			t.Errorf("a write under way: %v", err)
		}
		if err := <-other; !errors.Is(err, errAway) {
			t.Errorf("who had begun to wait: %v", err)
		}
		if _, err := b.conns.await(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("who comes: %v", err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("after %v", took)
		}
		for range 2 {
			r.Answer(nil, nil) // the outcome, which no caller waits for
		}
		if r.Unsend() {
			t.Error("it would be sent again")
		}
		back := newConnection()
		back.Session = &session.Session{}
		b.conns.publish(back)
		if l := <-sought; l != back || b.conns.stopped.Load() {
			t.Errorf("once there is a connection: %v, %v", l, b.conns.stopped.Load())
		}
	})
}

func TestAnEnsembleIsStoppedWhenAllHaveRefusedForAWhile(t *testing.T) {
	no, other := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, errors.New("no session")
	ms := func(n int) time.Time { return time.Unix(0, 0).Add(time.Duration(n) * time.Millisecond) }
	late := int(stoppedAfter / time.Millisecond)
	for name, tt := range map[string]struct {
		turns   []error
		members int
		last    int // when the last turn ended; the others at 0
		want    bool
	}{
		"once":                {[]error{no}, 1, late, false},
		"for a while":         {[]error{no, no}, 1, late, true},
		"not for long yet":    {[]error{no, no, no}, 1, late - 1, false},
		"not all of them":     {[]error{no, no}, 3, late, false},
		"all of them":         {[]error{no, no, no}, 3, late, true},
		"one listens":         {[]error{no, other, no, no}, 3, late, false},
		"all but at last one": {[]error{no, no, no, other}, 3, late, false},
	} {
		var r refusals
		got := false
		for i, err := range tt.turns {
			at := 0
			if i == len(tt.turns)-1 {
				at = tt.last
			}
			got = r.add(err, ms(at), tt.members)
		}
		if got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
