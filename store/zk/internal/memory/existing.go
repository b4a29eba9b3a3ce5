package memory

import (
	"github.com/maypok86/otter/v2"

	"secretstore/store"
)

// Existing remembers records that are likely to exist, so that a write need not
// ask for each. It may forget any of them, and may be wrong: ZooKeeper then
// refuses the write, which is repaired. Make it with NewExisting.
type Existing struct {
	ids *otter.Cache[store.ID, struct{}]
}

// MaxExisting bounds the ids remembered, at about 80 bytes each. It is well above
// the number of folders that are written to at the same time.
const MaxExisting = 1 << 14

// NewExisting returns one that remembers nothing. Close it.
func NewExisting(limit int) (*Existing, error) {
	ids, err := otter.New(&otter.Options[store.ID, struct{}]{MaximumSize: limit})
	if err != nil {
		return nil, err
	}
	return &Existing{ids}, nil
}

// Has says whether a record is remembered.
func (e *Existing) Has(i store.ID) bool {
	_, ok := e.ids.GetIfPresent(i)
	return ok
}

// Add remembers a record.
func (e *Existing) Add(i store.ID) {
	if !e.Has(i) {
		e.ids.Set(i, struct{}{})
	}
}

// Remove forgets a record.
func (e *Existing) Remove(i store.ID) { e.ids.Invalidate(i) }

// Purge forgets all records.
func (e *Existing) Purge() { e.ids.InvalidateAll() }

// Close ends the goroutines.
func (e *Existing) Close() {
	e.ids.InvalidateAll()
	e.ids.StopAllGoroutines()
}
