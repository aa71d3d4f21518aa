package server

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/work"
)

// sweepArgs is the job that deletes what has ended.
type sweepArgs struct{}

func (sweepArgs) Kind() string { return "sweep" }

type sweeper struct {
	river.WorkerDefaults[sweepArgs]
	sweeps []func(context.Context) (int64, error)
}

// Work deletes batches until there is nothing left to delete.
func (s *sweeper) Work(ctx context.Context, _ *river.Job[sweepArgs]) error {
	var failures []error
	for _, sweep := range s.sweeps {
		for {
			n, err := sweep(ctx)
			if err != nil {
				failures = append(failures, err)
			}
			if err != nil || n == 0 {
				break
			}
		}
	}
	return errors.Join(failures...)
}

// addSweep makes the queue delete what has ended, every 10 minutes.
func addSweep(queue *work.Queue, sweeps ...func(context.Context) (int64, error)) {
	work.Add(queue, &sweeper{sweeps: sweeps})
	queue.Periodic("sweep", 10*time.Minute, func() (river.JobArgs, *river.InsertOpts) {
		return sweepArgs{}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByPeriod: 10 * time.Minute}}
	})
}
