package api

import (
	"io"
	"net/http"
	"time"
)

const (
	// drainMost is how much of a body that nobody wants is read and dropped.
	drainMost = 64 << 20
	// drainTime is how long that may take.
	drainTime = bodyGrace
)

// drain reads what is left of the body of a request that was refused. Clients
// that write all of it before they read the answer, which most do, would else
// see a broken connection and never learn the reason. (net/http does so for
// 256 KiB.) It keeps nothing in memory and is bounded in bytes and time; whoever
// sends more has to live with the broken connection.
func (c *call) drain() {
	body := c.r.Body
	switch {
	case body == nil || body == http.NoBody || c.r.ContentLength > drainMost:
		return
	case c.cut: // it would not come now either
		return
	case c.r.ProtoMajor != 1: // HTTP/2 tells the client to stop
		return
	case len(c.r.Header["Expect"]) > 0: // the client asks before it sends; to read would be a yes
		return
	}
	ctl := http.NewResponseController(c.w)
	if ctl.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, body, drainMost); err == io.EOF {
		ctl.SetReadDeadline(time.Time{}) // the connection serves further requests
	}
	// Else the client has gone, was too slow or sends too much. The deadline stays:
	// net/http reads on, for a body that has little left, before it answers.
}
