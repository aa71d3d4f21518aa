package job

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/smart-assistant/platform/service/job/feed"
	"github.com/smart-assistant/platform/service/job/jobdb"
	"github.com/smart-assistant/platform/service/work"
)

const (
	interval    = time.Hour       // between fetches of a source
	firstPause  = 5 * time.Minute // after a failure; twice that after each more
	longest     = 24 * time.Hour
	maxFailures = 10  // in a row; then it has failed
	maxDue      = 500 // sources that are put into the queue at once
)

// pause is the time to a source's next fetch. A tenth of it is the source's own, other each time, so that sources which were added
// together, or failed together, do not come together for ever.
func pause(sourceID string, now time.Time, failures int) time.Duration {
	wait := interval
	if failures > 0 {
		wait = min(firstPause<<min(failures-1, 10), longest)
	}
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(sourceID), uint64(now.UnixNano()))) //nolint:gosec // bits
	return wait + time.Duration(float64(wait)/10*float64(binary.BigEndian.Uint32(sum[:]))/(1<<32))
}

// dueArgs is the job that looks for sources which are due.
type dueArgs struct{}

func (dueArgs) Kind() string { return "job_sources_due" }

// fetchArgs is the job that fetches a source.
type fetchArgs struct {
	SourceID string `json:"source_id"`
}

func (fetchArgs) Kind() string { return "job_source_fetch" }

// InsertOpts implements river.JobArgsWithInsertOpts: a source is fetched by one worker at a time.
func (fetchArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: work.Jobs, MaxAttempts: 5, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}}}
}

func (s *Service) addWorkers() {
	work.Add(s.config.Queue, river.WorkFunc(func(ctx context.Context, _ *river.Job[dueArgs]) error { return s.queueDue(ctx) }))
	work.Add(s.config.Queue, river.WorkFunc(func(ctx context.Context, job *river.Job[fetchArgs]) error {
		return s.refresh(ctx, job.Args.SourceID)
	}))
	work.Add(s.config.Queue, river.WorkFunc(func(ctx context.Context, job *river.Job[lookBackArgs]) error { return s.lookBack(ctx, job.Args) }))
	s.config.Queue.Periodic("job_sources_due", time.Minute, func() (river.JobArgs, *river.InsertOpts) {
		return dueArgs{}, &river.InsertOpts{Queue: work.Jobs, UniqueOpts: river.UniqueOpts{ByPeriod: time.Minute}}
	})
}

// queueDue puts a job into the queue for each source that is due and has none.
func (s *Service) queueDue(ctx context.Context) error {
	due, err := s.db.DueSources(ctx, jobdb.DueSourcesParams{Now: s.config.Now(), Most: maxDue})
	if err != nil {
		return fmt.Errorf("look for due job sources: %w", err)
	}
	return pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		for _, id := range due {
			if err := s.config.Queue.Insert(ctx, tx, fetchArgs{SourceID: id}, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// refresh fetches a source if it is due, and stores what it says. A source that fails is no error of the job: when it comes again is
// noted in its row.
func (s *Service) refresh(ctx context.Context, id string) error {
	source, err := s.db.SourceToFetch(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read job source %s: %w", id, err)
	}
	if source.State != active || source.NextFetchAt.After(s.config.Now()) {
		return nil
	}
	mapping, err := mappingOf(source.Mapping)
	if err != nil {
		return err
	}
	got, err := s.fetch(ctx, request{
		kind: feed.Kind(source.Kind), url: source.Url, mapping: mapping, etag: source.Etag, lastModified: source.LastModified,
	})
	if ctx.Err() != nil {
		return ctx.Err() // the replica stops, which says nothing about the source
	}
	if problem, is := errors.AsType[*SourceError](err); is {
		return s.fetchFailed(ctx, source, problem)
	}
	if err != nil {
		return err
	}
	return s.fetched(ctx, source, got)
}

// fetched stores an answer, unless the source became another one meanwhile.
func (s *Service) fetched(ctx context.Context, source jobdb.JobSource, got answer) error {
	now := s.config.Now()
	if got.unchanged && got.etag == "" { // a 304 need not repeat them
		got.etag = source.Etag
	}
	if got.unchanged && got.lastModified == "" {
		got.lastModified = source.LastModified
	}
	found := 0
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		n, err := s.db.WithTx(tx).SourceFetched(ctx, jobdb.SourceFetchedParams{
			ID: source.ID, UserID: source.UserID, Url: source.Url, Etag: got.etag, LastModified: got.lastModified,
			FetchedAt: &now, NextFetchAt: now.Add(pause(source.ID, now, 0)),
		})
		if err != nil || n == 0 {
			return err
		}
		found, err = s.keep(ctx, tx, source.UserID, source.ID, got.document.Items)
		return err
	})
	if err != nil {
		return fmt.Errorf("store what job source %s says: %w", source.ID, err)
	}
	s.metrics.discovered.Add(float64(found))
	return nil
}

func (s *Service) fetchFailed(ctx context.Context, source jobdb.JobSource, problem *SourceError) error {
	now, failures, state := s.config.Now(), int(source.Failures)+1, active
	if problem.Gone || failures >= maxFailures {
		state = failed
	}
	wait := max(pause(source.ID, now, failures), problem.RetryAfter)
	if err := s.db.SourceFailed(ctx, jobdb.SourceFailedParams{
		ID: source.ID, UserID: source.UserID, Url: source.Url, State: state, Problem: problem.Problem, NextFetchAt: now.Add(wait),
	}); err != nil {
		return fmt.Errorf("note that job source %s failed: %w", source.ID, err)
	}
	s.config.Log.InfoContext(ctx, "job source failed", "source", source.ID, "failures", failures, "state", state)
	return nil
}
