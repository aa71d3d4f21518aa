// Package work is background work: jobs that survive a restart, run once whatever the number of replicas, and are tried again.
//
// It owns River's tables and the running of its client: queues, periodic jobs, retries, drain and metrics. What a job does belongs to
// the part that adds its worker.
package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// The queues. Each has workers of its own, so that a slow kind of work does not hold up another.
const (
	Mail       = "mail"        // fetching and storing of mail
	MailUpkeep = "mail-upkeep" // what is done with mail that is there: embedding, classifying again, parting with it
	Jobs       = "jobs"        // fetching of job sources, suggestions
	Briefings  = "briefings"   // writing of briefings
	Default    = river.QueueDefault
)

// Queues lists them.
func Queues() []string { return []string{Briefings, Default, Jobs, Mail, MailUpkeep} }

// Config is what a Queue works with.
type Config struct {
	Pool    *pgxpool.Pool
	Log     *slog.Logger
	Workers int           // that run at once, in each queue; default 2
	Drain   time.Duration // how long Stop lets jobs end before it cancels them; default 20 s
}

// Queue takes jobs and runs them. Workers and periodic jobs are added before Start.
type Queue struct {
	config   Config
	workers  *river.Workers
	periodic []*river.PeriodicJob
	client   *river.Client[pgx.Tx]
	attempts *prometheus.CounterVec
}

// New makes a queue without workers.
func New(config Config) *Queue {
	if config.Workers == 0 {
		config.Workers = 2
	}
	if config.Drain == 0 {
		config.Drain = 20 * time.Second
	}
	return &Queue{config: config, workers: river.NewWorkers(), attempts: newAttempts()}
}

// Add says who does jobs of a kind.
func Add[T river.JobArgs](q *Queue, worker river.Worker[T]) { river.AddWorker(q.workers, worker) }

// Periodic inserts a job over and over. One of the replicas, the elected one, does it. The arguments should be unique by their kind and
// period (river.UniqueOpts), because a new leader may insert again.
func (q *Queue) Periodic(id string, every time.Duration, args func() (river.JobArgs, *river.InsertOpts)) {
	q.periodic = append(q.periodic, river.NewPeriodicJob(river.PeriodicInterval(every), args, &river.PeriodicJobOpts{ID: id, RunOnStart: true}))
}

// Build ends the adding: from here on jobs can be inserted.
func (q *Queue) Build() error {
	queues := map[string]river.QueueConfig{}
	for _, name := range Queues() {
		queues[name] = river.QueueConfig{MaxWorkers: q.config.Workers}
	}
	client, err := river.NewClient(riverpgxv5.New(q.config.Pool), &river.Config{
		Logger: q.config.Log, Workers: q.workers, PeriodicJobs: q.periodic,
		Queues: queues,
		// What a killed replica was doing is taken up after this, or after the worker's own time limit where that is longer.
		RescueStuckJobsAfter: 2 * time.Minute,
	})
	if err != nil {
		return fmt.Errorf("set up background work: %w", err)
	}
	q.client = client
	return nil
}

// Insert puts a job into its queue, in a transaction where one is given.
func (q *Queue) Insert(ctx context.Context, tx pgx.Tx, args river.JobArgs, opts *river.InsertOpts) error {
	if q.client == nil {
		return errors.New("insert a job: the queue is not built yet")
	}
	var err error
	if tx != nil {
		_, err = q.client.InsertTx(ctx, tx, args, opts)
	} else {
		_, err = q.client.Insert(ctx, args, opts)
	}
	if err != nil {
		return fmt.Errorf("insert a job %s: %w", args.Kind(), err)
	}
	return nil
}

// InsertOnce is Insert, unless the same job waits already. One that runs does not count, unlike with River's unique jobs: what it has read
// may have changed since. Two at once both insert, unless they hold the same lock.
func (q *Queue) InsertOnce(ctx context.Context, tx pgx.Tx, args river.JobArgs, opts *river.InsertOpts) error {
	text, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("write the arguments of a job %s: %w", args.Kind(), err)
	}
	var waits bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (
		SELECT FROM river_job WHERE kind = $1 AND state IN ('available', 'retryable', 'scheduled') AND args @> $2::jsonb
	)`, args.Kind(), text).Scan(&waits)
	if err != nil {
		return fmt.Errorf("look for a job %s that waits: %w", args.Kind(), err)
	}
	if waits {
		return nil
	}
	return q.Insert(ctx, tx, args, opts)
}

// mostUncounted ends of attempts are remembered until they are counted. River tells of at most 5,000 at once and forgets what does not fit.
const mostUncounted = 10_000

// Start runs jobs until Stop.
func (q *Queue) Start(ctx context.Context) error {
	events, unsubscribe := q.client.SubscribeConfig(&river.SubscribeConfig{ChanSize: mostUncounted, Kinds: []river.EventKind{
		river.EventKindJobCompleted, river.EventKindJobFailed, river.EventKindJobCancelled, river.EventKindJobInterrupted, river.EventKindJobSnoozed,
	}})
	if err := q.client.Start(ctx); err != nil {
		unsubscribe()
		return fmt.Errorf("start background work: %w", err)
	}
	go q.count(events)
	return nil
}

// Stop takes no more jobs, lets those that run end for Config.Drain, then cancels them; they are tried again elsewhere.
func (q *Queue) Stop(ctx context.Context) error {
	soft, cancel := context.WithTimeout(ctx, q.config.Drain)
	defer cancel()
	if err := q.client.Stop(soft); err == nil {
		return nil
	}
	if err := q.client.StopAndCancel(ctx); err != nil {
		return fmt.Errorf("stop background work: %w", err)
	}
	return nil
}

// Batches does one batch after the other until one finds nothing to do; a batch says how much it did.
func Batches(ctx context.Context, batch func(context.Context) (int64, error)) error {
	for {
		if n, err := batch(ctx); err != nil || n == 0 {
			return err
		}
	}
}
