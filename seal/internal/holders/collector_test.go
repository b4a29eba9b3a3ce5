package holders

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
)

const testStore = "b8d6ba4c-3a6a-4a3c-9d0a-55f3e6d4c1a2"

// held returns a key of n holders, t of whom are needed, and their shares.
func held(t *testing.T, n, threshold int) (*Holding, []string) {
	t.Helper()
	private := sealtest.Key(sealtest.Holder)
	public, err := private.Public(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, h, err := New(slices.Repeat([]*pgp.PublicKey{public}, n), threshold, testStore)
	if err != nil {
		t.Fatal(err)
	}
	key.Clear()
	var shares []string
	for _, text := range h.Keys {
		message, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		share, err := private.Unwrap(message)
		if err != nil {
			t.Fatal(err)
		}
		shares = append(shares, string(share))
	}
	return &h, shares
}

func TestSharesAreForgottenAfterAPauseAndAfterAnHour(t *testing.T) {
	h, shares := held(t, 8, 8)
	synctest.Test(t, func(t *testing.T) {
		var c ShareCollector
		enter := func(i int) {
			t.Helper()
			if key, err := c.Keep("purpose", h, testStore, []byte(shares[i])); err != nil || key != nil {
				t.Fatalf("share %d: %v", i, err)
			}
		}
		entered := func(when string, want int) {
			t.Helper()
			if n := c.Progress("purpose"); n != want {
				t.Errorf("%s: %d shares are left, want %d", when, n, want)
			}
			c.Expire()
			if n := len(c.shares); n != want {
				t.Errorf("%s: %d shares are in memory, want %d", when, n, want)
			}
		}
		enter(0)
		time.Sleep(SharePause)
		entered("after a pause", 1)
		enter(0) // not a new one: it does not make the others wait longer
		first := c.shares[1]
		time.Sleep(time.Second)
		entered("after a longer pause", 0)
		if !slices.Equal(first.Text(), []byte("01"+strings.Repeat("00", 32))) {
			t.Error("the share is still in memory")
		}
		for i := range 5 {
			enter(i)
			time.Sleep(12 * time.Minute)
		}
		entered("after an hour", 5)
		time.Sleep(time.Second)
		entered("after more than an hour", 0)
	})
}

func TestSharesAreEnteredForOnePurpose(t *testing.T) {
	h, shares := held(t, 3, 2)
	var c ShareCollector
	defer c.Reset()
	for i, step := range []struct {
		purpose string
		share   int
		entered []int
		done    bool
	}{
		{"a", 2, []int{2}, false},
		{"a", 2, []int{2}, false},
		{"b", 0, []int{0}, false}, // the share for a is gone
		{"a", 2, []int{2}, false},
		{"a", 0, []int{0, 2}, true},
		{"a", 0, []int{0, 2}, true}, // until Reset
	} {
		key, err := c.Keep(step.purpose, h, testStore, []byte(shares[step.share]))
		if err != nil || (key != nil) != step.done || !slices.Equal(c.Entered(step.purpose), step.entered) {
			t.Errorf("step %d: %v, %v entered, %v", i, key, c.Entered(step.purpose), err)
		}
	}
	if all := c.Entered("b"); len(all) != 0 {
		t.Errorf("%v entered for another purpose", all)
	}
	other, _ := held(t, 3, 2)
	if _, err := c.Keep("a", other, testStore, []byte(shares[1])); !errors.Is(err, ErrWrongKey) {
		t.Errorf("a share of another key: %v", err)
	}
}
