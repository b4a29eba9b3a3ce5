package audit

import (
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestStandardOutputThatNobodyReadsFailsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe() // a Write waits for a reader
		strangers, err := newStrangers()
		if err != nil {
			t.Fatal(err)
		}
		l := &Log{stdout: &impatient{to: w}, strangers: strangers}
		began := time.Now()
		if err := l.Append(&Entry{}); !errors.Is(err, errUnread) {
			t.Errorf("the first line: %v", err)
		}
		if took := time.Since(began); took != maxUnread {
			t.Errorf("it took %v", took)
		}
		if err := l.Append(&Entry{}); !errors.Is(err, errUnread) || time.Since(began) != maxUnread {
			t.Errorf("the next line: %v, after %v", err, time.Since(began))
		}
		if err := l.Probe(); err == nil {
			t.Error("an operation would be permitted that cannot be audited")
		}
		var read sync.WaitGroup
		read.Go(func() { io.Copy(io.Discard, r) })
		synctest.Wait()
		if err := l.Probe(); err != nil {
			t.Errorf("once somebody reads: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		w.Close()
		read.Wait()
	})
}
