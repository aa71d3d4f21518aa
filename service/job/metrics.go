package job

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/smart-assistant/platform/service/telemetry"
)

// metrics counts what sources bring. No label names a user or a source.
type metrics struct {
	discovered prometheus.Counter
	fetches    *prometheus.CounterVec
	seconds    prometheus.Histogram
}

func newMetrics(registry *telemetry.Metrics) (*metrics, error) {
	m := &metrics{
		discovered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "assistd_jobs_discovered_total", Help: "Postings that were new to a user.",
		}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assistd_job_source_fetches_total", Help: "Fetches of job sources, by what came of them: ok, unchanged or failed.",
		}, []string{"kind", "result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "assistd_job_source_fetch_seconds", Help: "Time to fetch and read a job source.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	if registry == nil {
		return m, nil
	}
	return m, errors.Join(registry.Register(m.discovered), registry.Register(m.fetches), registry.Register(m.seconds))
}
