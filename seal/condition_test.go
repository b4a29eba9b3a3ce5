package seal

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// TestExactlyOneConditionalWriteWins has writers on two servers replace or delete
// a value on the condition that it is the one they have all read.
func TestExactlyOneConditionalWriteWins(t *testing.T) {
	a, b, key := unsealed(t)
	other := open(t, b, false)
	ctx := t.Context()
	if _, err := other.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	for round := range 8 {
		p := path(t, fmt.Sprint("a", round))
		read, err := a.Create(ctx, p, text("v"))
		if err != nil {
			t.Fatal(err)
		}
		unchanged := func(id string) bool { return id == read.ID }
		var won atomic.Int64
		var writers sync.WaitGroup
		for i := range 6 {
			s := []*Store{a, other}[i%2]
			writers.Go(func() {
				var err error
				if i < 4 {
					c := text(fmt.Sprint(i))
					c.If = unchanged
					_, err = s.Update(ctx, p, c)
				} else {
					err = s.Delete(ctx, p, unchanged)
				}
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, ErrChanged) && !errors.Is(err, ErrNotFound):
					t.Error(err)
				}
			})
		}
		writers.Wait()
		if won.Load() != 1 {
			t.Errorf("round %d: %d writers won", round, won.Load())
		}
	}
}

func TestRefusedConditionWritesNothing(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx, p := t.Context(), path(t, "a")
	written, err := s.Create(ctx, p, text("v"))
	if err != nil {
		t.Fatal(err)
	}
	large := Change{Kind: Binary, Value: make([]byte, 3*pieceSize), If: func(now string) bool {
		if now != written.ID {
			t.Errorf("asked about %s, not %s", now, written.ID)
		}
		return false
	}}
	wantErr(t, "Update", errOf(s.Update(ctx, p, large)), ErrChanged)
	wantErr(t, "Delete", s.Delete(ctx, p, large.If), ErrChanged)
	s.cleanup.Wait()
	if n := children(t, b, barrier.KeyBlobs); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
	if got, err := s.Get(ctx, p, store.Latest); err != nil || got.ID != written.ID || got.Version != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}
