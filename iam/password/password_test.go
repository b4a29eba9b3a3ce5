package password

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"secretstore/iam"
)

// The vectors of the specification of SHA-crypt (Ulrich Drepper, 2007) with a salt
// and rounds that are stored as they were asked for.
func TestVectorsOfTheSpecification(t *testing.T) {
	for _, row := range []struct{ password, hash string }{
		{"Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
		{"Hello world!", "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."},
		{"a very much longer text to encrypt.  This one even stretches over morethan one line.", "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"},
	} {
		h, err := Parse(row.hash)
		if err != nil {
			t.Fatalf("%s: %v", row.hash, err)
		}
		if !h.Matches([]byte(row.password)) || h.Matches([]byte(row.password+"x")) {
			t.Errorf("%s", row.hash)
		}
	}
}

func TestAHashMatchesItsPasswordOnly(t *testing.T) {
	h := hashed([]byte("correct"), minRounds)
	again, err := Parse(h.String())
	if err != nil || again != h || !again.Matches([]byte("correct")) || again.Matches([]byte("wrong")) || again.Matches(nil) {
		t.Error(h, err)
	}
	if other := hashed([]byte("correct"), minRounds); other == h {
		t.Error("two hashes have one salt")
	}
	if (Hash{}).Matches(nil) || Decoy(minRounds).Matches(nil) || Decoy(5*MaxRounds).Rounds() != MaxRounds {
		t.Error("a zero hash or a decoy matches, or a decoy has too many rounds")
	}
	if long := strings.Repeat("x", MaxBytes+1); hashed([]byte(long), minRounds).Matches([]byte(long)) {
		t.Error("a password that is too long matches")
	}
}

func TestHashesThatAskForTooMuchAreRefused(t *testing.T) {
	key := strings.Repeat("k", keySize)
	for _, s := range []string{
		"", "x", "$5$salt$" + key, "$6$salt$" + key[1:], "$6$salt$" + key + "k", "$6$rounds=999$salt$" + key, "$6$rounds=1000001$salt$" + key,
		"$6$rounds=01000$salt$" + key, "$6$rounds=+5000$salt$" + key, "$6$rounds=$salt$" + key, "$6$rounds=5000$" + strings.Repeat("s", 17) + "$" + key,
		"$6$sa:lt$" + key, "$6$salt$" + strings.Repeat(":", keySize), "$6$salt", "$2b$10$" + key, "$6$rounds=99999999999999999999$salt$" + key,
	} {
		if h, err := Parse(s); !errors.Is(err, ErrBadHash) || h != (Hash{}) || strings.Contains(err.Error(), "salt$") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$6$rounds=5000$salt$" + strings.Repeat("k", keySize))
	f.Add("$6$$" + strings.Repeat(".", keySize))
	f.Fuzz(func(t *testing.T, s string) {
		h, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(h.String()); err != nil || again != h || h.Rounds() < minRounds || h.Rounds() > MaxRounds {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func network(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)
}

func client(uid iam.UID, n int) iam.Client { return iam.Client{UID: uid, Network: network(n)} }

// order returns the order in which one worker does the jobs of clients, all of
// which wait when it begins.
func order(t *testing.T, clients []iam.Client) (done []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkers(1, minRounds)
		defer w.Close()
		begin := make(chan struct{})
		var jobs sync.WaitGroup
		jobs.Go(func() { w.work(t.Context(), iam.Client{UID: "first"}, func() { <-begin }, func() {}) })
		synctest.Wait()
		for _, c := range clients {
			jobs.Go(func() {
				w.work(t.Context(), c, func() { done = append(done, fmt.Sprint(c.UID, "@", c.Network.Addr().As4()[3])) }, func() {})
			})
			synctest.Wait()
		}
		close(begin)
		jobs.Wait()
	})
	return done
}

func TestNetworksAndAccountsTakeTurns(t *testing.T) {
	got := order(t, []iam.Client{
		client("a", 1), client("a", 1), client("a", 1), client("b", 1), client("c", 2), client("c", 2),
	})
	if want := "[a@1 c@2 b@1 c@2 a@1 a@1]"; fmt.Sprint(got) != want {
		t.Errorf("%v, not %s", got, want)
	}
}

func TestAFullQueueRefusesThoseWhoTakeMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkers(1, minRounds)
		defer w.Close()
		begin := make(chan struct{})
		var jobs sync.WaitGroup
		jobs.Go(func() { w.work(t.Context(), iam.Client{}, func() { <-begin }, func() {}) })
		synctest.Wait()
		results := make(map[int][2]int) // by network: done, busy
		var mu sync.Mutex
		push := func(n int) {
			jobs.Go(func() {
				err := w.work(t.Context(), iam.Client{UID: "u", Network: network(n)}, func() {}, func() {})
				mu.Lock()
				defer mu.Unlock()
				r := results[n]
				if err == nil {
					r[0]++
				} else if errors.Is(err, ErrBusy) {
					r[1]++
				}
				results[n] = r
			})
			synctest.Wait()
		}
		for range maxWaiting + 10 {
			push(1)
		}
		push(2)
		push(2)
		close(begin)
		jobs.Wait()
		if results[1] != [2]int{maxWaiting - 2, 12} || results[2] != [2]int{2, 0} {
			t.Errorf("done and refused: %v", results)
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkers(1, minRounds)
		defer w.Close()
		begin := make(chan struct{})
		var jobs sync.WaitGroup
		jobs.Go(func() { w.work(t.Context(), iam.Client{}, func() { <-begin }, func() {}) })
		synctest.Wait()
		if err := w.work(t.Context(), iam.Client{}, func() { t.Error("done") }, func() {}); !errors.Is(err, ErrBusy) {
			t.Errorf("after a long wait: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		jobs.Go(func() {
			if _, err := w.Verify(ctx, iam.Client{}, Hash{}, nil, 0); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller left: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(begin)
		jobs.Wait()
		if err := w.work(ctx, iam.Client{}, func() { t.Error("done") }, func() {}); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that had left: %v", err)
		}
	})
}

func TestWorkersVerify(t *testing.T) {
	w := NewWorkers(minRounds)
	h := hashed([]byte("correct"), minRounds)
	for password, want := range map[string]bool{"correct": true, "wrong": false, "": false} {
		if got, err := w.Verify(t.Context(), iam.Client{}, h, []byte(password), 0); got != want || err != nil {
			t.Errorf("%q: %v, %v", password, got, err)
		}
	}
	w.Close()
	if got, err := w.Verify(t.Context(), iam.Client{}, h, []byte("correct"), 0); got || !errors.Is(err, ErrBusy) {
		t.Errorf("closed: %v, %v", got, err)
	}
}

func BenchmarkVerify(b *testing.B) {
	h := Decoy(Rounds)
	for b.Loop() {
		h.Matches([]byte("password"))
	}
}
