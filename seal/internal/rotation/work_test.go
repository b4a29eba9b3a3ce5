package rotation

import (
	"testing"
	"time"
)

func TestLostOwnerOfARotationIsReplaced(t *testing.T) {
	var w workState
	now := time.Now()
	stuck := progressRecord{Owner: "gone", Beat: 5}
	if w.mayWork(stuck, "me", now) || w.mayWork(stuck, "me", now.Add(lease)) {
		t.Error("taken over too early")
	}
	if !w.mayWork(stuck, "me", now.Add(lease+time.Second)) {
		t.Error("never taken over")
	}
	stuck.Beat++
	if w.mayWork(stuck, "me", now.Add(2*lease)) {
		t.Error("taken from a server that works")
	}
	if !w.mayWork(progressRecord{}, "me", now) || !w.mayWork(progressRecord{Owner: "me"}, "me", now) {
		t.Error("free work is not taken")
	}
}
