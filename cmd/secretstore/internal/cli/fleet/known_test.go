package fleet

import (
	"fmt"
	"testing"
)

// FuzzKnownStores: what is read and written again says the same.
func FuzzKnownStores(f *testing.F) {
	f.Add([]byte("https://a default 0-1\n# note\n\nhttp://b x y\n"))
	f.Add([]byte("a b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := parseKnown(data)
		if err != nil {
			return
		}
		again, err := parseKnown((&knownStores{byPlace: first}).text())
		if err != nil || fmt.Sprint(first) != fmt.Sprint(again) {
			t.Errorf("%v becomes %v, %v", first, again, err)
		}
	})
}
