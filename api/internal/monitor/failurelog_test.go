package monitor

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestFailuresDoNotFillTheLog writes many in a second: a few lines are written,
// the next line counts the others, and a 500 is always written.
func TestFailuresDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, testFailuresDoNotFillTheLog)
}

func testFailuresDoNotFillTheLog(t *testing.T) {
	core, seen := observer.New(zapcore.InfoLevel)
	f := NewFailureLog(zap.New(core))
	made := 0
	failed := func() []zap.Field { made++; return []zap.Field{zap.String("cause", "away")} }
	const total = 10_000
	for range total {
		f.Write(503, nil, failed)
	}
	if n := seen.Len(); n < failuresLogged || n > total/10 || made != n {
		t.Errorf("%d lines, %d made", n, made)
	}
	f.Write(500, []byte("where"), failed)
	last := seen.All()[seen.Len()-1].ContextMap()
	if last["stack"] != "where" {
		t.Errorf("a panic is left out: %v", last)
	}
	time.Sleep(time.Second)
	f.Write(503, nil, failed)
	var leftOut int64
	for _, line := range seen.All() {
		if n, ok := line.ContextMap()["left_out"]; ok {
			leftOut += n.(int64)
		}
	}
	if lines := int64(seen.Len()); lines+leftOut != total+2 || seen.All()[lines-1].ContextMap()["cause"] != "away" {
		t.Errorf("%d lines and %d left out, of %d", lines, leftOut, total+2)
	}
}
