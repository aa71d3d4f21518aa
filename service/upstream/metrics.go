package upstream

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/smart-assistant/platform/service/telemetry"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// newMetrics registers the client's metrics; without a registry they are counted for nobody.
func newMetrics(registry *telemetry.Metrics, breaker *gobreaker.TwoStepCircuitBreaker[struct{}]) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assistd_llm_requests_total", Help: "Requests to the language model: ok, refused, unavailable, cancelled by the asker, or kept back by the breaker.",
		}, []string{"operation", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assistd_llm_seconds", Help: "Time from the request to the language model to the end of its answer.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160},
		}, []string{"operation"}),
	}
	if registry == nil {
		return m, nil
	}
	state := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "assistd_llm_breaker_state", Help: "0: the language model is asked; 1: one request tries whether it is back; 2: it is left alone.",
	}, func() float64 { return float64(breaker.State()) })
	for _, collector := range []prometheus.Collector{m.requests, m.seconds, state} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("register the language model's metrics: %w", err)
		}
	}
	return m, nil
}

// done counts a request. One that was not made took no time.
func (m *metrics) done(operation, result string, took time.Duration) {
	m.requests.WithLabelValues(operation, result).Inc()
	if took > 0 {
		m.seconds.WithLabelValues(operation).Observe(took.Seconds())
	}
}
