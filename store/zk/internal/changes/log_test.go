package changes

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"secretstore/store"
)

// TestALogHasNoGaps adds what a server publishes, some of it not, and reads and forgets
// parts: what Between returns is what was published there.
func TestALogHasNoGaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Log
		var all []store.ID
		read := uint64(0)
		known := uint64(0) // what was added without a gap begins here
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			end := uint64(len(all))
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0: // missed by the log
				all = append(all, store.ID(2*end))
				known = end + 1
			case 1:
				read = rapid.Uint64Range(read, end).Draw(t, "read")
				l.Forget(map[string]uint64{"a": read})
			case 2:
				l.Add("b", 7, []store.ID{1})
			default:
				var ids []store.ID
				for range rapid.IntRange(0, 3).Draw(t, "ids") {
					ids = append(ids, store.ID(2*(end+uint64(len(ids)))))
				}
				l.Add("a", end, ids)
				all = append(all, ids...)
			}
			end = uint64(len(all))
			after := rapid.Uint64Range(0, end+1).Draw(t, "after")
			until := rapid.Uint64Range(0, end+1).Draw(t, "until")
			ids, ok := l.Between("a", after, until)
			if ok && (until < after || until > end || !slices.Equal(ids, all[after:until])) {
				t.Fatalf("%v between %d and %d of %d", ids, after, until, end)
			}
			if _, added := l.runs["a"]; added && known < end && !ok && after >= max(known, read) && until >= after && until <= end {
				t.Fatalf("unknown between %d and %d, though the log begins at %d", after, until, max(known, read))
			}
		}
		l.Forget(nil)
		if len(l.runs) > 0 {
			t.Fatal("servers that are gone are remembered")
		}
	})
}
