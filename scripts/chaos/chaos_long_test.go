//go:build zookeeper && linux && long

package chaos

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// shortRun is how long TestChaos makes faults unless $CHAOSTIME says otherwise.
const shortRun = 25 * time.Second

// shortSeed is the seed without $CHAOSTIME, so that the faults are the same
// each time: kills, pauses and cuts of leaders, members and servers, and the
// loss of the quorum.
const shortSeed = 15755307542279222898

// The bound of cached reads: the session timeout, and the ensemble's sync limit
// (6 ticks of 500 ms).
const (
	maxStale = 20 * time.Second // of the servers
	stale    = 6*time.Second + 3*time.Second
)

// TestChaos lets clients work while a nemesis kills, pauses and partitions
// members and servers, and checks the history. $SEED repeats the faults of a
// run.
func TestChaos(t *testing.T) {
	length, seed := settings(t)
	t.Logf("SEED=%d CHAOSTIME=%v", seed, length)
	l := newLab(t, 3, "--max-stale", maxStale.String())
	r := newRun(l.stores, "chaos")
	end := r.begin(seed)
	(&nemesis{l: l, start: r.start, length: length}).run(t, plan(seed, length))
	healed := time.Now()
	for _, s := range l.stores {
		s.await()
	}
	t.Logf("all servers are ready %v after the last fault", time.Since(healed).Round(time.Millisecond))
	end()
	must(t, r.readAll())
	t.Logf("%d operations, slowest answer %v: %v", len(r.history), r.slowest.Round(time.Millisecond), r.counts)
	for _, problem := range r.problems[:min(20, len(r.problems))] {
		t.Errorf("SEED=%d: %s", seed, problem)
	}
	if r.counts["PUT 201"] < 50 || r.counts["GET 200"] < 100 {
		t.Errorf("too few requests succeeded")
	}
	if err := checkStrict(r.history); err != nil {
		t.Errorf("SEED=%d: not linearizable: %v", seed, err)
	}
	if err := checkCached(r.history, bounds{stale, maxStale}); err != nil {
		t.Errorf("SEED=%d: %v", seed, err)
	}
}

func settings(t *testing.T) (length time.Duration, seed uint64) {
	text := os.Getenv("CHAOSTIME")
	if text == "" {
		return shortRun, seedOf(t, true)
	}
	length, err := time.ParseDuration(text)
	must(t, err)
	return length, seedOf(t, false)
}

// seedOf returns $SEED, or else shortSeed, or any for a run that is not short.
func seedOf(t *testing.T, short bool) (seed uint64) {
	switch text := os.Getenv("SEED"); {
	case text != "":
		seed, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		return seed
	case short:
		return shortSeed
	}
	return rand.Uint64()
}
