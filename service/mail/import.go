package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/mail/message"
	"github.com/smart-assistant/platform/service/telemetry"
)

// How an import is cut into transactions, and how many run at once in a replica: each holds a batch in memory. It has to come with a
// minimum of bytes in each stretch of reading, because it keeps others out meanwhile.
const (
	importMessages = 100
	importBytes    = 4 << 20
	importStretch  = time.Minute
	importLeast    = 1 << 20          // bytes
	importPatience = 10 * time.Second // with the database, a batch
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
	// ErrSlow is a file that comes too slowly.
	ErrSlow = fmt.Errorf("the file comes with less than %d MiB in %s", importLeast>>20, importStretch)
	// ErrUnknownUser is a user who was deleted.
	ErrUnknownUser = errors.New("no such user")
	// errSilent is a batch that was not stored in time.
	errSilent = fmt.Errorf("the database did not answer within %s", importPatience)
)

// Import stores the messages of an mbox, of a tar of Maildirs, or one message (message.Open), and commits as it reads. Wherever it is cut
// off, importing the same file again stores exactly the rest. With an error the report says what was stored before it: message.ErrFormat and
// message.ErrBroken for files that are none, ErrTwice, ErrBusy, ErrSlow, ErrUnknownUser, or the reader's or database's own.
func (s *Service) Import(ctx context.Context, userID string, file io.Reader) (Report, error) {
	now, cancel := context.WithCancel(ctx)
	cancel() // it does not wait: its file would, and come too slowly
	end, err := s.imports.begin(now, userID)
	if err != nil {
		return Report{}, err
	}
	defer end()
	var user *owner
	if err := patiently(ctx, func(ctx context.Context) (err error) {
		user, err = s.indexOf(ctx, s.config.Pool, userID)
		return err
	}); err != nil {
		return Report{}, err
	}
	began := s.config.Now()
	run := &importing{Service: s, user: user, report: Report{Skipped: []Skip{}}, leave: func() {}}
	defer func() { run.leave() }()
	err = run.all(ctx, &steady{Reader: file, now: s.config.Now})
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
	large  bool      // the batch is one large message, which has its room already
	leave  func()    // gives that room back
	began  time.Time // of the batch
}

// steady is a file that has to come steadily. Time counts while it is read, and not while what was read is stored.
type steady struct {
	io.Reader
	now   telemetry.Clock
	took  time.Duration
	bytes int
}

func (s *steady) Read(p []byte) (int, error) {
	began := s.now()
	n, err := s.Reader.Read(p)
	s.took, s.bytes = s.took+s.now().Sub(began), s.bytes+n
	switch {
	case s.took < importStretch:
	case s.bytes < importLeast && err == nil:
		return n, ErrSlow
	default:
		s.took, s.bytes = 0, 0
	}
	return n, err
}

func (r *importing) all(ctx context.Context, file io.Reader) error {
	archive, err := message.Open(file, message.Limits{Message: MaxMessage, Large: largeMessage, Grow: func() error { return r.grow(ctx) }})
	if err != nil {
		return err
	}
	r.began = r.config.Now()
	for number := 1; ; number++ {
		raw, err := archive.Next()
		switch {
		case errors.Is(err, message.ErrTooLarge):
			r.skip(number, fmt.Sprintf("it is larger than %d MiB", MaxMessage>>20))
			r.leave()
			r.large = false
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
			r.leave()
			r.large = false
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

// grow makes room for a message that turns out to be large. What was read before it goes first, so that nobody waits with his hands full.
func (r *importing) grow(ctx context.Context) (err error) {
	if err := r.flush(ctx); err != nil {
		return err
	}
	r.leave, err = r.room.take(ctx, MaxMessage, MaxMessage)
	r.large = err == nil
	return err
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

// flush stores the batch. What takes the processor is done before the transaction, which has to be short.
func (r *importing) flush(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	if !r.large {
		leave, err := r.room.take(ctx, r.bytes, 0)
		if err != nil {
			return err
		}
		r.leave = leave
	}
	defer func() { r.leave(); r.large = false }()
	var ids map[string]string
	if err := patiently(ctx, func(ctx context.Context) (err error) {
		ids, err = known(ctx, maildb.New(r.config.Pool), r.user, r.batch)
		return err
	}); err != nil {
		return err
	}
	fresh, err := r.composeNew(r.user, Origin{}, r.batch, ids)
	if err != nil {
		return err
	}
	stored, err := r.commit(ctx, fresh)
	if err != nil {
		return err
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

// commit stores the new messages of the batch. Transactions that PostgreSQL ends for another's sake are done again.
func (r *importing) commit(ctx context.Context, fresh []*draft) (stored []Stored, err error) {
	err = retried(func() error {
		return patiently(ctx, func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, r.config.Pool, func(tx pgx.Tx) (err error) {
				stored, err = r.insert(ctx, tx, r.user, r.batch, fresh)
				return err
			})
		})
	})
	var failure *pgconn.PgError
	if errors.As(err, &failure) && failure.Code == "23503" { // foreign_key_violation
		return nil, ErrUnknownUser
	}
	return stored, err
}
