package answer

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

// SendLast sends the answer to a request whose body holds shares of the unseal
// key, and ends the connection. net/http reads a request into a buffer that it
// keeps while the connection is open, and then uses for another connection.
// SendLast takes the connection from net/http, and so can clear its buffer.
// Over HTTP/2, a connection that has ended leaves only garbage.
func SendLast(w http.ResponseWriter, r *http.Request, id string, rep *Reply) {
	conn, buffers, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.Header().Set("Connection", "close")
		Send(w, r, id, false, rep)
		return
	}
	defer conn.Close()
	buffers.Reader.Reset(zeros{})
	_, _ = buffers.Reader.Peek(buffers.Reader.Size()) // fills the buffer
	header := w.Header()
	setHeader(header, id, rep)
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	last := http.Response{
		StatusCode: rep.Status, ProtoMajor: 1, ProtoMinor: 1, Header: header, Request: r, Close: true,
		ContentLength: int64(len(rep.Body)), Body: io.NopCloser(bytes.NewReader(rep.Body)),
	}
	_ = conn.SetWriteDeadline(time.Now().Add(writeGrace))
	_ = last.Write(conn) // an error means that the client has left
}

// zeros reads as zeros without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
