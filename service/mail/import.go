package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/smart-assistant/platform/service/mail/message"
)

// How an import is cut into transactions, and how many run at once in a replica: each holds a batch in memory.
const (
	importMessages = 100
	importBytes    = 8 << 20
	importPatience = 15 * time.Second // with the database, a batch
	maxImports     = 4
	maxSkips       = 1000 // that a report lists
)

// Report is what became of an import.
type Report struct {
	Imported   int           `json:"imported"`
	Duplicates int           `json:"duplicates" doc:"Messages that were there already"`
	Skipped    []Skip        `json:"skipped" doc:"The first 1000 messages that were not kept"`
	Took       time.Duration `json:"-"`
	Seconds    float64       `json:"took" doc:"Seconds"`
}

// Skip is a message that was not kept.
type Skip struct {
	Number int    `json:"number" doc:"In the file, counted from 1"`
	Reason string `json:"reason"`
}

var (
	// ErrBusy is an import that has to wait until others are done.
	ErrBusy = errors.New("too many imports are running")
	// ErrUnknownUser is a user who was deleted.
	ErrUnknownUser = errors.New("no such user")
	// errSilent is a batch that was not stored in time.
	errSilent = fmt.Errorf("the database did not answer within %s", importPatience)
)

// Import stores the messages of an mbox, of a tar of Maildirs, or one message (message.Open), and commits as it reads. Wherever it is cut
// off, importing the same file again stores exactly the rest. With an error the report says what was stored before it: message.ErrFormat and
// message.ErrBroken for files that are none, ErrBusy, ErrUnknownUser, or the reader's or database's own.
func (s *Service) Import(ctx context.Context, userID string, file io.Reader) (Report, error) {
	select {
	case s.imports <- struct{}{}:
		defer func() { <-s.imports }()
	default:
		return Report{}, ErrBusy
	}
	var user *owner
	if err := patiently(ctx, func(ctx context.Context) (err error) {
		user, err = s.indexOf(ctx, s.config.Pool, userID)
		return err
	}); err != nil {
		return Report{}, err
	}
	began := s.config.Now()
	run := &importing{Service: s, user: user, report: Report{Skipped: []Skip{}}}
	err := run.all(ctx, file)
	run.report.Took = s.config.Now().Sub(began)
	run.report.Seconds = run.report.Took.Seconds()
	if err != nil {
		return run.report, fmt.Errorf("import mail of %s: %w", userID, err)
	}
	return run.report, nil
}

// importing is one run of an import.
type importing struct {
	*Service
	user   *owner
	report Report
	batch  []*draft
	bytes  int64
	began  time.Time // of the batch
}

func (r *importing) all(ctx context.Context, file io.Reader) error {
	archive, err := message.Open(file, MaxMessage)
	if err != nil {
		return err
	}
	r.began = r.config.Now()
	for number := 1; ; number++ {
		raw, err := archive.Next()
		switch {
		case errors.Is(err, message.ErrTooLarge):
			r.skip(number, fmt.Sprintf("it is larger than %d MiB", MaxMessage>>20))
			continue
		case errors.Is(err, io.EOF):
			return r.flush(ctx)
		case errors.Is(err, message.ErrBroken):
			return errors.Join(err, r.flush(ctx))
		case err != nil:
			return err
		}
		draft := r.read(r.user, raw)
		if draft.empty != nil {
			r.skip(number, draft.empty.Error())
			continue
		}
		r.batch = append(r.batch, draft)
		if r.bytes += draft.size; len(r.batch) >= importMessages || r.bytes >= importBytes {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
}

func (r *importing) skip(number int, reason string) {
	r.metrics.skipped()
	if len(r.report.Skipped) < maxSkips {
		r.report.Skipped = append(r.report.Skipped, Skip{number, reason})
	}
}

// patiently does something with the database. One that falls silent ends it in a while, not when TCP gives up.
func patiently(ctx context.Context, do func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, importPatience)
	defer cancel()
	err := do(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return errors.Join(errSilent, err)
	}
	return err
}

// commit stores the batch.
func (r *importing) commit(ctx context.Context) (stored []Stored, err error) {
	err = pgx.BeginFunc(ctx, r.config.Pool, func(tx pgx.Tx) (err error) {
		for _, d := range r.batch {
			d.id, d.attachments = "", nil
		}
		stored, err = r.storeAll(ctx, tx, r.user, Origin{}, r.batch)
		return err
	})
	return stored, err
}

// flush commits the batch. Transactions that PostgreSQL ends for another's sake are done again.
func (r *importing) flush(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	var stored []Stored
	for attempt := 1; ; attempt++ {
		err := patiently(ctx, func(ctx context.Context) (err error) {
			stored, err = r.commit(ctx)
			return err
		})
		var failure *pgconn.PgError
		switch {
		case err == nil:
		case !errors.As(err, &failure) || attempt == 5:
			return err
		case failure.Code == "40P01" || failure.Code == "40001": // deadlock_detected, serialization_failure
			continue
		case failure.Code == "23503": // foreign_key_violation
			return ErrUnknownUser
		default:
			return err
		}
		break
	}
	now := r.config.Now()
	each := now.Sub(r.began) / time.Duration(len(stored))
	for _, one := range stored {
		r.metrics.processed(fromImport, one.New, each)
		if one.New {
			r.report.Imported++
		} else {
			r.report.Duplicates++
		}
	}
	r.batch, r.bytes, r.began = nil, 0, now
	return nil
}
