package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/job/feed"
	"github.com/smart-assistant/platform/service/job/jobdb"
)

// maxSources is how many sources a user may have.
const maxSources = 100

// Source is where postings come from.
type Source struct {
	ID          string        `json:"id" format:"uuid"`
	Kind        feed.Kind     `json:"kind" enum:"feed,api"`
	URL         string        `json:"url" format:"uri"`
	Name        string        `json:"name"`
	Mapping     *feed.Mapping `json:"mapping,omitempty" doc:"Of an API: where in its answer the postings are"`
	State       string        `json:"state" enum:"active,paused,failed" doc:"failed: it is not fetched any more, because it failed too often or is gone"`
	Problem     string        `json:"problem,omitempty" doc:"Why the last fetch failed"`
	Failures    int           `json:"failures" doc:"Fetches that failed in a row"`
	FetchedAt   *time.Time    `json:"fetched_at,omitempty" doc:"When it was last read, or found unchanged"`
	NextFetchAt time.Time     `json:"next_fetch_at" doc:"When it is due, while it is active"`
	CreatedAt   time.Time     `json:"created_at"`
	UpdatedAt   time.Time     `json:"updated_at"`
}

// NewSource is what makes a source.
type NewSource struct {
	URL     string        `json:"url" minLength:"1" maxLength:"2000" example:"https://example.com/jobs.rss"`
	Kind    feed.Kind     `json:"kind,omitempty" enum:"auto,feed,api" default:"auto" doc:"auto finds out"`
	Name    string        `json:"name,omitempty" maxLength:"200" doc:"Defaults to what the feed calls itself, or the host"`
	Mapping *feed.Mapping `json:"mapping,omitempty" doc:"Of an API; without one, common shapes are recognised"`
}

// SourceChange has the fields to change; nil leaves a field as it is.
type SourceChange struct {
	URL     *string       `json:"url,omitempty" minLength:"1" maxLength:"2000"`
	Name    *string       `json:"name,omitempty" maxLength:"200"`
	State   *string       `json:"state,omitempty" enum:"active,paused" doc:"active resumes a source that is paused or failed"`
	Mapping *feed.Mapping `json:"mapping,omitempty"`
}

// AddSource fetches a source, and keeps it and its postings when it could be read. SourceError when not, InvalidError or
// ConflictError when it cannot be kept.
func (s *Service) AddSource(ctx context.Context, userID string, add NewSource) (Source, error) {
	if add.Kind == "" {
		add.Kind = feed.Auto
	}
	ask, err := requestOf(add.URL, add.Kind, add.Mapping)
	if err != nil {
		return Source{}, err
	}
	if err := checkText("name", add.Name, 200); err != nil {
		return Source{}, err
	}
	if n, err := s.db.CountSources(ctx, userID); err != nil {
		return Source{}, fmt.Errorf("count job sources of %s: %w", userID, err)
	} else if n >= maxSources {
		return Source{}, &ConflictError{fmt.Sprintf("there are %d job sources already; delete one first", n)}
	}
	got, err := s.fetch(ctx, ask)
	if err != nil {
		return Source{}, err
	}
	id, err := newID()
	if err != nil {
		return Source{}, err
	}
	now := s.config.Now()
	row := jobdb.JobSource{
		ID: id, UserID: userID, Kind: string(got.document.Kind), Url: ask.url, Name: nameOf(add.Name, got.document.Name, ask.url),
		State: active, Etag: got.etag, LastModified: got.lastModified, FetchedAt: &now, NextFetchAt: now.Add(pause(id, now, 0)),
		CreatedAt: now, UpdatedAt: now,
	}
	if row.Mapping, err = json.Marshal(got.document.Mapping); err != nil {
		return Source{}, fmt.Errorf("write a mapping: %w", err)
	}
	found := 0
	err = pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		if err := s.db.WithTx(tx).CreateSource(ctx, jobdb.CreateSourceParams{
			ID: row.ID, UserID: row.UserID, Kind: row.Kind, Url: row.Url, Name: row.Name, Mapping: row.Mapping, Etag: row.Etag,
			LastModified: row.LastModified, FetchedAt: row.FetchedAt, NextFetchAt: row.NextFetchAt, CreatedAt: row.CreatedAt,
		}); err != nil {
			return err
		}
		found, err = s.keep(ctx, tx, userID, id, got.document.Items)
		return err
	})
	if err != nil {
		return Source{}, storedSource(err)
	}
	s.metrics.discovered.Add(float64(found))
	return sourceOf(row)
}

