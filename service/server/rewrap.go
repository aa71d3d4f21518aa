package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/signin"
	"github.com/smart-assistant/platform/service/work"
)

// Sealed lists every sealed column that outlives a day.
func Sealed() []encryption.Column {
	return slices.Concat(account.Sealed(), signin.Sealed(), mail.Sealed(), job.Sealed(), sealedBriefings())
}

// rewrapArgs is the job that seals under the current master key what is sealed under an older one.
type rewrapArgs struct{}

func (rewrapArgs) Kind() string { return "rewrap" }

type rewrapper struct {
	river.WorkerDefaults[rewrapArgs]
	pool    *pgxpool.Pool
	keyring *encryption.Keyring
}

// Timeout is a turn's: what is done by then stays done, and a turn that died with its replica is begun again this long after it began.
func (w *rewrapper) Timeout(*river.Job[rewrapArgs]) time.Duration { return 10 * time.Minute }

// Work fails when values are left under an older key.
func (w *rewrapper) Work(ctx context.Context, _ *river.Job[rewrapArgs]) error {
	_, err := encryption.RewrapAll(ctx, w.pool, w.keyring, Sealed(), nil)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return river.JobSnooze(time.Second) // others get their turn
	}
	return err
}

// addRewrap makes the queue re-wrap, once an hour, while there is an older key from which something may be left.
func addRewrap(queue *work.Queue, pool *pgxpool.Pool, keyring *encryption.Keyring) {
	work.Add(queue, &rewrapper{pool: pool, keyring: keyring})
	if keyring.Older() == 0 {
		return
	}
	queue.Periodic("rewrap", time.Hour, func() (river.JobArgs, *river.InsertOpts) {
		return rewrapArgs{}, &river.InsertOpts{MaxAttempts: 3, UniqueOpts: river.UniqueOpts{ByPeriod: time.Hour}}
	})
}
