package zk

import "testing"

func TestKnownForgetsRatherThanTakesOneForAnother(t *testing.T) {
	var k known
	in := func(n uint64) id { return id(n*2*places + 2) } // all in one place
	for n := range uint64(ways) {
		k.add(in(n))
	}
	k.add(in(0))
	for n := range uint64(ways) {
		if !k.has(in(n)) {
			t.Errorf("number %d of %d was forgotten", n, ways)
		}
	}
	last := in(ways)
	if k.has(last) {
		t.Error("one that was never added is known")
	}
	k.add(last)
	forgotten := 0
	for n := range uint64(ways) {
		if !k.has(in(n)) {
			forgotten++
		}
	}
	if !k.has(last) || forgotten != 1 {
		t.Errorf("the last is known: %v, and %d others were forgotten", k.has(last), forgotten)
	}
	k.remove(last)
	if k.has(last) {
		t.Error("still there after it was removed")
	}
	k.purge()
	for n := range uint64(ways) {
		if k.has(in(n)) {
			t.Error("still there after a purge")
		}
	}
}
