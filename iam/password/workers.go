package password

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"secretstore/iam"
)

const (
	maxWaiting = 64
	// maxWait is how long one waits for a worker.
	maxWait = 20 * time.Second
)

// ErrBusy means that too many wait for a verification, or one has waited too long.
var ErrBusy = errors.New("too many sign-ins at once: try again later")

// Workers verify and hash passwords: one worker for each two processors, so that
// at least half of them is left to other requests. Clients take turns by network,
// and those of one network by uid, so that neither a network nor an account holds
// up others. Make it with NewWorkers, and close it.
type Workers struct {
	rounds  int // of new hashes
	mu      sync.Mutex
	waiting []*job // in the order of arrival; guarded by mu
	turns   turns  // guarded by mu
	closed  bool   // guarded by mu
	wake    *sync.Cond
	running sync.WaitGroup
}

// job is one piece of work. Its context ends it while it waits.
type job struct {
	client iam.Client
	do     func()
	done   chan error // gets one result
}

// turns says when clients had a worker last, as the number of a job.
type turns struct {
	next     uint64
	networks map[netip.Prefix]uint64
	clients  map[iam.Client]uint64
}

// NewWorkers starts the workers. The hashes that they make have so many rounds.
func NewWorkers(rounds int) *Workers { return newWorkers(max(1, runtime.GOMAXPROCS(0)/2), rounds) }

func newWorkers(n, rounds int) *Workers {
	w := &Workers{rounds: rounds, turns: turns{networks: make(map[netip.Prefix]uint64), clients: make(map[iam.Client]uint64)}}
	w.wake = sync.NewCond(&w.mu)
	for range n {
		w.running.Go(w.run)
	}
	return w
}

// Close waits for the work under way, and refuses what waits with ErrBusy.
func (w *Workers) Close() {
	w.mu.Lock()
	w.closed = true
	for _, j := range w.waiting {
		j.done <- ErrBusy
	}
	w.waiting = nil
	w.wake.Broadcast()
	w.mu.Unlock()
	w.running.Wait()
}

// Waiting returns how many wait for a worker.
func (w *Workers) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting)
}

// Verify reports whether h is the hash of password. If not, it does as much work as
// a verification of so many rounds. ErrBusy, or the error of ctx.
// password must not change before Verify returns, and may be used afterwards only
// for reading if the error is that of ctx.
func (w *Workers) Verify(ctx context.Context, c iam.Client, h Hash, password []byte, rounds int) (matches bool, err error) {
	own := slices.Clone(password) // the caller may leave, and clear it
	err = w.work(ctx, c, func() { matches = h.matchesAtCost(own, rounds) }, func() { clear(own) })
	return matches && err == nil, err
}

// Hash hashes a password with a new salt. ErrBusy, or the error of ctx.
func (w *Workers) Hash(ctx context.Context, c iam.Client, password []byte) (h Hash, err error) {
	own := slices.Clone(password)
	err = w.work(ctx, c, func() { h = hashed(own, w.rounds) }, func() { clear(own) })
	if err != nil {
		return Hash{}, err
	}
	return h, nil
}

// work has a worker do something, and waits for it. Work that has begun is waited
// for, so that do may write to the caller's variables. after is called once it is
// done or will not be.
func (w *Workers) work(ctx context.Context, c iam.Client, do, after func()) error {
	defer after()
	j := &job{client: c, do: do, done: make(chan error, 1)}
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, ErrBusy)
	defer cancel()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !w.enqueue(j) {
		return ErrBusy
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
	}
	if w.leave(j) {
		return context.Cause(ctx)
	}
	return <-j.done
}

// enqueue adds a job. If there is no room, the network with the most jobs loses
// its last one, so that one client cannot take all places.
func (w *Workers) enqueue(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	if len(w.waiting) >= maxWaiting && !w.makeRoom(j) {
		return false
	}
	w.waiting = append(w.waiting, j)
	w.wake.Signal()
	return true
}

// makeRoom refuses a job of the network with the most, if j's network would have
// fewer. The caller holds mu.
func (w *Workers) makeRoom(j *job) bool {
	count := make(map[netip.Prefix]int)
	for _, other := range w.waiting {
		count[other.client.Network]++
	}
	last := -1
	for i, other := range w.waiting {
		if last < 0 || count[other.client.Network] >= count[w.waiting[last].client.Network] {
			last = i
		}
	}
	if count[w.waiting[last].client.Network] <= count[j.client.Network]+1 {
		return false
	}
	w.waiting[last].done <- ErrBusy
	w.waiting = slices.Delete(w.waiting, last, last+1)
	return true
}

// leave takes a job back. It is not ok once a worker has it, or it was answered.
func (w *Workers) leave(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := slices.Index(w.waiting, j)
	if at < 0 {
		return false
	}
	w.waiting = slices.Delete(w.waiting, at, at+1)
	return true
}

func (w *Workers) run() {
	for {
		j := w.take()
		if j == nil {
			return
		}
		j.do()
		j.done <- nil
	}
}

// take waits for the job whose turn it is. It returns nil once closed.
func (w *Workers) take() *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) == 0 {
		if w.closed {
			return nil
		}
		w.turns.forget() // all are equal again
		w.wake.Wait()
	}
	at := 0
	for i, j := range w.waiting {
		if w.turns.before(j.client, w.waiting[at].client) {
			at = i
		}
	}
	j := w.waiting[at]
	w.waiting = slices.Delete(w.waiting, at, at+1)
	w.turns.took(j.client)
	return j
}

// before reports whether it is a's turn before b's.
func (t *turns) before(a, b iam.Client) bool {
	if x, y := t.networks[a.Network], t.networks[b.Network]; x != y {
		return x < y
	}
	return t.clients[a] < t.clients[b]
}

// maxTurns bounds what is remembered of clients.
const maxTurns = 4096

func (t *turns) took(c iam.Client) {
	if len(t.clients) >= maxTurns {
		t.forget()
	}
	t.next++
	t.networks[c.Network], t.clients[c] = t.next, t.next
}

func (t *turns) forget() {
	clear(t.networks)
	clear(t.clients)
}
