package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/smart-assistant/platform/service/account/accountdb"
	"github.com/smart-assistant/platform/service/work"
)

// Eraser deletes a part's share of what is kept about a user whom nobody finds any more: a few hundred rows at a time, since a user may
// have millions, and begun again wherever it broke off. The attempts count from 1; what needs somebody else's word, such as the taking
// back of a consent, is given up after some.
type Eraser interface {
	Erase(ctx context.Context, userID string, attempt int) error
}

type namedEraser struct {
	name string
	Eraser
}

// AddEraser adds a part to the erasing of users; the name is for errors. It is called before the service is used.
func (s *Service) AddEraser(name string, e Eraser) {
	s.erasers = append(s.erasers, namedEraser{name, e})
}

// OnDelete adds what else has to be so when a deletion is answered, in its transaction. It is called before the service is used.
func (s *Service) OnDelete(do func(ctx context.Context, tx pgx.Tx, userID string) error) {
	s.onDelete = append(s.onDelete, do)
}

// hide makes a user whose row is locked unreachable, and has what hangs on the row erased.
func (s *Service) hide(ctx context.Context, tx pgx.Tx, userID string) error {
	db, now := s.db.WithTx(tx), s.config.Now()
	if err := db.HideUser(ctx, accountdb.HideUserParams{ID: userID, Now: &now}); err != nil {
		return fmt.Errorf("hide user %s: %w", userID, err)
	}
	if err := db.DeleteIndexKey(ctx, userID); err != nil {
		return fmt.Errorf("delete the index key of %s: %w", userID, err)
	}
	for _, do := range s.onDelete {
		if err := do(ctx, tx, userID); err != nil {
			return err
		}
	}
	if s.queue == nil {
		return nil // whoever has one looks for those who are left
	}
	return s.queue.Insert(ctx, tx, eraseArgs{userID}, nil)
}

// eraseArgs is the job that erases what a deleted user had.
type eraseArgs struct {
	UserID string `json:"user_id"`
}

func (eraseArgs) Kind() string { return "account-erase" }

// InsertOpts implements river.JobArgsWithInsertOpts: one job a user.
func (eraseArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}}}
}

// forgottenArgs is the job that looks for deleted users whose erasing came to nothing.
type forgottenArgs struct{}

func (forgottenArgs) Kind() string { return "account-erase-forgotten" }

const mostForgotten = 500 // that are looked at in one go

func (s *Service) addErasing(queue *work.Queue) {
	work.Add(queue, &eraseWorker{accounts: s})
	work.Add(queue, river.WorkFunc(func(ctx context.Context, _ *river.Job[forgottenArgs]) error { return s.eraseForgotten(ctx) }))
	queue.Periodic("account-erase-forgotten", 10*time.Minute, func() (river.JobArgs, *river.InsertOpts) {
		return forgottenArgs{}, &river.InsertOpts{MaxAttempts: 3, UniqueOpts: river.UniqueOpts{ByPeriod: 10 * time.Minute}}
	})
}

// eraseForgotten puts a job into the queue for each deleted user who has none.
func (s *Service) eraseForgotten(ctx context.Context) error {
	users, err := s.db.DeletedUsers(ctx, mostForgotten)
	if err != nil {
		return fmt.Errorf("look for deleted users: %w", err)
	}
	for _, user := range users {
		if err := s.queue.Insert(ctx, nil, eraseArgs{user}, nil); err != nil {
			return err
		}
	}
	return nil
}

type eraseWorker struct {
	river.WorkerDefaults[eraseArgs]
	accounts *Service
}

// Timeout is a turn's; what is done by then stays done.
func (w *eraseWorker) Timeout(*river.Job[eraseArgs]) time.Duration { return 5 * time.Minute }

func (w *eraseWorker) Work(ctx context.Context, job *river.Job[eraseArgs]) error {
	err := w.accounts.erase(ctx, job.Args.UserID, job.Attempt)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return river.JobSnooze(time.Second) // others get their turn
	}
	return err
}

// erase deletes what a deleted user had, and the user last. A part that fails does not keep the others from their share.
func (s *Service) erase(ctx context.Context, userID string, attempt int) error {
	var failures []error
	for _, e := range s.erasers {
		if err := e.Erase(ctx, userID, attempt); err != nil {
			failures = append(failures, fmt.Errorf("erase %s of %s: %w", e.name, userID, err))
		}
	}
	if err := s.eraseAccount(ctx, userID); err != nil {
		failures = append(failures, fmt.Errorf("erase the account of %s: %w", userID, err))
	}
	if len(failures) > 0 {
		return errors.Join(failures...)
	}
	if err := s.db.DeleteUser(ctx, userID); err != nil {
		return fmt.Errorf("delete user %s: %w", userID, err)
	}
	return nil
}

// eraseAccount deletes the sessions, with their refresh tokens, and takes out of the audit log what tells more than an id.
func (s *Service) eraseAccount(ctx context.Context, userID string) error {
	if err := work.Batches(ctx, func(ctx context.Context) (int64, error) { return s.db.DeleteSessionsOf(ctx, userID) }); err != nil {
		return err
	}
	for before := endOfTime; ; {
		rows, err := s.db.BlankAuditEventsOf(ctx, accountdb.BlankAuditEventsOfParams{UserID: &userID, Before: before.At, BeforeID: before.ID})
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			if row.At.Before(before.At) || row.At.Equal(before.At) && row.ID < before.ID {
				before = moment{row.At, row.ID}
			}
		}
	}
	for after := noUser; ; {
		ids, err := s.db.BlankAuditEventsBy(ctx, accountdb.BlankAuditEventsByParams{ActorID: &userID, After: after})
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return nil
		}
		for _, id := range ids {
			after = max(after, id)
		}
	}
}
