package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"secretstore/seal"
)

// metrics counts requests and shows the state of the server. Its labels are
// endpoints and status codes: never a path, a uid or a name.
type metrics struct {
	registry      *prometheus.Registry
	requests      *prometheus.CounterVec
	auditFailures prometheus.Counter
	none          *endpointMetrics // of requests without a route
}

// endpointMetrics are the counters of one endpoint, looked up once.
type endpointMetrics struct {
	name     string
	duration prometheus.Observer
	byStatus [600]atomic.Pointer[prometheus.Counter]
}

func newMetrics(cfg Config, storage *prober, waiting *waits, table []*endpoint) (*metrics, error) {
	m := &metrics{registry: cfg.Registry}
	if m.registry == nil {
		m.registry = prometheus.NewRegistry()
	}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "secretstore_requests_total", Help: "Requests answered.",
	}, []string{"endpoint", "code"})
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "secretstore_request_duration_seconds", Help: "Time from the head of a request to its answer.",
		Buckets: []float64{.0001, .0005, .001, .005, .025, .1, .5, 1, 2.5, 5, 10},
	}, []string{"endpoint"})
	m.auditFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "secretstore_audit_failures_total", Help: "Requests refused because the audit log could not be written.",
	})
	watches := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "secretstore_watches", Help: "Requests that wait for a secret to change, streams included.",
	}, func() float64 { return float64(waiting.count()) })
	for _, c := range append(stateGauges(cfg, storage), watches, newKeyMetrics(cfg.Store), m.requests, durations, m.auditFailures) {
		if err := m.registry.Register(c); err != nil {
			return nil, err
		}
	}
	for _, ep := range table {
		ep.metrics = &endpointMetrics{name: ep.name, duration: durations.WithLabelValues(ep.name)}
	}
	m.none = &endpointMetrics{name: "none", duration: durations.WithLabelValues("none")}
	return m, nil
}

func stateGauges(cfg Config, storage *prober) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	all := []prometheus.Collector{
		gauge("secretstore_sealed", "1 while secrets are out of reach, 0 while the store is unsealed.", func() float64 {
			return number(cfg.Store.Status().Sealed())
		}),
		gauge("secretstore_initialized", "1 if the store has keys.", func() float64 {
			return number(cfg.Store.Status().Initialized())
		}),
		gauge("secretstore_damaged", "1 if the storage holds secrets but not the records that open them.", func() float64 {
			return number(cfg.Store.Status().State == seal.StateDamaged)
		}),
		gauge("secretstore_storage_up", "1 if the storage answers.", func() float64 {
			return number(storage.up())
		}),
		gauge("secretstore_bootstrap_key_held", "1 if the storage holds a private key that unseals the store.", func() float64 {
			return number(cfg.Store.Status().HoldsBootstrapKey)
		}),
	}
	if expiry := cfg.CertificateExpiry; expiry != nil {
		all = append(all, gauge("secretstore_certificate_expiry_seconds",
			"When the TLS certificate expires, as Unix time; 0 without one.", func() float64 {
				t := expiry()
				if t.IsZero() {
					return 0
				}
				return float64(t.Unix())
			}))
	}
	return all
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// observe counts one answer.
func (m *metrics) observe(ep *endpoint, status int, took time.Duration) {
	em := m.none
	if ep != nil {
		em = ep.metrics
	}
	em.duration.Observe(took.Seconds())
	if status < 0 || status >= len(em.byStatus) {
		status = http.StatusInternalServerError // unreachable: problem.go has no such status
	}
	c := em.byStatus[status].Load()
	if c == nil {
		counter := m.requests.WithLabelValues(em.name, strconv.Itoa(status))
		c = &counter
		em.byStatus[status].Store(c)
	}
	(*c).Inc()
}
