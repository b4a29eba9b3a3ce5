package framing

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Listen returns a listener for http.Server.Serve of plain HTTP.
func Listen(l net.Listener) net.Listener { return plain{l} }

type plain struct{ net.Listener }

func (l plain) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// ListenTLS returns a listener for http.Server.Serve of HTTPS. net/http must see a
// tls.Conn for HTTP/2, and must not see it for HTTP/1, to read through this package.
// Which of them a connection uses is known after the TLS handshake, so the listener
// makes it. The server needs the same config as its TLSConfig, with "h2".
//
// timeout limits a handshake. failed gets each failure.
func ListenTLS(l net.Listener, config *tls.Config, timeout time.Duration, failed func(net.Conn, error)) net.Listener {
	t := &secure{Listener: l, config: config, timeout: timeout, failed: failed, ready: make(chan accepted)}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.work.Go(t.acceptAll)
	return t
}

// secure makes handshakes until it is closed.
type secure struct {
	net.Listener
	config  *tls.Config
	timeout time.Duration
	failed  func(net.Conn, error)

	ctx   context.Context // ends on Close
	stop  context.CancelFunc
	work  sync.WaitGroup
	ready chan accepted
}

type accepted struct {
	conn net.Conn
	err  error
}

// Accept returns the next connection whose handshake is complete.
func (l *secure) Accept() (net.Conn, error) {
	select {
	case a := <-l.ready:
		return a.conn, a.err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close also ends handshakes in progress.
func (l *secure) Close() error {
	l.stop()
	err := l.Listener.Close()
	l.work.Wait()
	return err
}

func (l *secure) acceptAll() {
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			l.work.Go(func() { l.handshake(tls.Server(c, l.config)) })
		} else if !l.deliver(accepted{err: err}) {
			return
		}
	}
}

func (l *secure) deliver(a accepted) bool {
	select {
	case l.ready <- a:
		return true
	case <-l.ctx.Done():
		return false
	}
}

func (l *secure) handshake(c *tls.Conn) {
	ctx, cancel := context.WithTimeout(l.ctx, l.timeout)
	defer cancel()
	var plainText tls.RecordHeaderError
	switch err := c.HandshakeContext(ctx); {
	case err != nil:
		if errors.As(err, &plainText) && plainText.Conn != nil { // for a person who forgot the s of https
			_, _ = io.WriteString(plainText.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		}
		if l.ctx.Err() == nil {
			l.failed(c, err)
		}
	case l.deliver(accepted{conn: forServer(c)}):
		return
	}
	_ = c.Close()
}

// forServer returns c as net/http should see it.
func forServer(c *tls.Conn) net.Conn {
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		return c
	}
	return &secureConn{&conn{Conn: c}, c}
}

// secureConn is a connection of HTTP/1 over TLS.
type secureConn struct {
	*conn
	tls *tls.Conn
}

// ConnectionState is where net/http gets http.Request.TLS from.
func (c *secureConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }
