package mail

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/smart-assistant/platform/service/telemetry"
)

type syncMetrics struct {
	syncs   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// newSyncMetrics registers the metrics where there is a registry.
func newSyncMetrics(registry *telemetry.Metrics) (syncMetrics, error) {
	m := syncMetrics{
		syncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assistd_mail_syncs_total", Help: "Syncs of connections that ended, by how.",
		}, []string{"kind", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assistd_mail_sync_seconds", Help: "How long syncs of connections took.",
			Buckets: []float64{.1, .5, 1, 5, 15, 60, 300, 900},
		}, []string{"kind"}),
	}
	if registry == nil {
		return m, nil
	}
	if err := errors.Join(registry.Register(m.syncs), registry.Register(m.seconds)); err != nil {
		return m, fmt.Errorf("register the metrics of syncs: %w", err)
	}
	return m, nil
}

func (m syncMetrics) observe(kind, result string, took time.Duration) {
	m.syncs.WithLabelValues(kind, result).Inc()
	m.seconds.WithLabelValues(kind).Observe(took.Seconds())
}
