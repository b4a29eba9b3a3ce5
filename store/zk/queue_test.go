package zk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"secretstore/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func req(ops ...store.Op) *request {
	r := &request{ops: ops, done: make(chan result, 1)}
	for _, op := range ops {
		r.bytes += len(op.Data)
	}
	return r
}

func TestWhatMayShareATransaction(t *testing.T) {
	x := []byte("x")
	for _, tt := range []struct {
		a, b  []store.Op
		share bool
	}{
		{[]store.Op{store.Create("a", x)}, []store.Op{store.Create("b", x)}, true},
		{[]store.Op{store.Create("a", x)}, []store.Op{store.Create("a", x)}, false},
		{[]store.Op{store.Set("a", x, 1)}, []store.Op{store.Set("a", x, 1)}, false},
		{[]store.Op{store.Check("a", 1)}, []store.Op{store.Check("a", 1), store.Create("b", x)}, true},
		{[]store.Op{store.Check("a", 1)}, []store.Op{store.Check("a", 2)}, false},
		{[]store.Op{store.Check("a", 1)}, []store.Op{store.Set("a", x, 1)}, false},
		{[]store.Op{store.Ensure("a", x)}, []store.Op{store.Ensure("a", []byte("y")), store.Create("a/b", x)}, true},
		{[]store.Op{store.Ensure("a", x)}, []store.Op{store.Create("a", x)}, false},
		{[]store.Op{store.Delete("a", 1)}, []store.Op{store.Create("a/b", x)}, false},
		{[]store.Op{store.Delete("a", 1)}, []store.Op{store.Ensure("a/b/c", x)}, false},
		{[]store.Op{store.Create("a/b", x)}, []store.Op{store.Delete("a", 1)}, true},
		{[]store.Op{store.Delete("a", 1)}, []store.Op{store.Create("ab", x)}, true},
	} {
		c := newClaims()
		if !c.add(tt.a) {
			t.Fatalf("%v alone is refused", tt.a)
		}
		if got := c.add(tt.b); got != tt.share {
			t.Errorf("%v and %v: %v, want %v", tt.a, tt.b, got, tt.share)
		}
	}
}

func TestBatchesAreBoundedAndNothingIsLeftBehind(t *testing.T) {
	q := newQueue()
	const n = 100
	for i := range n {
		q.push(req(store.Create(string(rune('A'+i%50)), make([]byte, 30<<10))))
	}
	huge := req(store.Create("huge", make([]byte, maxBatchBytes+1)))
	q.push(huge)
	got := 0
	for got < n+1 {
		batch, ok := q.take()
		if !ok || len(batch) == 0 {
			t.Fatalf("after %d of %d: %d, %v", got, n+1, len(batch), ok)
		}
		sum := 0
		keys := make(map[store.Key]bool)
		for _, r := range batch {
			sum += r.bytes
			if keys[r.ops[0].Key] {
				t.Errorf("%s twice", r.ops[0].Key)
			}
			keys[r.ops[0].Key] = true
		}
		if sum > maxBatchBytes && len(batch) > 1 {
			t.Errorf("%d bytes in %d requests", sum, len(batch))
		}
		got += len(batch)
	}
}

func TestACallerKnowsWhetherItsWriteWasSent(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	r := req()
	if _, err := r.wait(ctx, maxCall); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("never sent: %v", err)
	}
	if r.send() {
		t.Error("sent after its caller had left")
	}
	r = req()
	r.send()
	if _, err := r.wait(ctx, maxCall); !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("sent: %v", err)
	}
	if r.unsend() {
		t.Error("to be sent again after its caller had left")
	}
	r = req()
	r.send()
	r.unsend()
	if _, err := r.wait(ctx, maxCall); errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("known to have had no effect: %v", err)
	}
}

// TestACallThatNothingBoundsEnds, and one whose deadline is far away; one whose
// deadline is near ends by that.
func TestACallThatNothingBoundsEnds(t *testing.T) {
	for until, want := range map[time.Duration]error{
		0:                   errTooSlow,
		maxCall + 2*grace:   errTooSlow,
		maxCall + grace/2:   context.DeadlineExceeded,
		maxCall - grace/2:   context.DeadlineExceeded,
		-time.Second:        context.DeadlineExceeded,
		maxCall + time.Hour: errTooSlow,
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, began := t.Context(), time.Now()
			if until != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, until)
				defer cancel()
			}
			r := &request{done: make(chan result, 1)}
			_, err := r.wait(ctx, maxCall)
			if !errors.Is(err, want) || !errors.Is(err, store.ErrUnavailable) || time.Since(began) > maxCall+grace {
				t.Errorf("a deadline in %v: %v after %v, want %v", until, err, time.Since(began), want)
			}
		})
	}
}

// TestTheLooksOfACallEndWithIt: each has a limit of its own besides.
func TestTheLooksOfACallEndWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, err := newCache(1 << 10)
		if err != nil {
			t.Fatal(err)
		}
		defer memory.close()
		existing, err := newExisting()
		if err != nil {
			t.Fatal(err)
		}
		defer existing.close()
		b := &Backend{cache: memory, existing: existing, closing: make(chan struct{}), changed: make(chan struct{})}
		r := &request{ops: []store.Op{store.Check("k", 0)}, steps: []step{{Digest: store.RecordDigest("k")}}}
		began := time.Now()
		err = b.findBareParents(t.Context(), r, began.Add(maxAwait/2))
		if took := time.Since(began); took > maxAwait/2 || !errors.Is(err, errTooSlow) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestTheOldestRequestIsNeverPassedOver, though there are always newer ones that
