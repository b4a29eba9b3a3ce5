package monitor

import (
	"bytes"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// pageFresh is how long the metrics are served again once they were computed.
// That costs as much as many requests, and anybody may ask, without a token.
const pageFresh = time.Second

// Page is the page of GET /metrics. Do not change it.
type Page struct {
	Status      int
	ContentType string
	Text        []byte
}

// Pages makes a page at most once per pageFresh.
type Pages struct {
	handler http.Handler

	mu   sync.Mutex // held while a page is made: others wait for the same one
	made time.Time  // guarded by mu
	last Page       // guarded by mu
}

// NewPages returns the pages with the metrics of a registry.
func NewPages(from *prometheus.Registry) *Pages {
	return &Pages{handler: promhttp.HandlerFor(from, promhttp.HandlerOpts{DisableCompression: true})}
}

// Page returns the metrics in the text format.
func (p *Pages) Page() Page {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.made) >= pageFresh {
		out := capture{status: http.StatusOK, header: make(http.Header)}
		p.handler.ServeHTTP(&out, &http.Request{Header: make(http.Header)}) // without Accept: as text
		p.last = Page{out.status, out.header.Get("Content-Type"), out.body.Bytes()}
		p.made = time.Now()
	}
	return p.last
}

// capture keeps what a handler writes.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *capture) Header() http.Header { return w.header }

func (w *capture) WriteHeader(status int) { w.status = status }

func (w *capture) Write(p []byte) (int, error) { return w.body.Write(p) }
