package zk

import "sync/atomic"

// known remembers records that are likely to exist. It may forget any of them,
// and does where two have one place: half a MiB is all that it takes, and nobody
// waits for it. The zero value is empty.
type known [1 << 16]atomic.Uint64

// place returns where i is kept.
func (k *known) place(i id) *atomic.Uint64 { return &k[uint64(i)>>48] }

func (k *known) has(i id) bool { return k.place(i).Load() == uint64(i) }

func (k *known) add(i id) { k.place(i).Store(uint64(i)) }

func (k *known) remove(i id) { k.place(i).CompareAndSwap(uint64(i), 0) }

func (k *known) purge() {
	for i := range k {
		k[i].Store(0)
	}
}
