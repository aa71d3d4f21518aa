package mail

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/smart-assistant/platform/service/telemetry"
)

// metrics counts messages by where they come from (import, gmail, imap) and what became of them.
type metrics struct {
	count *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newMetrics(registry *telemetry.Metrics) (*metrics, error) {
	m := &metrics{
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assistd_mail_processed_total", Help: "Messages that were read, by source and result (stored, duplicate or skipped).",
		}, []string{"source", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assistd_mail_processing_seconds", Help: "Time to read, classify, index, seal and insert a message; of an import, the mean of its batch.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"source"}),
	}
	if registry == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{m.count, m.took} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("register the metrics of mail: %w", err)
		}
	}
	return m, nil
}

const fromImport = "import"

func (m *metrics) processed(source string, isNew bool, took time.Duration) {
	if source == "" {
		source = fromImport
	}
	result := "duplicate"
	if isNew {
		result = "stored"
	}
	m.count.WithLabelValues(source, result).Inc()
	m.took.WithLabelValues(source).Observe(took.Seconds())
}

func (m *metrics) skipped() { m.count.WithLabelValues(fromImport, "skipped").Inc() }
