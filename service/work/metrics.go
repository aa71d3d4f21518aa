package work

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Collector tells how long the queues are and how long their jobs wait, which each replica says alike, since they share the queues; and how the
// attempts ended that this replica made.
func (q *Queue) Collector() prometheus.Collector { return collector{q} }

type collector struct{ queue *Queue }

var (
	queueLength = prometheus.NewDesc("assistd_queue_jobs", "Jobs that are not done yet, and those that were given up (discarded) in the last week.",
		[]string{"queue", "state"}, nil)
	queueAge = prometheus.NewDesc("assistd_queue_oldest_seconds", "How long the oldest job has been due that nobody has begun.", []string{"queue"}, nil)
)

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueLength
	ch <- queueAge
	c.queue.attempts.Describe(ch)
}

// Collect asks the database for the queues' lengths. While it does not answer they are absent, which is what Prometheus's absent() looks for.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.queue.attempts.Collect(ch)
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
	Queue string
	State string // available, discarded, retryable, running or scheduled
	Jobs  int64
	Age   float64
}

// Lengths counts what is in the queues, empty ones included. River forgets discarded jobs after a week.
func (q *Queue) Lengths(ctx context.Context) ([]Length, error) {
	rows, err := q.config.Pool.Query(ctx, `
		SELECT wanted.queue, wanted.state, count(job.id),
		       coalesce(extract(epoch FROM greatest(clock_timestamp() - min(job.scheduled_at), interval '0')), 0)::float8
		FROM (
			SELECT queue, state FROM unnest($1::text[]) AS queue, unnest('{available,discarded,retryable,running,scheduled}'::river_job_state[]) AS state
		) AS wanted
		LEFT JOIN river_job job ON job.queue = wanted.queue AND job.state = wanted.state
		GROUP BY wanted.queue, wanted.state ORDER BY wanted.queue, wanted.state`, Queues())
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Length])
}

// results are the ways in which an attempt ends.
var results = []string{"ok", "failed", "discarded", "cancelled", "interrupted", "snoozed"}

// newAttempts counts from zero, so that the first failure is an increase that an alert sees.
func newAttempts() *prometheus.CounterVec {
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "assistd_queue_attempts_total",
		Help: "Attempts at jobs by how they ended: failed ones are tried again, discarded ones were the last.",
	}, []string{"queue", "result"})
	for _, queue := range Queues() {
		for _, result := range results {
			attempts.WithLabelValues(queue, result)
		}
	}
	return attempts
}

// count counts attempts until the client has stopped, which closes the channel of events.
func (q *Queue) count(events <-chan *river.Event) {
	for event := range events {
		q.attempts.WithLabelValues(event.Job.Queue, result(event)).Inc()
	}
}

func result(event *river.Event) string {
	switch event.Kind {
	case river.EventKindJobCompleted:
		return "ok"
	case river.EventKindJobCancelled:
		return "cancelled"
	case river.EventKindJobInterrupted:
		return "interrupted"
	case river.EventKindJobSnoozed:
		return "snoozed"
	default:
		if event.Job.State == rivertype.JobStateDiscarded {
			return "discarded"
		}
		return "failed"
	}
}
