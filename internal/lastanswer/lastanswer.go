// Package lastanswer answers requests that hold shares of the unseal key.
package lastanswer

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

// grace is how long a client may take to read the answer.
const grace = 15 * time.Second

// Send sends an answer with the header of w, and ends the connection. net/http reads a
// request into a buffer that it keeps while the connection is open, and then uses for
// another connection. Send takes the connection from net/http, and so can clear its
// buffer. Over HTTP/2, a connection that has ended leaves only garbage.
func Send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	header := w.Header()
	conn, buffers, err := http.NewResponseController(w).Hijack()
	if err != nil {
		header.Set("Connection", "close")
		w.WriteHeader(status)
		_, _ = w.Write(body) // an error means that the client has left
		return
	}
	defer conn.Close()
	buffers.Reader.Reset(zeros{})
	_, _ = buffers.Reader.Peek(buffers.Reader.Size()) // fills the buffer
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	last := http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: header, Request: r, Close: true,
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	_ = conn.SetWriteDeadline(time.Now().Add(grace))
	_ = last.Write(conn) // an error means that the client has left
}

// zeros reads as zeros without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
