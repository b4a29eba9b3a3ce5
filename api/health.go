package api

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"secretstore/store"
)

// ping says pong while the storage answers, sealed or not.
func (s *Server) ping(*call) (reply, error) {
	if !s.probe.up() {
		return reply{}, quiet(store.ErrUnavailable)
	}
	return plain("pong")
}

// live says that the process serves requests.
func (s *Server) live(*call) (reply, error) { return plain("live") }

// ready says that secrets can be served.
func (s *Server) ready(*call) (reply, error) {
	if err := unsealedError(s.store.Status()); err != nil {
		return reply{}, quiet(err)
	}
	if !s.probe.up() {
		return reply{}, quiet(store.ErrUnavailable)
	}
	return plain("ready")
}

// quiet keeps the answer to a probe out of the log: one that asks each second
// is no error each second. What it finds is logged where it happens.
func quiet(err error) *problem {
	p := *problemOf(err)
	p.failed = false
	return &p
}

func (s *Server) serveMetrics(c *call) (reply, error) {
	var page capture
	promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(&page, c.r)
	return reply{status: page.code(), contentType: page.Header().Get("Content-Type"), body: page.body.Bytes()}, nil
}

// capture keeps what a handler writes.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *capture) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

func (w *capture) WriteHeader(status int) { w.status = status }

func (w *capture) Write(p []byte) (int, error) { return w.body.Write(p) }

func (w *capture) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

const (
	// probeFresh is how long the answer of the storage is remembered: anybody
	// may ask, without a token, so asking must not load the storage.
	probeFresh   = 500 * time.Millisecond
	probeTimeout = 2 * time.Second
)

// prober asks the storage whether it answers, once for all who want to know.
type prober struct {
	ping func(context.Context) error

	mu     sync.Mutex
	at     time.Time     // guarded by mu: when the last answer came
	ok     bool          // guarded by mu: what it was
	flight chan struct{} // guarded by mu: closed when the one under way has ended; nil if none is
}

// up reports whether the storage answers. It waits at most probeTimeout.
func (p *prober) up() bool {
	p.mu.Lock()
	for {
		if time.Since(p.at) < probeFresh {
			defer p.mu.Unlock()
			return p.ok
		}
		if p.flight == nil {
			break
		}
		flight := p.flight
		p.mu.Unlock()
		<-flight
		p.mu.Lock()
	}
	flight := make(chan struct{})
	p.flight = flight
	p.mu.Unlock()

	ok := false
	defer func() {
		p.mu.Lock()
		p.at, p.ok, p.flight = time.Now(), ok, nil
		p.mu.Unlock()
		close(flight)
	}()
	// No request's context: others wait for this answer too.
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	ok = p.ping(ctx) == nil
	return ok
}
