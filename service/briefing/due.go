package briefing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/briefing/briefingdb"
	"github.com/smart-assistant/platform/service/work"
)

const (
	// late is how long after its time a missed briefing is still made up for. After that the next one tells it all.
	late = 6 * time.Hour
	// forgotten is the age of a pending briefing that nobody writes any more.
	forgotten = 24 * time.Hour
	// batch is how many schedules a transaction holds.
	batch = 100
)

// dueArgs is the job that looks for schedules that are due.
type dueArgs struct{}

func (dueArgs) Kind() string { return "briefings_due" }

// writeArgs is the job that writes a pending briefing.
type writeArgs struct {
	UserID     string `json:"user_id"`
	BriefingID string `json:"briefing_id"`
}

func (writeArgs) Kind() string { return "briefing_write" }

func (s *Service) addWorkers(queue *work.Queue) {
	work.Add(queue, &dueWorker{service: s})
	work.Add(queue, &writeWorker{service: s})
	queue.Periodic("briefings_due", time.Minute, func() (river.JobArgs, *river.InsertOpts) {
		return dueArgs{}, &river.InsertOpts{
			Queue: work.Briefings, Priority: 1, MaxAttempts: 3, UniqueOpts: river.UniqueOpts{ByPeriod: time.Minute},
		}
	})
}

type dueWorker struct {
	river.WorkerDefaults[dueArgs]
	service *Service
}

// Work claims until nothing is due.
func (w *dueWorker) Work(ctx context.Context, _ *river.Job[dueArgs]) error {
	for {
		n, err := w.service.claim(ctx)
		if err != nil {
			return err
		}
		if n < batch {
			break
		}
	}
	_, err := w.service.db.FailForgotten(ctx, briefingdb.FailForgottenParams{
		Problem: "it was not written within a day", Before: w.service.moment().Add(-forgotten),
	})
	if err != nil {
		return fmt.Errorf("give up on forgotten briefings: %w", err)
	}
	return nil
}

// claim takes schedules that are due, and for each, in one transaction, adds the period's briefing with the job that writes it and moves
// the schedule on. It returns how many schedules it took. Any number of replicas may claim at once.
func (s *Service) claim(ctx context.Context) (n int, err error) {
	now := s.moment()
	err = pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		rows, err := s.db.WithTx(tx).LockDue(ctx, briefingdb.LockDueParams{Now: now, Most: batch})
		if err != nil {
			return err
		}
		n = len(rows)
		for _, row := range rows {
			if err := s.move(ctx, tx, row, now); err != nil {
				return fmt.Errorf("of %s: %w", row.UserID, err)
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("claim briefings that are due: %w", err)
	}
	return n, nil
}

// move adds the briefing that a schedule asks for now, if it does, and computes when it is due next.
func (s *Service) move(ctx context.Context, tx pgx.Tx, row briefingdb.LockDueRow, now time.Time) error {
	db := s.db.WithTx(tx)
	zone, err := time.LoadLocation(row.TimeZone)
	if err != nil { // a build that knows other zones wrote it: never due, until the user says another
		s.config.Log.WarnContext(ctx, "a briefing schedule has an unknown time zone", "zone", row.TimeZone, "error", err)
		return db.MoveSchedule(ctx, briefingdb.MoveScheduleParams{UserID: row.UserID})
	}
	from := row.UpdatedAt
	if row.Computed {
		from = row.NextAt.Add(-time.Nanosecond)
	}
	if oldest := now.Add(-late); from.Before(oldest) {
		from = oldest
	}
	table := timetable{zone, int(row.Minute)}
	at, day := table.next(from)
	if !at.After(now) {
		if err := s.addScheduled(ctx, tx, row.UserID, day, now); err != nil {
			return err
		}
		at, _ = table.next(at)
	}
	return db.MoveSchedule(ctx, briefingdb.MoveScheduleParams{UserID: row.UserID, NextAt: &at})
}

// addScheduled adds a period's pending briefing and the job that writes it, unless the period has one.
func (s *Service) addScheduled(ctx context.Context, tx pgx.Tx, userID string, day, now time.Time) error {
	db := s.db.WithTx(tx)
	since, err := s.since(ctx, db, userID, now)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	sealed, err := s.seal(content{Sources: []Source{}}, userID, id.String())
	if err != nil {
		return err
	}
	added, err := db.AddScheduled(ctx, briefingdb.AddScheduledParams{
		ID: id.String(), UserID: userID, Period: pgtype.Date{Time: day, Valid: true}, Since: since, Until: now, Content: sealed, CreatedAt: now,
	})
	if err != nil || added == 0 {
		return err
	}
	return s.config.Queue.Insert(ctx, tx, writeArgs{userID, id.String()}, &river.InsertOpts{
		Queue: work.Briefings, Priority: 2, MaxAttempts: 8, // an hour, all in all
	})
}

type writeWorker struct {
	river.WorkerDefaults[writeArgs]
	service *Service
}

// Timeout leaves room for a model that takes its time, and for the fallback.
func (w *writeWorker) Timeout(*river.Job[writeArgs]) time.Duration {
	return 4*w.service.config.Patience + 30*time.Second
}

// disabledPause is how long a briefing of a disabled user waits before it is looked at again.
const disabledPause = 10 * time.Minute

// Work writes the briefing, or marks it as failed when this was the last attempt. That of a disabled user waits, until it is forgotten.
func (w *writeWorker) Work(ctx context.Context, j *river.Job[writeArgs]) error {
	disabled, err := w.service.db.UserIsDisabled(ctx, j.Args.UserID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the user of briefing %s: %w", j.Args.BriefingID, err)
	}
	if disabled {
		return river.JobSnooze(disabledPause)
	}
	err = w.service.writePending(ctx, j.Args.UserID, j.Args.BriefingID)
	if err == nil || j.Attempt < j.MaxAttempts {
		return err
	}
	failure := w.service.db.FailPending(context.WithoutCancel(ctx), briefingdb.FailPendingParams{
		Problem: "it could not be written", ID: j.Args.BriefingID, UserID: j.Args.UserID,
	})
	return errors.Join(err, failure)
}

// writePending writes a briefing that is pending. One that is not, or is gone, needs nothing more.
func (s *Service) writePending(ctx context.Context, userID, id string) error {
	row, err := s.db.Briefing(ctx, briefingdb.BriefingParams{ID: id, UserID: userID})
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.State != "pending" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read briefing %s of %s: %w", id, userID, err)
	}
	text, err := s.write(ctx, userID, row.Since.UTC(), row.Until.UTC(), 4*s.config.Patience)
	if err != nil {
		return fmt.Errorf("write briefing %s of %s: %w", id, userID, err)
	}
	sealed, err := s.seal(text.content, userID, id)
	if err != nil {
		return err
	}
	ready := s.moment()
	_, err = s.db.FinishPending(ctx, briefingdb.FinishPendingParams{
		Writer: text.writer, Content: sealed, ReadyAt: &ready, ID: id, UserID: userID,
	})
	if err != nil {
		return fmt.Errorf("keep briefing %s of %s: %w", id, userID, err)
	}
	return nil
}