// The states of a source.
const (
	active = "active"
	paused = "paused"
	failed = "failed"
)

// requestOf checks what a user says of a source.
func requestOf(address string, kind feed.Kind, mapping *feed.Mapping) (request, error) {
	if err := checkText("url", address, 2000); err != nil {
		return request{}, err
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return request{}, &InvalidError{"url", "is not one that begins with http:// or https:// and names a host"}
	case u.User != nil:
		return request{}, &InvalidError{"url", "has a user name or password in it; sources have to be readable without"}
	}
	u.Fragment = ""
	ask := request{kind: kind, url: u.String()}
	if mapping == nil || *mapping == (feed.Mapping{}) {
		return ask, nil
	}
	if kind == feed.Feed {
		return request{}, &InvalidError{"mapping", "is for APIs, and this is a feed"}
	}
	if err := mapping.Check(); err != nil {
		return request{}, &InvalidError{"mapping", "cannot be used: " + err.Error()}
	}
	ask.kind, ask.mapping = feed.API, *mapping
	return ask, nil
}

// nameOf is what a source is called: as the user says, as it says itself, or after its host.
func nameOf(said, own, address string) string {
	if said != "" {
		return said
	}
	if own != "" {
		return own
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// storedSource says what an error of storing a source means.
func storedSource(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" && pg.ConstraintName == "job_sources_user_id_url_key" { // unique_violation
		return &ConflictError{"there is a job source with this URL already"}
	}
	return kept(err, "store a job source")
}

// Sources returns a user's sources, oldest first.
func (s *Service) Sources(ctx context.Context, userID string, page api.Page) ([]Source, string, error) {
	after, _, err := api.Position[uuid.UUID](page.Cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.db.Sources(ctx, jobdb.SourcesParams{UserID: userID, After: after.String(), Most: most(page)})
	if err != nil {
		return nil, "", fmt.Errorf("list job sources of %s: %w", userID, err)
	}
	sources, err := each(rows[:min(len(rows), size(page))], sourceOf)
	if err != nil || len(rows) <= size(page) {
		return sources, "", err
	}
	cursor, err := api.Cursor(sources[len(sources)-1].ID)
	return sources, cursor, err
}

// Source returns one source.
func (s *Service) Source(ctx context.Context, userID, id string) (Source, error) {
	row, err := s.db.Source(ctx, jobdb.SourceParams{ID: id, UserID: userID})
	if err != nil {
		return Source{}, kept(err, "read job source "+id)
	}
	return sourceOf(row)
}

// ChangeSource changes a source. With another URL or mapping it is fetched first, and stays as it was when that fails.
func (s *Service) ChangeSource(ctx context.Context, userID, id string, change SourceChange) (Source, error) {
	if change.Name != nil {
		if err := checkText("name", *change.Name, 200); err != nil {
			return Source{}, err
		}
	}
	former, err := s.db.Source(ctx, jobdb.SourceParams{ID: id, UserID: userID})
	if err != nil {
		return Source{}, kept(err, "read job source "+id)
	}
	var got *answer
	ask := request{url: former.Url}
	if change.URL != nil || change.Mapping != nil {
		address, kind := former.Url, feed.Auto
		if change.URL != nil {
			address = *change.URL
		}
		if ask, err = requestOf(address, kind, change.Mapping); err != nil {
			return Source{}, err
		}
		said, err := s.fetch(ctx, ask)
		if err != nil {
			return Source{}, err
		}
		got = &said
	}
	return s.storeChange(ctx, userID, id, change, ask.url, got)
}

// storeChange writes what ChangeSource found out.
func (s *Service) storeChange(ctx context.Context, userID, id string, change SourceChange, address string, got *answer) (Source, error) {
	var row jobdb.JobSource
	found := 0
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := s.db.WithTx(tx)
		var err error
		if row, err = db.LockSource(ctx, jobdb.LockSourceParams{ID: id, UserID: userID}); err != nil {
			return err
		}
		now := s.config.Now()
		row.UpdatedAt = now
		if change.Name != nil {
			row.Name = nameOf(*change.Name, "", address)
		}
		if change.State != nil && *change.State != row.State {
			row.State = *change.State
			row.Failures, row.Problem, row.NextFetchAt = 0, "", now
		}
		if got != nil && row.Url != address { // another feed, in which a name may stand for another job
			if err := db.ForgetItems(ctx, id); err != nil {
				return err
			}
		}
		if got != nil {
			if row.Mapping, err = json.Marshal(got.document.Mapping); err != nil {
				return err
			}
			row.Url, row.Kind = address, string(got.document.Kind)
			row.Etag, row.LastModified, row.FetchedAt = got.etag, got.lastModified, &now
			row.Failures, row.Problem, row.NextFetchAt = 0, "", now.Add(pause(id, now, 0))
			if row.State == failed {
				row.State = active
			}
		}
		if err := db.UpdateSource(ctx, updateOf(row)); err != nil || got == nil {
			return err
		}
		found, err = s.keep(ctx, tx, userID, id, got.document.Items)
		return err
	})
	if err != nil {
		return Source{}, storedSource(err)
	}
	s.metrics.discovered.Add(float64(found))
	return sourceOf(row)
}

