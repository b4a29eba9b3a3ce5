package local_test

import (
	"testing"

	"secretstore/store"
	"secretstore/store/internal/local"
)

// A reader that does not keep up is notified that it missed something, and all
// that comes later.
func TestASlowReaderOfChangesIsToldThatItMissedSome(t *testing.T) {
	h := local.NewHub()
	defer h.Close()
	begun, proceed := make(chan store.Changes), make(chan struct{})
	h.Subscribe(t.Context(), func(c store.Changes) {
		begun <- c
		<-proceed
	})
	h.Report(2)
	if c := <-begun; c.Missed || len(c.IDs) != 1 {
		t.Errorf("got %+v", c)
	}
	many := make([]store.ID, 1<<15)
	h.Report(many...) // does not block
	h.Report(4)
	proceed <- struct{}{}
	if c := <-begun; !c.Missed || len(c.IDs) != 1 || c.IDs[0] != 4 {
		t.Errorf("got %d changes, missed %v", len(c.IDs), c.Missed)
	}
	h.Missed()
	proceed <- struct{}{}
	if c := <-begun; !c.Missed || len(c.IDs) > 0 {
		t.Errorf("got %+v", c)
	}
	proceed <- struct{}{}
}
