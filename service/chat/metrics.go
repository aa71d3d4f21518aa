package chat

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/smart-assistant/platform/service/telemetry"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(registry *telemetry.Metrics) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assistd_chat_requests_total",
			Help: "Conversations answered, by who answers (task, offline, agent, upstream) and how it ended (ok, refused, failed, cancelled).",
		}, []string{"kind", "stream", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assistd_chat_seconds", Help: "Time from a conversation's request to the end of its answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160},
		}, []string{"kind"}),
	}
	if registry == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{m.requests, m.seconds} {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) done(kind string, stream bool, result string, took time.Duration) {
	m.requests.WithLabelValues(kind, strconv.FormatBool(stream), result).Inc()
	m.seconds.WithLabelValues(kind).Observe(took.Seconds())
}
