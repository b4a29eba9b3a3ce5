package api

import (
	"bytes"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"secretstore/api/internal/answer"
	"secretstore/api/internal/monitor"
	"secretstore/api/internal/problem"
	"secretstore/seal"
	"secretstore/store"
)

// health answers the requests that need no token.
type health struct {
	store    *seal.Store
	storage  *monitor.Prober
	registry *prometheus.Registry
}

// ping says pong while the storage answers, sealed or not.
func (h *health) ping(*exchange) (answer.Reply, error) {
	if !h.storage.Up() {
		return answer.Reply{}, unlogged(store.ErrUnavailable)
	}
	return answer.Plain("pong")
}

// live says that the process serves requests.
func (h *health) live(*exchange) (answer.Reply, error) { return answer.Plain("live") }

// ready says that secrets can be served.
func (h *health) ready(*exchange) (answer.Reply, error) {
	if err := problem.Unsealed(h.store.Status()); err != nil {
		return answer.Reply{}, unlogged(err)
	}
	if !h.storage.Up() {
		return answer.Reply{}, unlogged(store.ErrUnavailable)
	}
	return answer.Plain("ready")
}

// unlogged keeps the answer to a probe out of the log, which would have an
// error each second. The server logs the reason where it happens.
func unlogged(err error) error {
	p := *problem.Of(err)
	p.Failed = false
	return &p
}

func (h *health) metrics(x *exchange) (answer.Reply, error) {
	var page capture
	promhttp.HandlerFor(h.registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(&page, x.req.Request)
	return answer.Reply{Status: page.code(), ContentType: page.Header().Get("Content-Type"), Body: page.body.Bytes()}, nil
}

func nothingHere(*exchange) (answer.Reply, error) {
	return answer.Reply{}, problem.NotFound("nothing here: the API is below /secrets/v1")
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
