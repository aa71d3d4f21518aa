package work

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// Collector tells how long the queues are and how long their jobs wait. Each replica says the same, since they share the queues.
func (q *Queue) Collector() prometheus.Collector { return collector{q} }

type collector struct{ queue *Queue }

var (
	queueLength = prometheus.NewDesc("assistd_queue_jobs", "Jobs that are not done yet.", []string{"queue", "state"}, nil)
	queueAge    = prometheus.NewDesc("assistd_queue_oldest_seconds", "How long the oldest job has been due that nobody has begun.", []string{"queue"}, nil)
)

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueLength
	ch <- queueAge
}

// Collect asks the database. While it does not answer the metrics are absent, which is what Prometheus's absent() looks for.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	lengths, err := c.queue.Lengths(ctx)
	if err != nil {
		c.queue.config.Log.WarnContext(ctx, "count the queues' jobs", "error", err)
		return
	}
	for _, l := range lengths {
		ch <- prometheus.MustNewConstMetric(queueLength, prometheus.GaugeValue, float64(l.Jobs), l.Queue, l.State)
		if l.State == "available" {
			ch <- prometheus.MustNewConstMetric(queueAge, prometheus.GaugeValue, l.Age, l.Queue)
		}
	}
}

// Length is how many jobs of a queue are in a state. Age is of the one that has been due longest, in seconds; 0 where none is.
type Length struct {
	Queue string  `json:"queue"`
	State string  `json:"state" enum:"available,retryable,running,scheduled"`
	Jobs  int64   `json:"jobs"`
	Age   float64 `json:"oldest_seconds"`
}

// Lengths counts what is in the queues, empty ones included.
func (q *Queue) Lengths(ctx context.Context) ([]Length, error) {
	rows, err := q.config.Pool.Query(ctx, `
		SELECT wanted.queue, wanted.state, count(job.id),
		       coalesce(extract(epoch FROM greatest(clock_timestamp() - min(job.scheduled_at), interval '0')), 0)::float8
		FROM (
			SELECT queue, state FROM unnest($1::text[]) AS queue, unnest('{available,retryable,running,scheduled}'::river_job_state[]) AS state
		) AS wanted
		LEFT JOIN river_job job ON job.queue = wanted.queue AND job.state = wanted.state
		GROUP BY wanted.queue, wanted.state ORDER BY wanted.queue, wanted.state`, Queues())
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Length])
}
