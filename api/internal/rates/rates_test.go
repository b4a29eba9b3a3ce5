package rates

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestEachKeyHasItsOwnRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := New[string](10, 20)
		if err != nil {
			t.Fatal(err)
		}
		allowed := func(key string) (n int) {
			for range 100 {
				if l.Allow(key) {
					n++
				}
			}
			return n
		}
		if a, b := allowed("a"), allowed("b"); a != 20 || b != 20 {
			t.Errorf("at once: %d and %d, want 20 each", a, b)
		}
		time.Sleep(time.Second)
		if a := allowed("a"); a != 10 {
			t.Errorf("a second later: %d, want 10", a)
		}
	})
}

// TestTheTableOfKeysIsBounded, whatever the number of clients.
func TestTheTableOfKeysIsBounded(t *testing.T) {
	l, err := New[int](1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for key := range 3 * maxKeys {
		l.Allow(key)
	}
	l.keys.CleanUp()
	if n := l.keys.EstimatedSize(); n > maxKeys {
		t.Errorf("%d keys are remembered", n)
	}
}
