// Package monitor counts requests, logs failed ones, and shows the state of the
// server and its keys as Prometheus metrics.
//
// Anybody may read the metrics. Labels are names of endpoints, status codes and
// numbers: never a path, a uid, a fingerprint or the name of a secret.
package monitor

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"secretstore/seal"
)

// Config says what the metrics show.
type Config struct {
	// Registry takes the metrics; nil makes one.
	Registry *prometheus.Registry
	Store    *seal.Store
	Storage  *Prober
	// CertificateExpiry returns when the TLS certificate expires, zero without
	// one; nil leaves the metric out.
	CertificateExpiry func() time.Time
	// Watches returns how many requests wait for a change.
	Watches func() int
}

// NoEndpoint is the endpoint of requests without a route.
const NoEndpoint = "none"

// Metrics are the metrics of a server. Its methods may be called from many
// goroutines.
type Metrics struct {
	Registry *prometheus.Registry
	// AuditFailures counts requests that were refused because the audit log
	// could not be written.
	AuditFailures prometheus.Counter

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	endpoints map[string]*endpoint // by name; Add fills it
}

// endpoint are the metrics of one endpoint, looked up once.
type endpoint struct {
	name     string
	duration prometheus.Observer
	byStatus [600]atomic.Pointer[prometheus.Counter]
}

// New registers the metrics.
func New(cfg Config) (*Metrics, error) {
	m := &Metrics{Registry: cfg.Registry, endpoints: make(map[string]*endpoint)}
	if m.Registry == nil {
		m.Registry = prometheus.NewRegistry()
	}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "secretstore_requests_total", Help: "Requests answered.",
	}, []string{"endpoint", "code"})
	m.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "secretstore_request_duration_seconds", Help: "Time from the head of a request to its answer.",
		Buckets: []float64{.0001, .0005, .001, .005, .025, .1, .5, 1, 2.5, 5, 10},
	}, []string{"endpoint"})
	m.AuditFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "secretstore_audit_failures_total", Help: "Requests refused because the audit log could not be written.",
	})
	for _, c := range append(stateGauges(cfg), newKeyMetrics(cfg.Store), m.requests, m.durations, m.AuditFailures) {
		if err := m.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	m.Add(NoEndpoint)
	return m, nil
}

// Add adds an endpoint that Observe takes. It is not safe for use beside
// Observe.
func (m *Metrics) Add(name string) {
	m.endpoints[name] = &endpoint{name: name, duration: m.durations.WithLabelValues(name)}
}

func stateGauges(cfg Config) []prometheus.Collector {
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
		gauge("secretstore_damaged_records", "Records that lists and other readers skip because they cannot be read or do not open, as far as they were met.", func() float64 {
			return float64(cfg.Store.Damage().Damaged)
		}),
		gauge("secretstore_foreign_names", "Names in the storage that no record can have. They have no effect.", func() float64 {
			return float64(cfg.Store.Damage().Foreign)
		}),
		gauge("secretstore_storage_up", "1 if the storage answers.", func() float64 {
			return number(cfg.Storage.Up())
		}),
		gauge("secretstore_bootstrap_key_held", "1 if the storage holds a private key that unseals the store.", func() float64 {
			return number(cfg.Store.Status().HoldsBootstrapKey)
		}),
		gauge("secretstore_watches", "Requests that wait for a secret to change, streams included.", func() float64 {
			return float64(cfg.Watches())
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

// Observe counts one answer of an endpoint.
func (m *Metrics) Observe(name string, status int, took time.Duration) {
	ep := m.endpoints[name]
	ep.duration.Observe(took.Seconds())
	if status < 0 || status >= len(ep.byStatus) {
		status = http.StatusInternalServerError // unreachable: the API has no such status
	}
	c := ep.byStatus[status].Load()
	if c == nil {
		counter := m.requests.WithLabelValues(ep.name, strconv.Itoa(status))
		c = &counter
		ep.byStatus[status].Store(c)
	}
	(*c).Inc()
}
