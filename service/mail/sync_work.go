package mail

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/work"
)

// queueGrace is how long a sync may wait in the queue before the connection is due again, in case that its job was lost.
const queueGrace = 10 * time.Minute

// syncArgs is the job of one sync. It is tried once: a failure is the connection's state, which says when the next one is due.
type syncArgs struct {
	ConnectionID string `json:"connection_id"`
}

func (syncArgs) Kind() string { return "sync-connection" }

// syncOptions puts syncs behind the job that finds those which are due.
func syncOptions() *river.InsertOpts {
	return &river.InsertOpts{Queue: work.Mail, MaxAttempts: 1, Priority: 2}
}

type syncWorker struct {
	river.WorkerDefaults[syncArgs]
	connections *connections
}

func (w *syncWorker) Work(ctx context.Context, job *river.Job[syncArgs]) error {
	return w.connections.syncConnection(ctx, job.Args.ConnectionID)
}

// Timeout is longer than a sync takes, which ends by itself at twice its turn. That there is one lets River end the job of a process that
// was killed.
func (w *syncWorker) Timeout(*river.Job[syncArgs]) time.Duration { return 3 * w.connections.sync.Turn }

// dueArgs is the job that finds the connections whose time has come.
type dueArgs struct{}

func (dueArgs) Kind() string { return "due-connections" }

type dueWorker struct {
	river.WorkerDefaults[dueArgs]
	connections *connections
}

func (w *dueWorker) Work(ctx context.Context, _ *river.Job[dueArgs]) error {
	for {
		n, err := w.connections.queueDue(ctx)
		if err != nil || n == 0 {
			return err
		}
	}
}

// queueDue queues syncs of some connections that are due, in the transaction that makes them not due.
func (c *connections) queueDue(ctx context.Context) (n int, err error) {
	now := c.config.Now()
	err = pgx.BeginFunc(ctx, c.config.Pool, func(tx pgx.Tx) error {
		due, err := c.db.WithTx(tx).QueueDue(ctx, maildb.QueueDueParams{Now: now, Until: now.Add(queueGrace)})
		if err != nil {
			return err
		}
		n = len(due)
		for _, id := range due {
			if err := c.config.Queue.InsertOnce(ctx, tx, syncArgs{ConnectionID: id}, syncOptions()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("queue the connections that are due: %w", err)
	}
	return n, nil
}

func (c *connections) addWork(queue *work.Queue) {
	work.Add(queue, &syncWorker{connections: c})
	work.Add(queue, &leaver{connections: c})
	work.Add(queue, &dueWorker{connections: c})
	queue.Periodic("due-connections", time.Minute, func() (river.JobArgs, *river.InsertOpts) {
		return dueArgs{}, &river.InsertOpts{Queue: work.Mail, MaxAttempts: 3, UniqueOpts: river.UniqueOpts{ByPeriod: time.Minute}}
	})
}
