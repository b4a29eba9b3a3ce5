package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"secretstore/cmd/secretstore/internal/version"
	"secretstore/internal/connections"
	"secretstore/store"
	"secretstore/store/bolt"
)

// metrics are those that package api does not know: of the process, the storage,
// the caches, the certificates and the connections. Anybody may read them, so they
// name no secret and no user.
type metrics struct {
	registry  *prometheus.Registry
	durations map[store.Call]prometheus.Observer
	failures  map[store.Call]prometheus.Counter
	dropped   prometheus.Counter
	all       []prometheus.Collector // which add registers
}

func newMetrics() *metrics {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "secretstore_storage_duration_seconds",
		Help:    "Time that the storage took for a call. What is answered from memory does not count.",
		Buckets: []float64{.0001, .0005, .001, .005, .025, .1, .5, 1, 2.5, 5},
	}, []string{"call"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "secretstore_storage_failures_total", Help: "Calls that the storage did not answer, or writes that it did not take.",
	}, []string{"call"})
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		durations: make(map[store.Call]prometheus.Observer),
		failures:  make(map[store.Call]prometheus.Counter),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "secretstore_connections_dropped_total", Help: "Connections that were closed or refused because there were too many.",
		}),
	}
	for _, call := range store.Calls() {
		m.durations[call] = durations.WithLabelValues(string(call))
		m.failures[call] = failures.WithLabelValues(string(call))
	}
	m.all = append(m.all, durations, failures, m.dropped, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// storage is the store.Meter. A caller that left is not the storage's failure.
func (m *metrics) storage(call store.Call, took time.Duration, err error) {
	m.durations[call].Observe(took.Seconds())
	if errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.Canceled) {
		m.failures[call].Inc()
	}
}

// add registers the metrics of a server whose storage is open.
func (m *metrics) add(s *Server, limiter *connections.Limiter) error {
	build := version.Get()
	m.gauge("secretstore_build_info", "Always 1. The labels say which program this is.",
		prometheus.Labels{"version": s.outside.Version, "revision": build.Commit, "goversion": build.Go}, func() float64 { return 1 })
	m.gauge("secretstore_configuration_problems", "Files and key sources that are not usable, so that what was read before stays in effect.", nil,
		func() float64 { return float64(len(s.notices.list())) })
	if lost := s.outside.LinesLost; lost != nil {
		m.counter("secretstore_log_lines_lost_total", "Lines of the server's log that could not be written, because nobody reads standard error.", nil, lost)
	}
	tokens := prometheus.Labels{"cache": "tokens"}
	m.cache(tokens, func() (hits, misses uint64, entries int) {
		t := s.parts.verifier.Stats()
		return t.Hits, t.Misses, t.Entries
	})
	m.all = append(m.all, newCertificateMetrics(s.parts))
	if s.zk != nil {
		m.addZooKeeper(s)
	}
	if s.iam != nil {
		m.addIAM(s.iam)
		m.addOIDC(s.oidc)
	}
	m.gauge("secretstore_connections", "Connections of clients.", nil, func() float64 { return float64(limiter.Count()) })
	m.gauge("secretstore_connections_max", "The most connections of clients that there can be.", nil, func() float64 { return float64(connections.Max()) })
	for _, c := range m.all {
		if err := m.registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// addZooKeeper adds the metrics that only a storage which is shared has.
func (m *metrics) addZooKeeper(s *Server) {
	records := prometheus.Labels{"cache": "records"}
	m.cache(records, func() (hits, misses uint64, entries int) {
		st := s.zk.Stats()
		return st.Hits, st.Misses, st.Entries
	})
	m.gauge("secretstore_cache_bytes", "Memory that a cache takes.", records, func() float64 { return float64(s.zk.Stats().Bytes) })
	m.gauge("secretstore_feed_lag_seconds", "For how long a change by another server may have gone unnoticed.", nil,
		func() float64 { return s.zk.Stats().Lag.Seconds() })
	m.gauge("secretstore_feed_incomplete", "1 while the changes of some server cannot be followed, so that nothing is kept in memory.", nil,
		func() float64 {
			if s.zk.Stats().Incomplete {
				return 1
			}
			return 0
		})
}

func (m *metrics) gauge(name, help string, labels prometheus.Labels, value func() float64) {
	m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
}

func (m *metrics) counter(name, help string, labels prometheus.Labels, value func() uint64) {
	m.all = append(m.all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
		func() float64 { return float64(value()) }))
}

func (m *metrics) cache(labels prometheus.Labels, stats func() (hits, misses uint64, entries int)) {
	m.counter("secretstore_cache_hits_total", "Lookups that were answered from memory.", labels, func() uint64 { hits, _, _ := stats(); return hits })
	m.counter("secretstore_cache_misses_total", "Lookups that were not.", labels, func() uint64 { _, misses, _ := stats(); return misses })
	m.gauge("secretstore_cache_entries", "Entries in memory.", labels, func() float64 { _, _, entries := stats(); return float64(entries) })
}

// certificateMetrics shows when certificates expire. Without a certificate there is
// no time series, so that no made-up number silences an alarm.
type certificateMetrics struct {
	parts  *parts
	expiry *prometheus.Desc
}

func newCertificateMetrics(p *parts) *certificateMetrics {
	return &certificateMetrics{p, prometheus.NewDesc("secretstore_certificate_expiry_seconds",
		"When a certificate, or the first of its chain, expires, as Unix time.", []string{"certificate"}, nil)}
}

// Describe sends what the collector may collect.
func (m *certificateMetrics) Describe(to chan<- *prometheus.Desc) { to <- m.expiry }

// Collect sends the dates of the certificates in use.
func (m *certificateMetrics) Collect(to chan<- prometheus.Metric) {
	send := func(name string, pair *tls.Certificate) {
		if t := chainExpiry(pair); !t.IsZero() {
			to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, float64(t.Unix()), name)
		}
	}
	if c := m.parts.cert; c != nil {
		send("server", c.current.Load())
	}
	send("zookeeper", m.parts.zk.tls.certificate())
}

// chainExpiry returns when the first certificate of a chain expires, zero without
// one.
func chainExpiry(pair *tls.Certificate) (first time.Time) {
	if pair == nil {
		return first
	}
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err == nil && (first.IsZero() || c.NotAfter.Before(first)) {
			first = c.NotAfter
		}
	}
	return first
}

// measuredFile measures the calls of a bbolt file.
type measuredFile struct {
	*bolt.Backend
	meter store.Meter
}

// Get implements store.Backend.
func (f measuredFile) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	began := time.Now()
	node, err := f.Backend.Get(ctx, key, c)
	f.meter(store.CallRead, time.Since(began), err)
	return node, err
}

// Children implements store.Backend.
func (f measuredFile) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	began := time.Now()
	listing, err := f.Backend.Children(ctx, key, c)
	f.meter(store.CallList, time.Since(began), err)
	return listing, err
}

// Apply implements store.Backend.
func (f measuredFile) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	began := time.Now()
	versions, err := f.Backend.Apply(ctx, ops...)
	f.meter(store.CallWrite, time.Since(began), err)
	return versions, err
}
