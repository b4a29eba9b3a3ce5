package monitor

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"secretstore/seal"
)

// keyMetrics shows what operators set alarms on: public keys of holders that
// expire, and old data keys that stay. A metric is absent while its value is
// not known, so that no made-up number silences an alarm.
type keyMetrics struct {
	store  *seal.Store
	expiry *prometheus.Desc
	terms  *prometheus.Desc
	stuck  *prometheus.Desc

	// rotation reads last from the storage, at the pace of a Prober: anybody
	// may scrape.
	rotation *Prober
	last     *atomic.Pointer[seal.RotationInfo]
}

func newKeyMetrics(store *seal.Store) *keyMetrics {
	last := new(atomic.Pointer[seal.RotationInfo])
	return &keyMetrics{
		store: store,
		expiry: prometheus.NewDesc("secretstore_holder_key_expiry_timestamp_seconds",
			"When the public key of a holder of the unseal key expires, as Unix time; absent if never. Holders are numbered.", []string{"holder"}, nil),
		terms: prometheus.NewDesc("secretstore_data_key_terms",
			"Data keys of the keyring: 1, or more while records are under older ones; absent while sealed.", nil, nil),
		stuck: prometheus.NewDesc("secretstore_rotation_stuck",
			"1 while a rotation of the data key cannot finish; absent while sealed.", nil, nil),
		last: last,
		rotation: NewProber(func(ctx context.Context) error {
			info, err := store.RotationStatus(ctx)
			if err == nil {
				last.Store(&info)
			}
			return err
		}),
	}
}

// Describe sends what the collector may collect.
func (m *keyMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.expiry
	to <- m.terms
	to <- m.stuck
}

// Collect sends what is known.
func (m *keyMetrics) Collect(to chan<- prometheus.Metric) {
	seen := make(map[string]bool) // one person may hold several shares
	for i, h := range m.store.Holders() {
		if h.Expires.IsZero() || seen[h.Fingerprint] {
			continue
		}
		seen[h.Fingerprint] = true
		// Anybody may scrape, so the label is a number and not the fingerprint.
		m.send(to, m.expiry, float64(h.Expires.Unix()), strconv.Itoa(i+1))
	}
	if m.store.Status().State == seal.StateUnsealed && m.rotation.Up() {
		info := m.last.Load()
		m.send(to, m.terms, float64(info.Terms))
		m.send(to, m.stuck, number(info.State == seal.RotationStuck))
	}
}

func (m *keyMetrics) send(to chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	metric, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	if err != nil {
		metric = prometheus.NewInvalidMetric(desc, err) // unreachable: the labels are digits
	}
	to <- metric
}
