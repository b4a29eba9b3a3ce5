package batch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"secretstore/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func req(ops ...store.Op) *Request {
	r := &Request{Ops: ops, done: make(chan result, 1)}
	for _, op := range ops {
		r.bytes += len(op.Data)
	}
	return r
}

const limit = 4 * time.Second

var errTooSlow = errors.New("too slow")

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
	q := NewQueue()
	const n = 100
	for i := range n {
		q.Push(req(store.Create(string(rune('A'+i%50)), make([]byte, 30<<10))))
	}
	huge := req(store.Create("huge", make([]byte, maxBytes+1)))
	q.Push(huge)
	got := 0
	for got < n+1 {
		batch, ok := q.Take()
		if !ok || len(batch) == 0 {
			t.Fatalf("after %d of %d: %d, %v", got, n+1, len(batch), ok)
		}
		sum := 0
		keys := make(map[store.Key]bool)
		for _, r := range batch {
			sum += r.bytes
			if keys[r.Ops[0].Key] {
				t.Errorf("%s twice", r.Ops[0].Key)
			}
			keys[r.Ops[0].Key] = true
		}
		if sum > maxBytes && len(batch) > 1 {
			t.Errorf("%d bytes in %d requests", sum, len(batch))
		}
		got += len(batch)
	}
}

func TestACallerKnowsWhetherItsWriteWasSent(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	r := req()
	if _, err := r.Wait(ctx, limit, errTooSlow); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("never sent: %v", err)
	}
	if r.Send() {
		t.Error("sent after its caller had left")
	}
	r = req()
	r.Send()
	if _, err := r.Wait(ctx, limit, errTooSlow); !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("sent: %v", err)
	}
	if r.Unsend() {
		t.Error("to be sent again after its caller had left")
	}
	r = req()
	r.Send()
	r.Unsend()
	if _, err := r.Wait(ctx, limit, errTooSlow); errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("known to have had no effect: %v", err)
	}
}

// TestACallThatNothingBoundsEnds, and one whose deadline is far away; one whose
// deadline is near ends by that.
func TestACallThatNothingBoundsEnds(t *testing.T) {
	for until, want := range map[time.Duration]error{
		0:                     errTooSlow,
		limit + 2*time.Second: errTooSlow,
		limit + time.Second/2: context.DeadlineExceeded,
		limit - time.Second/2: context.DeadlineExceeded,
		-time.Second:          context.DeadlineExceeded,
		limit + time.Hour:     errTooSlow,
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, began := t.Context(), time.Now()
			if until != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, until)
				defer cancel()
			}
			r := &Request{done: make(chan result, 1)}
			_, err := r.Wait(ctx, limit, errTooSlow)
			if !errors.Is(err, want) || !errors.Is(err, store.ErrUnavailable) || time.Since(began) > limit+time.Second {
				t.Errorf("a deadline in %v: %v after %v, want %v", until, err, time.Since(began), want)
			}
		})
	}
}

// TestTheOldestRequestIsNeverPassedOver, though there are always newer ones that
// it cannot share a transaction with.
func TestTheOldestRequestIsNeverPassedOver(t *testing.T) {
	q, n := NewQueue(), 0
	push := func() {
		for range 10 {
			n++
			q.Push(req(store.Check("keyring", 1), store.Create(fmt.Sprint(n), []byte("x"))))
		}
	}
	push()
	patient := req(store.Set("keyring", []byte("x"), 1))
	q.Push(patient)
	push()
	for _, want := range []int{20, 1} {
		batch, _ := q.Take()
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
		q := NewQueue()
		for n := range maxScan + 1 {
			r := req(store.Check("keyring", 1), store.Create(fmt.Sprint(n), []byte("x")))
			q.Push(r)
			if n < maxScan {
				r.state.Store(left)
			}
		}
		if batch, _ := q.Take(); len(batch) != 1 || len(q.requests) != 0 {
			t.Errorf("takes %d and leaves %d, want 1, 0", len(batch), len(q.requests))
		}
		r := req(store.Create("k", []byte("x")))
		r.state.Store(left)
		q.Push(r)
		taken := make(chan []*Request)
		go func() {
			batch, _ := q.Take()
			taken <- batch
		}()
		synctest.Wait() // it waits for one whose caller is there
		q.Push(req(store.Create("k", []byte("x"))))
		if batch := <-taken; len(batch) != 1 {
			t.Errorf("takes %d, want 1", len(batch))
		}
	})
}

func TestRequestsThatArePutBackAreTheNextOnes(t *testing.T) {
	q := NewQueue()
	for _, key := range []store.Key{"a", "b", "c"} {
		q.Push(req(store.Create(key, []byte("x"))))
	}
	batch, _ := q.Take()
	q.Push(req(store.Create("d", []byte("x"))))
	q.PutBack(batch[1:])
	next, _ := q.Take()
	if len(next) != 3 || next[0] != batch[1] || next[1] != batch[2] {
		t.Errorf("takes %d, or in another order", len(next))
	}
}

func TestAClosedQueueGivesBackWhatWaits(t *testing.T) {
	q := NewQueue()
	q.Push(req())
	q.Close()
	batch, ok := q.Take()
	if ok || len(batch) != 1 || q.Push(req()) {
		t.Error("a closed queue goes on")
	}
}
