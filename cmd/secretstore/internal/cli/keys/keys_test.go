package keys

import (
	"testing"
)

func TestThresholdIsMoreThanHalf(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 32: 17} {
		if got := majority(n); got != want {
			t.Errorf("%d holders: %d, want %d", n, got, want)
		}
	}
}