// DeleteSource removes a source. Its postings stay: somebody may have applied.
func (s *Service) DeleteSource(ctx context.Context, userID, id string) error {
	n, err := s.db.DeleteSource(ctx, jobdb.DeleteSourceParams{ID: id, UserID: userID})
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return kept(err, "delete job source "+id)
}

// FetchNow makes a source due at once and, where it had failed, active again.
func (s *Service) FetchNow(ctx context.Context, userID, id string) (Source, error) {
	var row jobdb.JobSource
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := s.db.WithTx(tx)
		var err error
		if row, err = db.LockSource(ctx, jobdb.LockSourceParams{ID: id, UserID: userID}); err != nil {
			return err
		}
		if row.State == paused {
			return &ConflictError{"the source is paused; resume it first"}
		}
		row.State, row.NextFetchAt = active, s.config.Now()
		if err := db.UpdateSource(ctx, updateOf(row)); err != nil {
			return err
		}
		return s.config.Queue.Insert(ctx, tx, fetchArgs{SourceID: id}, nil)
	})
	if _, is := errors.AsType[*ConflictError](err); is {
		return Source{}, err
	}
	if err != nil {
		return Source{}, kept(err, "fetch job source "+id)
	}
	return sourceOf(row)
}

func updateOf(row jobdb.JobSource) jobdb.UpdateSourceParams {
	return jobdb.UpdateSourceParams{
		ID: row.ID, UserID: row.UserID, Kind: row.Kind, Url: row.Url, Name: row.Name, Mapping: row.Mapping, State: row.State,
		Problem: row.Problem, Failures: row.Failures, Etag: row.Etag, LastModified: row.LastModified,
		FetchedAt: row.FetchedAt, NextFetchAt: row.NextFetchAt, UpdatedAt: row.UpdatedAt,
	}
}

func sourceOf(row jobdb.JobSource) (Source, error) {
	source := Source{
		ID: row.ID, Kind: feed.Kind(row.Kind), URL: row.Url, Name: row.Name, State: row.State, Problem: row.Problem,
		Failures: int(row.Failures), FetchedAt: row.FetchedAt, NextFetchAt: row.NextFetchAt, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
	}
	mapping, err := mappingOf(row.Mapping)
	if mapping != (feed.Mapping{}) {
		source.Mapping = &mapping
	}
	return source, err
}

// each translates rows.
func each[Row, T any](rows []Row, translate func(Row) (T, error)) ([]T, error) {
	all := make([]T, 0, len(rows))
	for _, row := range rows {
		one, err := translate(row)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}
