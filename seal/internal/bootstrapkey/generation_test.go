package bootstrapkey

import (
	"context"
	"errors"
	"testing"

	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
)

// TestKeyThatTakesLongIsMadeOnce: callers give up before it is finished, and the
// next one gets it. One that failed is made again.
func TestKeyThatTakesLongIsMadeOnce(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}, 2), make(chan error)
	g := &generation{generate: func() (*pgp.PrivateKey, error) {
		begun <- struct{}{}
		if err := <-finish; err != nil {
			return nil, err
		}
		return sealtest.GenerateKey()
	}}
	if g.Creating() {
		t.Error("a key is made before anybody asks")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if key, err := g.key(gone); key != nil || !errors.Is(err, ErrCreating) || !g.Creating() {
			t.Errorf("%v, %v, creating %v", key, err, g.Creating())
		}
	}
	broken := errors.New("broken")
	finish <- broken
	if _, err := g.key(t.Context()); !errors.Is(err, broken) || g.Creating() {
		t.Errorf("%v, creating %v", err, g.Creating())
	}
	go func() { finish <- nil }()
	first, err := g.key(t.Context())
	second, err2 := g.key(t.Context())
	if first == nil || first != second || errors.Join(err, err2) != nil {
		t.Errorf("%p %v, %p %v", first, err, second, err2)
	}
	if n := len(begun); n != 2 {
		t.Errorf("%d keys were begun, want 2", n)
	}
	g.Forget()
	if g.current != nil {
		t.Error("the key is kept")
	}
}
