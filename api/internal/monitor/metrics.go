// Package monitor counts requests, logs failed ones, and shows the state of the
// server and its keys as Prometheus metrics.
//
// Anybody may read the metrics. Labels are names of endpoints, status codes and
// numbers: never a path, a uid, a fingerprint or the name of a secret.
package monitor

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"secretstore/api/audit"
	"secretstore/seal"
	"secretstore/store"
)

// Config says what the metrics show.
type Config struct {
	// Registry takes the metrics; nil makes one.
	Registry *prometheus.Registry
	Store    *seal.Store
	Storage  *Prober
	// AuditFault returns what is wrong with the audit log, or nil; without a log
	// it is nil itself. ErrReserve is the fault of a log on a full disk.
	AuditFault func() error
	// Actions and Outcomes are all that a decision can have.
	Actions, Outcomes []string
	// Watches returns how many requests wait for a change.
	Watches func() int
	// LastBackup returns when the last backup began that was sent whole, zero if
	// there is none.
	LastBackup func() time.Time
}

// NoEndpoint is the endpoint, and the route, of requests without one.
const NoEndpoint = "none"

// NoAction is the action of decisions that are about no resource.
const NoAction = "none"

// Metrics are the metrics of a server. Its methods may be called from many
// goroutines.
type Metrics struct {
	Registry *prometheus.Registry
	// AuditFailures counts requests that were refused because the audit log
	// could not be written.
	AuditFailures prometheus.Counter
	// AuditDuration is the time that a request waited for the audit log.
	AuditDuration prometheus.Histogram

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	decisions map[decision]prometheus.Counter // all that there are; not changed
	// None are the metrics of requests without an endpoint.
	None *Endpoint
}

// Endpoint are the metrics of one endpoint, looked up once. Its methods may be
// called from many goroutines.
type Endpoint struct {
	name, route string
	requests    *prometheus.CounterVec
	duration    prometheus.Observer
	byStatus    [600]atomic.Pointer[prometheus.Counter]
}

// decision is how a request about a resource ended.
type decision struct{ action, outcome string }

// New registers the metrics.
func New(cfg Config) (*Metrics, error) {
	m := &Metrics{Registry: cfg.Registry, decisions: make(map[decision]prometheus.Counter)}
	if m.Registry == nil {
		m.Registry = prometheus.NewRegistry()
	}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "secretstore_requests_total", Help: "Requests answered.",
	}, []string{"endpoint", "route", "code"})
	m.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "secretstore_request_duration_seconds", Help: "Time from the head of a request to its answer.",
		Buckets: []float64{.0001, .0005, .001, .005, .025, .1, .5, 1, 2.5, 5, 10},
	}, []string{"endpoint", "route"})
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "secretstore_decisions_total",
		Help: "Decisions as the audit log has them, one for each secret of a batch, by the action of the permission and by outcome.",
	}, []string{"action", "outcome"})
	for _, action := range append(cfg.Actions, NoAction) {
		for _, outcome := range cfg.Outcomes {
			m.decisions[decision{action, outcome}] = decisions.WithLabelValues(action, outcome)
		}
	}
	m.AuditFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "secretstore_audit_failures_total", Help: "Requests refused because the audit log could not be written.",
	})
	m.AuditDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "secretstore_audit_duration_seconds", Help: "Time to write the audit lines of a request.",
		Buckets: []float64{.00001, .0001, .001, .01, .1, 1},
	})
	for _, c := range append(stateGauges(cfg), newKeyMetrics(cfg.Store), m.requests, m.durations, decisions, m.AuditFailures, m.AuditDuration) {
		if err := m.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	m.None = m.Endpoint(NoEndpoint, NoEndpoint)
	return m, nil
}

// Endpoint returns the metrics of an endpoint. route is the template of its path,
// never the path of a request: each one is a time series of its own, and would
// name a secret.
func (m *Metrics) Endpoint(name, route string) *Endpoint {
	return &Endpoint{name: name, route: route, requests: m.requests, duration: m.durations.WithLabelValues(name, route)}
}

// Decided counts a decision. An action that Config did not name counts as
// NoAction.
func (m *Metrics) Decided(action, outcome string) {
	c := m.decisions[decision{action, outcome}]
	if c == nil {
		c = m.decisions[decision{NoAction, outcome}]
	}
	c.Inc()
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
		gauge("secretstore_storage_writable", "1 if the storage took the last write.", func() float64 {
			return number(cfg.Store.WriteFault() == nil)
		}),
		gauge("secretstore_storage_full", "1 if the storage had no room for the last write.", func() float64 {
			return number(errors.Is(cfg.Store.WriteFault(), store.ErrFull))
		}),
		gauge("secretstore_bootstrap_key_held", "1 if the storage holds a private key that unseals the store.", func() float64 {
			return number(cfg.Store.Status().HoldsBootstrapKey)
		}),
		gauge("secretstore_last_backup_timestamp_seconds", "When this server began the last backup that it sent whole; 0 if it sent none since its start.", func() float64 {
			if last := cfg.LastBackup(); !last.IsZero() {
				return float64(last.Unix())
			}
			return 0
		}),
		gauge("secretstore_watches", "Requests that wait for a secret to change, streams included.", func() float64 {
			return float64(cfg.Watches())
		}),
	}
	if fault := cfg.AuditFault; fault != nil {
		all = append(all,
			gauge("secretstore_audit_up", "1 if the audit log can be written; without it nothing is answered.", func() float64 {
				err := fault()
				return number(err == nil || errors.Is(err, audit.ErrReserve))
			}),
			gauge("secretstore_audit_disk_full", "1 while the disk of the audit log is full, and lines go to the reserve, if there is any left.", func() float64 {
				return number(audit.DiskFull(fault()))
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

// Observe counts one answer.
func (ep *Endpoint) Observe(status int, took time.Duration) {
	ep.duration.Observe(took.Seconds())
	if status < 0 || status >= len(ep.byStatus) {
		status = http.StatusInternalServerError // unreachable: the API has no such status
	}
	c := ep.byStatus[status].Load()
	if c == nil {
		counter := ep.requests.WithLabelValues(ep.name, ep.route, strconv.Itoa(status))
		c = &counter
		ep.byStatus[status].Store(c)
	}
	(*c).Inc()
}
