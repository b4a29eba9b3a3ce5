package seal

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/identities"
	"secretstore/store"
	"secretstore/store/memory"
)

// iamThief can write to the storage, and has kept everything that was ever in it.
type iamThief struct {
	t       *testing.T
	b       *memory.Backend
	rand    *rand.Rand
	history map[store.Key][][]byte      // every value that a record of the identities had
	left    map[store.Key]store.Version // of the records that the last attack changed; 0: the record did not exist
}

// version returns that of a record, 0 if there is none.
func (a *iamThief) version(key store.Key) store.Version {
	node, err := a.b.Get(a.t.Context(), key, store.Latest)
	if err != nil {
		return 0
	}
	return node.Version
}

// now returns the records of the identities, and remembers them.
func (a *iamThief) now() map[store.Key][]byte {
	out := make(map[store.Key][]byte)
	for key, node := range dump(a.t, a.b) {
		if key != barrier.KeyIAM && !strings.HasPrefix(key, barrier.KeyIAM+"/") {
			continue
		}
		out[key] = node.Data
		known := func(data []byte) bool { return bytes.Equal(data, node.Data) }
		if !slices.ContainsFunc(a.history[key], known) {
			a.history[key] = append(a.history[key], node.Data)
		}
	}
	return out
}

// any returns a random key.
func (a *iamThief) any(of map[store.Key][]byte) store.Key {
	keys := slices.Sorted(maps.Keys(of))
	return keys[a.rand.IntN(len(keys))]
}

// attack changes one or two records, and returns them as they were and as they are
// now; no data is no record.
func (a *iamThief) attack(now map[store.Key][]byte) (name string, before, after map[store.Key][]byte) {
	key := a.any(now)
	switch a.rand.IntN(4) {
	case 0:
		other := a.any(now)
		name, after = "swap", map[store.Key][]byte{key: now[other], other: now[key]}
	case 1:
		all := make(map[store.Key][]byte)
		for key := range a.history {
			all[key] = nil
		}
		key = a.any(all) // also of a record that was removed
		old := a.history[key]
		name, after = "replay", map[store.Key][]byte{key: old[a.rand.IntN(len(old))]}
	case 2:
		name, after = "copy", map[store.Key][]byte{key: now[a.any(now)]}
	case 3:
		if strings.Count(key, "/") < 4 { // a storage does not remove what has records below it
			name, after = "spoil", map[store.Key][]byte{key: []byte("junk")}
			break
		}
		name, after = "delete", map[store.Key][]byte{key: nil}
	}
	before = make(map[store.Key][]byte)
	for key, data := range after {
		before[key] = now[key]
		if bytes.Equal(before[key], data) {
			delete(after, key)
			delete(before, key)
		}
	}
	a.write(after)
	a.left = make(map[store.Key]store.Version)
	for key := range after {
		a.left[key] = a.version(key)
	}
	return name + " " + fmt.Sprint(slices.Sorted(maps.Keys(after))), before, after
}

func (a *iamThief) write(all map[store.Key][]byte) {
	a.t.Helper()
	var ops []store.Op
	for key, data := range all {
		node, err := a.b.Get(a.t.Context(), key, store.Latest)
		switch {
		case err != nil && data != nil:
			ops = append(ops, store.Create(key, data))
		case err == nil && data != nil:
			ops = append(ops, store.Set(key, data, node.Version))
		case err == nil:
			ops = append(ops, store.Delete(key, node.Version))
		}
	}
	if _, err := a.b.Apply(a.t.Context(), ops...); err != nil && len(ops) > 0 {
		a.t.Fatal(err)
	}
}

// undo restores what is still as the attack has left it: what was written since may
// have the same content, such as the index of an empty bucket. Records that are not wanted
// were removed meanwhile.
func (a *iamThief) undo(before, after map[store.Key][]byte, wanted func(store.Key) bool) {
	a.t.Helper()
	for key := range after {
		if strings.Count(key, "/") == 4 && !wanted(key) {
			before[key] = nil
		}
		if a.version(key) == a.left[key] {
			a.write(map[store.Key][]byte{key: before[key]})
		}
	}
}

// loadAfresh returns what a server would know that is unsealed now.
func loadAfresh(t *testing.T, s *Store, b store.Backend) *directory {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	fresh := identities.New(b, s.barrier, zap.NewNop())
	d := &directory{}
	fresh.Follow(d)
	done := make(chan struct{})
	go func() { defer close(done); identities.Run(ctx, fresh) }()
	d.await(t, func(d *directory) bool { return d.records != nil })
	_, records, damaged := d.known()
	cancel()
	<-done
	return &directory{records: records, damaged: damaged}
}

// TestNobodyGainsARightByMovingOrReplayingIdentities makes random attacks on single
// records. A server that is running keeps all records as they were written last. One
// that is unsealed has each as it was written last, or not at all.
func TestNobodyGainsARightByMovingOrReplayingIdentities(t *testing.T) { attackIdentities(t, 150) }

func attackIdentities(t *testing.T, attacks int) {
	b := memory.New()
	s, _ := unsealedOn(t, b)
	d := following(t, s)
	a := &iamThief{t: t, b: b, rand: rand.New(rand.NewPCG(1, 2)), history: make(map[store.Key][][]byte)}
	truth, wanted := make(map[string]string), make(map[store.Key]bool)
	write := func(round int) {
		name := fmt.Sprintf("user/%d", a.rand.IntN(12))
		if _, there := truth[name]; there && a.rand.IntN(4) == 0 {
			delete(truth, name)
			delete(wanted, iamKey(t, s, name))
			d.change(t, s, name)
		} else {
			wanted[iamKey(t, s, name)] = true
			truth[name] = fmt.Sprintf("as of round %d", round)
			d.change(t, s, name+"="+truth[name])
		}
	}
	for range 40 {
		write(-1)
		a.now()
	}
	for round := range attacks {
		name, before, after := a.attack(a.now())
		if len(after) > 0 {
			d.await(t, func(d *directory) bool { return d.damaged > 0 })
		}
		fresh := loadAfresh(t, s, b.Attach())
		for name, data := range fresh.records {
			if truth[name] != data {
				t.Fatalf("round %d, %s: after an unseal %s is %q, not %q", round, name, name, data, truth[name])
			}
		}
		if round%10 == 0 { // during the attack
			write(round)
		}
		if _, known, _ := d.known(); !maps.Equal(known, truth) {
			t.Fatalf("round %d, %s: the running server has %v, not %v", round, name, known, truth)
		}
		a.undo(before, after, func(key store.Key) bool { return wanted[key] })
		d.await(t, func(d *directory) bool { return d.damaged == 0 })
		if round%10 == 5 {
			write(round)
		}
	}
	fresh := loadAfresh(t, s, b.Attach())
	fresh.wants(t, truth, 0)
}
