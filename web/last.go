package web

import (
	"net/http"

	"secretstore/internal/lastanswer"
)

// lastAnswer keeps the answer to a form with a share, and sends it as the last one of
// the connection.
type lastAnswer struct {
	recorder
	to http.ResponseWriter
}

// newLastAnswer returns one that is an error until there is another.
func newLastAnswer(to http.ResponseWriter) *lastAnswer {
	return &lastAnswer{recorder{header: to.Header(), status: http.StatusInternalServerError}, to}
}

// Unwrap is for http.ResponseController: the form has deadlines.
func (l *lastAnswer) Unwrap() http.ResponseWriter { return l.to }

// send first reads the rest of a form that was refused, as net/http does: otherwise the
// client may not see the answer.
func (l *lastAnswer) send(r *http.Request) {
	if r.ProtoMajor == 1 && r.Header.Get("Expect") == "" {
		var part [4 << 10]byte
		for left := maxSmallForm; left > 0; {
			n, err := r.Body.Read(part[:])
			clear(part[:n])
			if err != nil {
				break
			}
			left -= n
		}
	}
	lastanswer.Send(l.to, r, l.status, l.body.Bytes())
}
