package answer

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// reader is a client that reads at a rate, in bytes a second, after a time in which
// it reads nothing.
type reader struct {
	http.ResponseWriter
	rate     int
	pause    time.Duration
	deadline time.Time
	read     int
}

func (r *reader) SetWriteDeadline(at time.Time) error { r.deadline = at; return nil }

func (r *reader) FlushError() error { return nil }

func (r *reader) Write(p []byte) (int, error) {
	takes := r.pause + time.Duration(len(p))*time.Second/time.Duration(r.rate)
	r.pause = 0
	if left := time.Until(r.deadline); takes > left {
		time.Sleep(max(0, left))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(takes)
	r.read += len(p)
	return len(p), nil
}

// TestAnAnswerInPiecesIsReadAtAMinimumRate sends 64 MiB in pieces of 64 KiB, each of
// which takes the server half a second.
func TestAnAnswerInPiecesIsReadAtAMinimumRate(t *testing.T) {
	const pieces, size = 1024, 64 << 10
	for name, c := range map[string]struct {
		rate  int
		pause time.Duration
		most  time.Duration // how long it takes; 0: all of it is sent
	}{
		"fast":                      {rate: 100 << 20},
		"as slow as it may be":      {rate: writeMinRate},
		"a pause at the beginning":  {rate: 1 << 20, pause: writeGrace},
		"somewhat too slow":         {rate: writeMinRate * 9 / 10, most: 4 * time.Minute},
		"too slow":                  {rate: 4 << 10, most: writeGrace + 6*time.Second},
		"fast after a pause":        {rate: 100 << 20, pause: writeGrace + 3*time.Second, most: writeGrace + 6*time.Second},
		"does not read":             {rate: 1, most: writeGrace + 6*time.Second},
		"slow after a fast quarter": {rate: 0, most: 40 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, sent := time.Now(), false
				client := &reader{ResponseWriter: httptest.NewRecorder(), rate: c.rate, pause: c.pause}
				if c.rate == 0 {
					client.rate = 100 << 20
				}
				n := 1
				rep := &Reply{Status: http.StatusOK, Body: make([]byte, size), Sent: func() { sent = true }, More: func() ([]byte, error) {
					if !client.deadline.IsZero() {
						t.Error("the client has to wait for the next piece, and may be too slow for it")
					}
					time.Sleep(500 * time.Millisecond)
					if n++; n > pieces {
						return nil, nil
					}
					if c.rate == 0 && n == pieces/4 {
						client.rate = 4 << 10
					}
					return make([]byte, size), nil
				}}
				Send(client, httptest.NewRequest("GET", "/", nil), "id", false, rep)
				took := time.Since(began)
				whole := client.read == pieces*size
				if whole != (c.most == 0) || whole != sent || whole == rep.Broken || whole == rep.Slow {
					t.Errorf("after %v: %d bytes, sent: %v, broken: %v, slow: %v", took, client.read, sent, rep.Broken, rep.Slow)
				}
				if c.most > 0 && took > c.most {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}
