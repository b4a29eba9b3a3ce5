package body

import (
	"io"
	"net/http"
	"time"
)

const (
	// drainMost bounds how much of the body of a refused request is read and
	// dropped, in bytes, and drainTime how long that may take.
	drainMost = 64 << 20
	drainTime = grace
)

// Drain reads and drops the rest of the body of a request that was refused.
// Most clients write the whole body before they read the answer: without this
// they would see a broken connection and never learn the reason. (net/http
// drains 256 KiB.) It keeps nothing in memory; a client that sends more than
// drainMost sees the broken connection.
func (b *Body) Drain() {
	switch {
	case b.r.Body == nil || b.r.Body == http.NoBody || b.r.ContentLength > drainMost:
		return
	case b.broken: // the rest would not come now either
		return
	case b.r.ProtoMajor != 1: // HTTP/2 tells the client to stop
		return
	case len(b.r.Header["Expect"]) > 0: // the client asks before it sends; reading would grant it
		return
	}
	ctl := http.NewResponseController(b.w)
	if ctl.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, b.r.Body, drainMost); err == io.EOF {
		ctl.SetReadDeadline(time.Time{}) // the connection serves further requests
	}
	// Otherwise the client has gone, is too slow or sends too much. The
	// deadline stays: net/http itself reads the rest of a small body before it
	// answers.
}
