package zk

import (
	"testing"
	"time"
)

func TestClocksAreComparedByWhatIsCertain(t *testing.T) {
	base := time.UnixMilli(1_800_000_000_000)
	at := func(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }
	for _, tt := range []struct{ sent, done, other, want int }{
		{0, 10, 5, 0},
		{0, 10, 0, 0},
		{0, 10, 10, 0},
		{0, 10, 11, -1},      // it happened later than it can have
		{0, 10, -1, 0},       // within the last millisecond
		{0, 10, -31, 30},     // sent after it happened
		{0, 10, 5010, -5000}, // the other is ahead
	} {
		if got := ahead(at(tt.sent), at(tt.done), at(tt.other)); got != time.Duration(tt.want)*time.Millisecond {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