// it cannot share a transaction with.
func TestTheOldestRequestIsNeverPassedOver(t *testing.T) {
	q, n := newQueue(), 0
	push := func() {
		for range 10 {
			n++
			q.push(req(store.Check("keyring", 1), store.Create(fmt.Sprint(n), []byte("x"))))
		}
	}
	push()
	patient := req(store.Set("keyring", []byte("x"), 1))
	q.push(patient)
	push()
	for _, want := range []int{20, 1} {
		batch, _ := q.take()
		if len(batch) != want || (want == 1) != (batch[0] == patient) {
			t.Fatalf("takes %d, want %d", len(batch), want)
		}
		push()
	}
}

// TestRequestsWhoseCallersHaveLeftHideNoOther: those are not counted among the
// requests that are scanned for one batch.
func TestRequestsWhoseCallersHaveLeftHideNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		for n := range maxScan + 1 {
			r := req(store.Check("keyring", 1), store.Create(fmt.Sprint(n), []byte("x")))
			q.push(r)
			if n < maxScan {
				r.state.Store(left)
			}
		}
		if batch, _ := q.take(); len(batch) != 1 || len(q.requests) != 0 {
			t.Errorf("takes %d and leaves %d, want 1, 0", len(batch), len(q.requests))
		}
		r := req(store.Create("k", []byte("x")))
		r.state.Store(left)
		q.push(r)
		taken := make(chan []*request)
		go func() {
			batch, _ := q.take()
			taken <- batch
		}()
		synctest.Wait() // it waits for one whose caller is there
		q.push(req(store.Create("k", []byte("x"))))
		if batch := <-taken; len(batch) != 1 {
			t.Errorf("takes %d, want 1", len(batch))
		}
	})
}

func TestRequestsThatArePutBackAreTheNextOnes(t *testing.T) {
	q := newQueue()
	for _, key := range []store.Key{"a", "b", "c"} {
		q.push(req(store.Create(key, []byte("x"))))
	}
	batch, _ := q.take()
	q.push(req(store.Create("d", []byte("x"))))
	q.putBack(batch[1:])
	next, _ := q.take()
	if len(next) != 3 || next[0] != batch[1] || next[1] != batch[2] {
		t.Errorf("takes %d, or in another order", len(next))
	}
}

func TestAClosedQueueGivesBackWhatWaits(t *testing.T) {
	q := newQueue()
	q.push(req())
	q.close()
	batch, ok := q.take()
	if ok || len(batch) != 1 || q.push(req()) {
		t.Error("a closed queue goes on")
	}
}

// TestNobodyWaitsBehindAWriteWhoseOutcomeIsSought: while ZooKeeper is away that
// takes as long as the outage.
func TestNobodyWaitsBehindAWriteWhoseOutcomeIsSought(t *testing.T) {
	b := &Backend{queue: newQueue(), closing: make(chan struct{}), changed: make(chan struct{}), ctx: context.Background()}
	r := req()
	b.queue.push(r)
	sought := make(chan *link)
	go func() { sought <- (&committer{b: b}).awaitLong(&tx{}) }()
	ctx, cancel := context.WithTimeout(context.Background(), 3*maxAwait)
	defer cancel()
	if _, err := r.wait(ctx, maxCall); !errors.Is(err, errAway) || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("a write: %v, want %v", err, errAway)
	}
	close(b.closing)
	if l := <-sought; l != nil {
		t.Error("a connection out of nowhere")
	}
}

// TestNothingIsWaitedForOnceNothingListens: neither a connection nor the outcome
// of a write that was under way, which is still sought.
func TestNothingIsWaitedForOnceNothingListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Backend{queue: newQueue(), closing: make(chan struct{}), changed: make(chan struct{}), ctx: context.Background()}
		began, r := time.Now(), req()
		r.send()
		sought := make(chan *link)
		go func() { sought <- (&committer{b: b}).awaitLong(&tx{batch: []*request{r}}) }()
		other := make(chan error)
		go func() {
			_, err := b.await(t.Context())
			other <- err
		}()
		synctest.Wait()
		b.stopped.Store(true)
		b.publish(nil)
		if _, err := r.wait(t.Context(), maxCall); !errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, errAway) {
			t.Errorf("a write under way: %v", err)
		}
		if err := <-other; !errors.Is(err, errAway) {
			t.Errorf("who had begun to wait: %v", err)
		}
		if _, err := b.await(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("who comes: %v", err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("after %v", took)
		}
		for range 2 {
			r.answer(nil, nil) // the outcome, which nobody waits for any more
		}
		if r.unsend() {
			t.Error("it would be sent again")
		}
		back := &link{}
		b.publish(back)
		if l := <-sought; l != back || b.stopped.Load() {
			t.Errorf("once there is a connection: %v, %v", l, b.stopped.Load())
		}
	})
}

func TestAnEnsembleIsStoppedWhenAllHaveRefusedForAWhile(t *testing.T) {
	no, other := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, errors.New("no session")
	ms := func(n int) time.Time { return clockBase.Add(time.Duration(n) * time.Millisecond) }
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
