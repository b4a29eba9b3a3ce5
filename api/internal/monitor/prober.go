package monitor

import (
	"context"
	"sync"
	"time"
)

const (
	// probeFresh is how long an answer of the storage is remembered: anybody
	// may ask, without a token, so asking must not load the storage.
	probeFresh   = 500 * time.Millisecond
	probeTimeout = 2 * time.Second
)

// Prober asks the storage whether it answers, once for all that want to know.
type Prober struct {
	ping func(context.Context) error

	mu     sync.Mutex
	at     time.Time     // guarded by mu: when the last answer came
	ok     bool          // guarded by mu: what it was
	flight chan struct{} // guarded by mu: closed when the probe under way has ended; nil without one
}

// NewProber returns a prober that calls ping.
func NewProber(ping func(context.Context) error) *Prober { return &Prober{ping: ping} }

// Up reports whether the storage answers. It waits at most probeTimeout.
func (p *Prober) Up() bool {
	p.mu.Lock()
	for {
		if time.Since(p.at) < probeFresh {
			defer p.mu.Unlock()
			return p.ok
		}
		if p.flight == nil {
			break
		}
		flight := p.flight
		p.mu.Unlock()
		<-flight
		p.mu.Lock()
	}
	flight := make(chan struct{})
	p.flight = flight
	p.mu.Unlock()

	ok := false
	defer func() {
		p.mu.Lock()
		p.at, p.ok, p.flight = time.Now(), ok, nil
		p.mu.Unlock()
		close(flight)
	}()
	// Not the context of a request: others wait for this answer too.
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	ok = p.ping(ctx) == nil
	return ok
}
