package linediff

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestMaskHidesAllLines: nothing of the values is left, however they look.
func TestMaskHidesAllLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"canary", "@@canary", `\canary`, "+canary", "-canary", "--- canary", "", "kept canary"})
		text := func(name string) []byte {
			var all []byte
			for _, l := range rapid.SliceOfN(line, 0, 6).Draw(t, name) {
				all = append(append(all, l...), '\n')
			}
			return all
		}
		old, new := text("old"), text("new")
		got := Compare("a", old, "b", new)
		if (len(got) == 0) != bytes.Equal(old, new) {
			t.Fatalf("%q and %q differ in %q", old, new, got)
		}
		if masked := Mask(got); bytes.Contains(masked, []byte("canary")) || bytes.Count(masked, []byte("\n")) != bytes.Count(got, []byte("\n")) {
			t.Fatalf("%q is masked as %q", got, masked)
		}
	})
}
