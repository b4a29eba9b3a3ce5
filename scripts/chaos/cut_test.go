//go:build zookeeper && linux

package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// state is what there is of one thing that clients write.
type state struct {
	live bool
	// values are those since the thing was created, oldest first. They are kept when
	// it is deleted. Each write writes a different value.
	values []string
	// written is how many values there were since then; 0 for what does not count.
	written int
}

// foundIn reports whether s is what a copy has, which keeps only the last values.
func (s state) foundIn(copied state) bool {
	from := len(s.values) - len(copied.values)
	return s.live == copied.live && s.written == copied.written && from >= 0 && slices.Equal(s.values[from:], copied.values) && (len(s.values) == 0) == (len(copied.values) == 0)
}

// chain is the writes to one thing, one after the other, by its only writer. Only the
// last may have the end never. The first entry is that there was none.
type chain []entry

type entry struct {
	begin, end time.Duration // of the write
	state      state         // after it
}

// newChain is the chain of a thing that was never there.
func newChain() chain { return chain{{begin: -1, end: -1}} }

// window is the times after from and before to.
type window struct{ from, to time.Duration }

// during returns when the thing can have been in a state: after the write that made
// it began, and before the next one ended. The zero window is never.
func (l chain) during(copied state) window {
	for i, e := range l {
		if !e.state.foundIn(copied) {
			continue
		}
		if i == len(l)-1 {
			return window{e.begin, never}
		}
		return window{e.begin, l[i+1].end}
	}
	return window{}
}

// oneState checks that a copy of many things, which was made within a window, is how all
// of them were at one time in it. All windows must share that time, which is so if each
// two of them overlap.
func oneState(made window, logs map[string]chain, copied map[string]state) error {
	all, latest, earliest := made, "the copy", "the copy"
	for name, l := range logs {
		s := l.during(copied[name])
		if s == (window{}) {
			return fmt.Errorf("%s was never like this: %v\n%s", name, copied[name], l.near(all))
		}
		if s.from > all.from {
			all.from, latest = s.from, name
		}
		if s.to < all.to {
			all.to, earliest = s.to, name
		}
	}
	for name := range copied {
		if _, known := logs[name]; !known {
			return fmt.Errorf("%s was never written", name)
		}
	}
	if all.from >= all.to {
		return fmt.Errorf("not one state: made from %v to %v; %s is as it was after %v, but %s as it was before %v\n%s:\n%s\n%s:\n%s", made.from, made.to,
			latest, all.from, earliest, all.to, latest, logs[latest].near(all), earliest, logs[earliest].near(all))
	}
	return nil
}

// near formats the writes about the time of a copy.
func (l chain) near(s window) (text string) {
	for _, e := range l {
		if e.end > s.to-2*time.Second && e.begin < s.from+2*time.Second {
			text += fmt.Sprintf("  %v to %v: %v\n", e.begin, e.end, e.state)
		}
	}
	return text
}

func (s state) String() string {
	return fmt.Sprintf("live %v, %d values: %q", s.live, len(s.values), s.values[max(0, len(s.values)-3):])
}

// TestACopyThatIsNotOneStateIsFound tests the check itself.
func TestACopyThatIsNotOneStateIsFound(t *testing.T) {
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	has := func(values ...string) state { return state{true, values, 0} }
	gone := func(values ...string) state { return state{false, values, 0} }
	logs := map[string]chain{
		"a": append(newChain(), entry{at(10), at(20), has("a1")}, entry{at(50), at(60), has("a1", "a2")}, entry{at(90), at(95), gone("a1", "a2")}),
		"b": append(newChain(), entry{at(30), at(40), has("b1")}, entry{at(70), at(80), has("b1", "b2")}, entry{at(100), never, has("b1", "b2", "b3")}),
	}
	for name, c := range map[string]struct {
		from, to int
		a, b     state
		fine     bool
	}{
		"nothing":                         {5, 8, state{}, state{}, true},
		"what was written before":         {41, 45, has("a1"), has("b1"), true},
		"without what was written before": {41, 45, has("a1"), state{}, false},
		"with what was written after":     {41, 45, has("a1", "a2"), has("b1"), false},
		"during a write, without it":      {35, 38, has("a1"), state{}, true},
		"during a write, with it":         {35, 38, has("a1"), has("b1"), true},
		"a time between two writes":       {15, 85, has("a1", "a2"), has("b1"), true},
		"the later write alone":           {15, 85, has("a1"), has("b1", "b2"), false},
		"a state that never was":          {15, 85, has("a3"), has("b1"), false},
		"other values before the last":    {61, 65, has("a0", "a2"), has("b1"), false},
		"fewer values before the last":    {61, 65, has("a2"), has("b1"), true},
		"no values":                       {61, 65, has(), has("b1"), false},
		"deleted":                         {96, 99, gone("a1", "a2"), has("b1", "b2"), true},
		"deleted, and still there":        {96, 99, has("a1", "a2"), has("b1", "b2"), false},
		"perhaps written":                 {200, 300, gone("a1", "a2"), has("b1", "b2", "b3"), true},
		"perhaps not written":             {200, 300, gone("a1", "a2"), has("b1", "b2"), true},
	} {
		copied := map[string]state{"a": c.a, "b": c.b}
		if err := oneState(window{at(c.from), at(c.to)}, logs, copied); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
	if oneState(window{0, at(5)}, logs, map[string]state{"c": has("c1")}) == nil {
		t.Error("what nobody wrote was not found")
	}
}
