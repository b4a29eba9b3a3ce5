package openapitest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// Listener keeps a copy of all that is received and sent on its connections, so
// that a test sees every exchange, of whatever client, as it was on the wire. It
// changes nothing for the server.
type Listener struct {
	net.Listener

	mu    sync.Mutex
	conns []*conn // guarded by mu
}

// Listen returns a Listener over another one.
func Listen(l net.Listener) *Listener { return &Listener{Listener: l} }

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	copying := &conn{Conn: c}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, copying)
	return copying, nil
}

// Check returns what is not as described, of all exchanges so far. Call it when
// the server has stopped.
func (l *Listener) Check(d *Description) (problems []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		problems = append(problems, c.check(d)...)
	}
	return problems
}

// conn is a connection of the server, with a copy of both directions.
type conn struct {
	net.Conn
	received, sent record
}

// record is guarded by its mutex.
type record struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (r *record) add(p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data.Write(p)
}

func (r *record) reader() *bufio.Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bufio.NewReader(bytes.NewReader(r.data.Bytes()))
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.add(p[:n])
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.add(p[:n])
	return n, err
}

// CloseWrite is for net/http, which uses it where a connection has it.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// check checks the exchanges of a connection, up to the first request that is not
// HTTP or was not answered.
func (c *conn) check(d *Description) (problems []error) {
	requests, answers := c.received.reader(), c.sent.reader()
	for {
		r, err := http.ReadRequest(requests)
		if err != nil {
			return problems
		}
		sent, cut := io.ReadAll(r.Body)
		answer, err := readAnswer(answers, r)
		if err != nil {
			return problems
		}
		body, err := io.ReadAll(answer.Body)
		if !ofHTTPAlone(answer) {
			x := exchange{request: r, sent: sent, status: answer.StatusCode, header: answer.Header, body: body, partial: err != nil}
			if err := d.check(x); err != nil {
				problems = append(problems, fmt.Errorf("%s %s: %w", r.Method, r.RequestURI, err))
			}
		}
		if err := errors.Join(err, cut); err != nil {
			return problems
		}
	}
}

// readAnswer reads past those that are only interim.
func readAnswer(answers *bufio.Reader, r *http.Request) (*http.Response, error) {
	for {
		answer, err := http.ReadResponse(answers, r)
		if err != nil || answer.StatusCode >= http.StatusOK {
			return answer, err
		}
	}
}

// ofHTTPAlone reports whether an answer is one of net/http, to what it does not
// take for a request.
func ofHTTPAlone(answer *http.Response) bool {
	return answer.Header.Get("X-Request-Id") == ""
}

// Forward passes connections on to the server at an address. It returns when the
// listener is closed and the connections have ended.
func (l *Listener) Forward(address string) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		all.Go(func() { forward(client, address) })
	}
}

func forward(client net.Conn, address string) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	var requests sync.WaitGroup
	requests.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite() // the server may have closed it
	})
	_, _ = io.Copy(client, server)
	client.Close() // ends the other direction
	requests.Wait()
}
