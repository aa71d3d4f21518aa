package briefing

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/smart-assistant/platform/service/telemetry"
)

// Who writes and what becomes of it, as labels.
const (
	extractive = "extractive"
	model      = "model"

	ok       = "ok"
	fallback = "fallback" // the model failed or was not believed; the extractive text is the briefing
	failed   = "failed"
)

type metrics struct {
	generated *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
}

func newMetrics(registry *telemetry.Metrics) (*metrics, error) {
	m := &metrics{
		generated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assistd_briefings_generated_total", Help: "Briefings that were written, or failed to be.",
		}, []string{"writer", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assistd_briefing_seconds", Help: "Time to write a briefing.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"writer"}),
	}
	if registry == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{m.generated, m.seconds} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("register the metrics of briefings: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) wrote(writer, result string, took time.Duration) {
	m.generated.WithLabelValues(writer, result).Inc()
	m.seconds.WithLabelValues(writer).Observe(took.Seconds())
}
