package zk

import "sync/atomic"

// known remembers records that are likely to exist. It may forget any of them,
// and does where more than ways share a place: half a MiB is all that it takes,
// and nobody waits for it. The zero value is empty.
type known [places]place

const (
	places = 1 << 14
	// ways is how many records a place holds. With one, of a thousand folders that
	// are written to all the time a few would keep making each other forgotten.
	ways = 4
)

type place [ways]atomic.Uint64

func (k *known) place(i id) *place { return &k[uint64(i)%(2*places)/2] } // the lowest bit is always 0

func (k *known) has(i id) bool {
	for way := range k.place(i) {
		if k.place(i)[way].Load() == uint64(i) {
			return true
		}
	}
	return false
}

func (k *known) add(i id) {
	if k.has(i) {
		return
	}
	p := k.place(i)
	for way := range p {
		if p[way].CompareAndSwap(0, uint64(i)) {
			return
		}
	}
	p[uint64(i)>>62].Store(uint64(i))
}

func (k *known) remove(i id) {
	for way := range k.place(i) {
		k.place(i)[way].CompareAndSwap(uint64(i), 0)
	}
}

func (k *known) purge() {
	for i := range k {
		for way := range k[i] {
			k[i][way].Store(0)
		}
	}
}
