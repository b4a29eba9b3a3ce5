package zk

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/store"
)

// TestWritesAreHeldBackForAShareOfTheTimeAtMost asks for pauses without end.
func TestWritesAreHeldBackForAShareOfTheTimeAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idle(t)
		var held, longest time.Duration
		const step = 10 * time.Millisecond
		for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(step) {
			b.pause.begin(time.Now())
			before := time.Now()
			b.pause.await()
			longest = max(longest, time.Since(before))
			held += time.Since(before)
		}
		if longest != maxWritePause || held > 10*time.Minute/20 {
			t.Errorf("held back for %v, at most %v at a time", held, longest)
		}
	})
}

func TestAPauseEndsWithItsZnodeAndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, end := range map[string]func(b *Backend){
			"znode":  func(b *Backend) { b.pause.resume() },
			"server": func(b *Backend) { close(b.life.closing) },
		} {
			b := idle(t)
			b.pause.resume() // there is none
			if !b.pause.begin(time.Now()) {
				t.Fatalf("%s: no pause", name)
			}
			time.AfterFunc(time.Millisecond, func() { end(b) })
			began := time.Now()
			if b.pause.await(); time.Since(began) != time.Millisecond {
				t.Errorf("%s: held back for %v", name, time.Since(began))
			}
			if b.pause.begin(time.Now()) {
				t.Errorf("%s: another pause at once", name)
			}
			if rest := b.pause.rest(); rest <= writePauseEvery-time.Millisecond {
				t.Errorf("%s: rest of %v", name, rest)
			}
			time.Sleep(maxWritePause)
		}
	})
}

// TestAHeldWriteHonorsItsContext: what its caller hears is that nothing was written.
func TestAHeldWriteHonorsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idle(t)
		b.writing.Go(b.write.run)
		b.pause.begin(time.Now())
		r := newRequest(t, b, store.Create("k", []byte("x")))
		b.write.queue.Push(r)
		ctx, cancel := context.WithTimeout(t.Context(), maxWritePause/2)
		defer cancel()
		began := time.Now()
		_, err := r.Wait(ctx, maxCall, errTooSlow)
		if took := time.Since(began); took != maxWritePause/2 || !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("after %v: %v", took, err)
		}
		b.write.queue.Close()
		b.writing.Wait()
	})
}
