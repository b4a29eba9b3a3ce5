package attempts

import (
	"net/netip"
	"testing"
	"time"

	"secretstore/iam"
)

var epoch = time.Unix(1_700_000_000, 0)

func client(uid iam.UID, n byte) iam.Client {
	return iam.Client{UID: uid, Network: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 32)}
}

func newLimits(t *testing.T) *Limits {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestFailuresOfAnAccountMakeItWaitLongerAndLonger(t *testing.T) {
	l, now := newLimits(t), epoch
	for i := range maxPairFailures {
		if _, wait := l.Begin(client("alice", 1), now); wait != 0 {
			t.Fatalf("failure %d: wait %s", i, wait)
		}
		now = now.Add(time.Second / 4)
	}
	now = now.Add(-time.Second / 4)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		want *= time.Second
		if _, wait := l.Begin(client("alice", 1), now); wait != want {
			t.Fatalf("wait %s, not %s", wait, want)
		}
		if _, wait := l.Begin(client("alice", 1), now.Add(want-1)); wait != 1 {
			t.Fatalf("after nearly all of %s: %s", want, wait)
		}
		for _, other := range []iam.Client{client("bob", 1), client("alice", 2)} {
			a, wait := l.Begin(other, now)
			if wait != 0 {
				t.Fatalf("%v waits %s", other, wait)
			}
			a.Succeeded(now)
		}
		now = now.Add(want)
		if _, wait := l.Begin(client("alice", 1), now); wait != 0 {
			t.Fatalf("after %s: %s", want, wait)
		}
	}
	now = now.Add(longestPause + window)
	for range maxPairFailures {
		if _, wait := l.Begin(client("alice", 1), now); wait != 0 {
			t.Fatalf("long after: wait %s", wait)
		}
	}
}

func TestOldFailuresDoNotCount(t *testing.T) {
	l, now := newLimits(t), epoch
	for i := range 10 * maxPairFailures {
		if _, wait := l.Begin(client("alice", 1), now); wait != 0 {
			t.Fatalf("failure %d: wait %s", i, wait)
		}
		now = now.Add(window/(maxPairFailures-1) + 1)
	}
}

func TestASuccessForgetsFailures(t *testing.T) {
	l, now := newLimits(t), epoch
	for i := range 5 * maxPairFailures {
		a, wait := l.Begin(client("alice", 1), now)
		if wait != 0 {
			t.Fatalf("attempt %d: wait %s", i, wait)
		}
		if i%maxPairFailures == maxPairFailures-2 {
			a.Succeeded(now)
		}
	}
}

func TestANetworkWithManyFailuresHasOneAttemptASecond(t *testing.T) {
	l, now := newLimits(t), epoch
	uid := func(i int) iam.UID { return iam.UID(rune('a'+i%26)) + iam.UID(rune('a'+i/26)) }
	a, _ := l.Begin(client("known", 1), now)
	a.Succeeded(now)
	for i := range maxNetworkFailures {
		if _, wait := l.Begin(client(uid(i), 1), now); wait != 0 {
			t.Fatalf("failure %d: wait %s", i, wait)
		}
	}
	for range 3 {
		if _, wait := l.Begin(client("new", 1), now); wait != networkPause {
			t.Errorf("wait %s", wait)
		}
		if _, wait := l.Begin(client("new", 2), now); wait != 0 {
			t.Errorf("another network waits %s", wait)
		}
		if a, wait := l.Begin(client("known", 1), now); wait != 0 {
			t.Errorf("an account that has signed in waits %s", wait)
		} else {
			a.Succeeded(now)
		}
		now = now.Add(networkPause)
		if _, wait := l.Begin(client("new", 1), now); wait != 0 {
			t.Errorf("a second later: wait %s", wait)
		}
	}
	now = now.Add(window)
	for i := range maxNetworkFailures {
		if _, wait := l.Begin(client(uid(i), 1), now); wait != 0 {
			t.Fatalf("long after, failure %d: wait %s", i, wait)
		}
	}
}

func TestThousandsOfClientsTakeBoundedMemory(t *testing.T) {
	l := newLimits(t)
	for i := range 2 * maxPairs {
		l.Begin(iam.Client{UID: iam.UID(time.Duration(i).String()), Network: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}, epoch)
	}
	l.pairs.CleanUp()
	l.networks.CleanUp()
	if p, n := l.pairs.EstimatedSize(), l.networks.EstimatedSize(); p > maxPairs || n > maxNetworks {
		t.Errorf("%d pairs, %d networks", p, n)
	}
}

func TestAnAttemptThatIsWithdrawnDoesNotCount(t *testing.T) {
	l := newLimits(t)
	for range 5 * maxPairFailures {
		a, wait := l.Begin(client("alice", 1), epoch)
		if wait > 0 {
			t.Fatalf("wait %s", wait)
		}
		a.Withdraw()
	}
}

// TestAWithdrawnAttemptDoesNotProlongTheWait: a server that has no time for people makes
// them wait no longer for that.
func TestAWithdrawnAttemptDoesNotProlongTheWait(t *testing.T) {
	l, now := newLimits(t), epoch
	for range maxPairFailures - 1 {
		if _, wait := l.Begin(client("alice", 1), now); wait > 0 {
			t.Fatalf("wait %s", wait)
		}
	}
	for range 5 {
		a, wait := l.Begin(client("alice", 1), now)
		if wait > 0 {
			t.Fatalf("after attempts that were withdrawn: wait %s", wait)
		}
		a.Withdraw()
	}
	if _, wait := l.Begin(client("alice", 1), now); wait > 0 {
		t.Fatalf("the last one that is free: wait %s", wait)
	}
	if _, wait := l.Begin(client("alice", 1), now); wait != firstPause {
		t.Errorf("wait %s", wait)
	}
}
