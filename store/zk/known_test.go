package zk

import "testing"

func TestKnownForgetsRatherThanTakesOneForAnother(t *testing.T) {
	var k known
	a, b := id(7)<<48|2, id(7)<<48|4 // in one place
	k.add(a)
	if !k.has(a) || k.has(b) {
		t.Errorf("after one was added: %v, the other %v", k.has(a), k.has(b))
	}
	k.add(b)
	k.remove(a)
	if k.has(a) || !k.has(b) {
		t.Errorf("after the other took its place: %v, the other %v", k.has(a), k.has(b))
	}
	k.purge()
	if k.has(b) {
		t.Error("still there after a purge")
	}
}
