// Package attempts limits how often somebody may try to sign in, by account and
// by network. It is for one server, in memory, and bounded: attackers with
// more networks than it remembers are slowed down less.
package attempts

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"secretstore/iam"
)

const (
	// window is how long a failure counts.
	window = 5 * time.Minute
	// maxPairFailures of one account from one network within the window make it
	// wait, first for firstPause, then for twice as long with each failure.
	maxPairFailures = 10
	firstPause      = time.Second
	longestPause    = 5 * time.Minute
	// maxNetworkFailures of one network within the window leave it one attempt
	// each networkPause.
	maxNetworkFailures = 100
	networkPause       = time.Second
	// known is how long the limit of its network does not concern an account that
	// has signed in from there.
	known = 24 * time.Hour

	// The bounds of the tables. An entry takes at most 4 KiB.
	maxPairs    = 16 << 10
	maxNetworks = 4 << 10
)

// Limits counts attempts. Make it with New.
type Limits struct {
	mu       sync.Mutex // guards the entries, not the tables
	pairs    *otter.Cache[iam.Client, *pair]
	networks *otter.Cache[netip.Prefix, *failures]
}

// pair is what is known of a Client.
type pair struct {
	failures
	delay
	signedIn time.Time // last
}

// failures are the times of the last failures, oldest first.
type failures []time.Time

// count returns how many there were within the window before now.
func (f failures) count(now time.Time) (n int) {
	for _, at := range f {
		if now.Sub(at) < window {
			n++
		}
	}
	return n
}

// add notes a failure, and forgets the oldest beyond limit.
func (f *failures) add(now time.Time, limit int) {
	if len(*f) >= limit {
		*f = append((*f)[:0], (*f)[1:]...)
	}
	*f = append(*f, now)
}

// remove takes back a failure that was one of the last.
func (f *failures) remove(at time.Time) {
	for i, t := range *f {
		if t.Equal(at) {
			*f = append((*f)[:i], (*f)[i+1:]...)
			return
		}
	}
}

// New returns limits without any failures. Close them.
func New() (*Limits, error) {
	pairs, err := otter.New(&otter.Options[iam.Client, *pair]{MaximumSize: maxPairs, ExpiryCalculator: otter.ExpiryAccessing[iam.Client, *pair](known)})
	if err != nil {
		return nil, fmt.Errorf("make a table of sign-ins: %w", err)
	}
	networks, err := otter.New(&otter.Options[netip.Prefix, *failures]{MaximumSize: maxNetworks, ExpiryCalculator: otter.ExpiryAccessing[netip.Prefix, *failures](window)})
	if err != nil {
		return nil, fmt.Errorf("make a table of networks: %w", err)
	}
	return &Limits{pairs: pairs, networks: networks}, nil
}

// Attempt is one that was admitted.
type Attempt struct {
	limits *Limits
	client iam.Client
	at     time.Time
	before delay // of its client, which it has replaced by after
	after  delay
}

// delay is how long a client has to wait.
type delay struct {
	pause time.Duration // the last one; 0 before the first
	until time.Time     // the end of it
}

// Begin admits an attempt, or returns how long to wait before the next. The
// attempt counts as a failure until Succeeded is called: so many at once count as
// many one after the other.
func (l *Limits) Begin(c iam.Client, now time.Time) (a Attempt, wait time.Duration) {
	p, n := l.entries(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	if wait := p.until.Sub(now); wait > 0 {
		return Attempt{}, wait
	}
	if now.Sub(p.signedIn) >= known && n.count(now) >= maxNetworkFailures {
		if wait := networkPause - now.Sub((*n)[len(*n)-1]); wait > 0 {
			return Attempt{}, wait
		}
	}
	before := p.delay
	p.add(now, maxPairFailures)
	n.add(now, maxNetworkFailures)
	switch {
	case p.pause > 0 && now.Sub(p.until) < window:
		p.pause = min(2*p.pause, longestPause)
		p.until = now.Add(p.pause)
	case p.count(now) >= maxPairFailures:
		p.pause = firstPause
		p.until = now.Add(p.pause)
	default:
		p.pause = 0
	}
	return Attempt{l, c, now, before, p.delay}, 0
}

// entries returns those of a client, new ones if it has none.
func (l *Limits) entries(c iam.Client) (*pair, *failures) {
	p, ok := l.pairs.GetIfPresent(c)
	if !ok {
		p, _ = l.pairs.SetIfAbsent(c, &pair{})
	}
	n, ok := l.networks.GetIfPresent(c.Network)
	if !ok {
		n, _ = l.networks.SetIfAbsent(c.Network, &failures{})
	}
	return p, n
}

// Succeeded notes that the attempt was not a failure.
func (a Attempt) Succeeded(now time.Time) {
	p, n := a.limits.entries(a.client)
	a.limits.mu.Lock()
	defer a.limits.mu.Unlock()
	n.remove(a.at)
	*p = pair{signedIn: now}
}

// Withdraw takes the attempt back: nothing was learned from it. The client waits as
// before, unless there was another attempt meanwhile.
func (a Attempt) Withdraw() {
	p, n := a.limits.entries(a.client)
	a.limits.mu.Lock()
	defer a.limits.mu.Unlock()
	p.remove(a.at)
	n.remove(a.at)
	if p.delay == a.after {
		p.delay = a.before
	}
}

// Close ends the upkeep of the tables.
func (l *Limits) Close() {
	l.pairs.StopAllGoroutines()
	l.networks.StopAllGoroutines()
}
