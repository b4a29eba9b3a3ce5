package monitor

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestMetricsAreComputedOncePerSecond however many ask for them.
func TestMetricsAreComputedOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		computed := 0
		registry := prometheus.NewRegistry()
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "x", Help: "x"}, func() float64 {
			computed++
			return float64(computed)
		}))
		pages := NewPages(registry)
		for second := 1; second <= 3; second++ {
			for range 100 {
				if page := pages.Page(); page.Status != 200 || string(page.Text) != "# HELP x x\n# TYPE x gauge\nx "+string(rune('0'+second))+"\n" {
					t.Fatalf("second %d: %+v, %s", second, page, page.Text)
				}
			}
			time.Sleep(pageFresh)
		}
		if computed != 3 {
			t.Errorf("computed %d times in 3 seconds", computed)
		}
	})
}
