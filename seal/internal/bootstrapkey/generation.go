package bootstrapkey

import (
	"context"
	"errors"
	"sync"

	"secretstore/seal/pgp"
)

// ErrCreating means that the key of a new store is not finished.
var ErrCreating = errors.New("the bootstrap key is still being created, which takes minutes on a slow machine")

// generation makes one key pair, and keeps it until it is forgotten. A caller who
// gives up does not stop it: on a slow machine, a key that was begun again each
// time would never be finished.
type generation struct {
	generate Generator

	mu      sync.Mutex
	current *pair // nil if none was begun; guarded by mu
}

// pair is a key pair in the making. The key and the error are set before done is
// closed.
type pair struct {
	done    chan struct{}
	private *pgp.PrivateKey
	err     error
}

// key returns the key pair, which it begins to make if none was begun.
// ErrCreating if ctx ends before it is finished.
func (g *generation) key(ctx context.Context) (*pgp.PrivateKey, error) {
	p := g.begin()
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, ErrCreating
	}
	if p.err != nil {
		g.Forget() // the next call tries again
	}
	return p.private, p.err
}

func (g *generation) begin() *pair {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current != nil {
		return g.current
	}
	p := &pair{done: make(chan struct{})}
	g.current = p
	// Nobody waits for it when the server ends: making an RSA key cannot be
	// interrupted, and it touches nothing but p.
	go func() {
		defer close(p.done)
		p.private, p.err = g.generate()
	}()
	return p
}

// Creating reports whether a key pair is being made.
func (g *generation) Creating() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current == nil {
		return false
	}
	select {
	case <-g.current.done:
		return false
	default:
		return true
	}
}

// Forget drops the key pair.
func (g *generation) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.current = nil
}
