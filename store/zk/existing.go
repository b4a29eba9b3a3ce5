package zk

import "github.com/maypok86/otter/v2"

// existing remembers records that are likely to exist, so that a write need not
// ask for each. It may forget any of them, and may be wrong: ZooKeeper then
// refuses the write, which is repaired.
type existing struct{ ids *otter.Cache[id, struct{}] }

// maxExisting bounds the ids remembered, at about 80 bytes each. It is well
// above the number of folders that are written to at the same time.
const maxExisting = 1 << 14

func newExisting() (*existing, error) {
	ids, err := otter.New(&otter.Options[id, struct{}]{MaximumSize: maxExisting})
	if err != nil {
		return nil, err
	}
	return &existing{ids}, nil
}

func (e *existing) has(i id) bool {
	_, ok := e.ids.GetIfPresent(i)
	return ok
}

func (e *existing) add(i id) {
	if !e.has(i) {
		e.ids.Set(i, struct{}{})
	}
}

func (e *existing) remove(i id) { e.ids.Invalidate(i) }

func (e *existing) purge() { e.ids.InvalidateAll() }

func (e *existing) close() {
	e.ids.InvalidateAll()
	e.ids.StopAllGoroutines()
}
