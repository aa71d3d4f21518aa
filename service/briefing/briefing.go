// Package briefing tells users what happened: when they want it, and when they ask.
//
// It owns the tables briefing_schedules and briefings, the SQL on them and the routes under /api/v1/briefings and
// /api/v1/me/briefing-schedule. What happened it learns from the packages mail and job. It knows users by their id only.
//
// A briefing is written in three steps: gather.go collects what happened, extract.go makes a text of it that quotes and cites, without
// anybody's help; where there is a language model, model.go lets it write the text anew and keeps it only if it holds to the sources.
// calendar.go and due.go make scheduled briefings come once a local day.
package briefing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/briefing/briefingdb"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/work"
)

// Config is what a Service works with.
type Config struct {
	Pool     *pgxpool.Pool
	Keyring  *encryption.Keyring
	Queue    *work.Queue
	Mail     Mail
	Jobs     Jobs
	Upstream Model
	Metrics  *telemetry.Metrics // nil for none
	Log      *slog.Logger
	Now      telemetry.Clock
	Caller   api.Caller

	// Patience is how long the model may take for a briefing that somebody waits for (default 8 s). A scheduled one gives it four times
	// as long.
	Patience time.Duration
}

// Mail is what a briefing asks of package mail.
type Mail interface {
	List(ctx context.Context, userID string, filter mail.Filter, page api.Page) ([]mail.Summary, string, error)
	Get(ctx context.Context, userID, id string) (mail.Email, error)
}

// Jobs is what a briefing asks of package job.
type Jobs interface {
	Postings(ctx context.Context, userID string, filter job.PostingFilter, page api.Page) ([]job.Posting, string, error)
	Applications(ctx context.Context, userID string, status job.Status, page api.Page) ([]job.Application, string, error)
	Suggestions(ctx context.Context, userID string, page api.Page) ([]job.Suggestion, string, error)
}

// Model is what a briefing asks of package upstream. It is asked for text; nothing that it answers is carried out.
type Model interface {
	Configured() bool
	Model() string
	Complete(ctx context.Context, system, user string) (string, error)
}

// Service answers for briefings and their schedules. It is safe for concurrent use.
type Service struct {
	config  Config
	db      *briefingdb.Queries
	now     telemetry.Clock
	caller  api.Caller
	metrics *metrics
}

// New makes a service and adds its workers to the queue.
func New(config Config) (*Service, error) {
	if config.Patience == 0 {
		config.Patience = 8 * time.Second
	}
	m, err := newMetrics(config.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Service{config: config, db: briefingdb.New(config.Pool), now: config.Now, caller: config.Caller, metrics: m}
	s.addWorkers(config.Queue)
	return s, nil
}

// Overview is a briefing without its text.
type Overview struct {
	ID        string    `json:"id" format:"uuid"`
	State     string    `json:"state" enum:"pending,ready,failed"`
	Since     time.Time `json:"since" doc:"It tells what happened from here"`
	Until     time.Time `json:"until" doc:"until before here"`
	Writer    string    `json:"writer" doc:"extractive, or the name of the model that wrote it; empty while there is no text"`
	CreatedAt time.Time `json:"created_at"`
}

// Briefing is what happened to a user in a stretch of time.
type Briefing struct {
	Overview
	Text    string   `json:"text" doc:"Markdown; [1] cites the first source"`
	Sources []Source `json:"sources"`
}

// Source is what a briefing cites.
type Source struct {
	Number int    `json:"number"`
	Kind   string `json:"kind" enum:"email,posting,application,suggestion"`
	ID     string `json:"id" format:"uuid"`
	Title  string `json:"title"`
}

// content is what is sealed of a briefing.
type content struct {
	Text    string   `json:"text"`
	Sources []Source `json:"sources"`
}

// ErrNotFound is a briefing that this user does not have.
var ErrNotFound = errors.New("not found")

// longest is how far back a briefing reaches.
const longest = 7 * 24 * time.Hour

// Latest returns a user's newest ready briefing. ErrNotFound when there is none.
func (s *Service) Latest(ctx context.Context, userID string) (Briefing, error) {
	row, err := s.db.LatestReady(ctx, userID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Briefing{}, ErrNotFound
	}
	if err != nil {
		return Briefing{}, fmt.Errorf("read the latest briefing of %s: %w", userID, err)
	}
	return s.open(row)
}

// Get returns one briefing. ErrNotFound when the user has none of this id.
func (s *Service) Get(ctx context.Context, userID, id string) (Briefing, error) {
	row, err := s.db.Briefing(ctx, briefingdb.BriefingParams{ID: id, UserID: userID})
	if errors.Is(err, pgx.ErrNoRows) {
		return Briefing{}, ErrNotFound
	}
	if err != nil {
		return Briefing{}, fmt.Errorf("read briefing %s of %s: %w", id, userID, err)
	}
	return s.open(row)
}

// position is where a page of briefings ended.
type position struct {
	At time.Time `json:"at"`
	ID uuid.UUID `json:"id"`
}

// newest is before every briefing.
var newest = position{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), uuid.Max}

// List returns a user's briefings, newest first, and the cursor of the next page ("" on the last).
func (s *Service) List(ctx context.Context, userID string, page api.Page) ([]Overview, string, error) {
	from, given, err := api.Position[position](page.Cursor)
	if err != nil {
		return nil, "", err
	}
	if !given {
		from = newest
	}
	rows, err := s.db.OverviewsBefore(ctx, briefingdb.OverviewsBeforeParams{
		UserID: userID, CreatedAt: from.At, ID: from.ID.String(), Most: int32(page.Limit) + 1, //nolint:gosec // at most 200
	})
	if err != nil {
		return nil, "", fmt.Errorf("list briefings of %s: %w", userID, err)
	}
	var next string
	if len(rows) > page.Limit {
		rows = rows[:page.Limit]
		last := rows[len(rows)-1]
		if next, err = api.Cursor(position{last.CreatedAt, uuid.MustParse(last.ID)}); err != nil {
			return nil, "", err
		}
	}
	list := make([]Overview, len(rows))
	for i, row := range rows {
		list[i] = Overview(row)
	}
	return list, next, nil
}

// Delete removes a briefing. ErrNotFound when the user has none of this id.
func (s *Service) Delete(ctx context.Context, userID, id string) error {
	n, err := s.db.DeleteBriefing(ctx, briefingdb.DeleteBriefingParams{ID: id, UserID: userID})
	if err != nil {
		return fmt.Errorf("delete briefing %s of %s: %w", id, userID, err)
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

// Generate writes a briefing now, about what happened since the last one, and at most the last week. ErrUnknownUser when the user is
// gone.
func (s *Service) Generate(ctx context.Context, userID string) (Briefing, error) {
	now := s.moment()
	since, err := s.since(ctx, s.db, userID, now)
	if err != nil {
		return Briefing{}, err
	}
	text, err := s.write(ctx, userID, since, now, s.config.Patience)
	if err != nil {
		return Briefing{}, fmt.Errorf("write a briefing for %s: %w", userID, err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Briefing{}, fmt.Errorf("make an id: %w", err)
	}
	sealed, err := s.seal(text.content, userID, id.String())
	if err != nil {
		return Briefing{}, err
	}
	ready := s.moment()
	err = s.db.AddReady(ctx, briefingdb.AddReadyParams{
		ID: id.String(), UserID: userID, Since: since, Until: now, Writer: text.writer, Content: sealed, CreatedAt: now, ReadyAt: &ready,
	})
	if isForeignKeyViolation(err) {
		return Briefing{}, ErrUnknownUser
	}
	if err != nil {
		return Briefing{}, fmt.Errorf("keep a briefing of %s: %w", userID, err)
	}
	overview := Overview{ID: id.String(), State: "ready", Since: since, Until: now, Writer: text.writer, CreatedAt: now}
	return Briefing{overview, text.Text, text.Sources}, nil
}

// since is where a briefing begins that ends now: where the last one ended.
func (s *Service) since(ctx context.Context, db *briefingdb.Queries, userID string, now time.Time) (time.Time, error) {
	earliest := now.Add(-longest)
	last, err := db.LastUntil(ctx, userID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, fmt.Errorf("read when the last briefing of %s was: %w", userID, err)
	}
	switch {
	case last.Before(earliest):
		return earliest, nil
	case last.After(now): // another replica's clock is ahead
		return now, nil
	}
	return last.UTC(), nil
}

// Export gives a user's schedule and briefings to write, a section each item.
func (s *Service) Export(ctx context.Context, userID string, write func(section string, item any) error) error {
	schedule, err := s.Schedule(ctx, userID)
	if err != nil {
		return err
	}
	if err := write("briefing_schedule", schedule); err != nil {
		return err
	}
	const page = 20
	for from := newest; ; {
		rows, err := s.db.BriefingsBefore(ctx, briefingdb.BriefingsBeforeParams{UserID: userID, CreatedAt: from.At, ID: from.ID.String(), Most: page})
		if err != nil {
			return fmt.Errorf("export briefings of %s: %w", userID, err)
		}
		for _, row := range rows {
			briefing, err := s.open(row)
			if err != nil {
				return err
			}
			if err := write("briefings", briefing); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
		last := rows[len(rows)-1]
		from = position{last.CreatedAt, uuid.MustParse(last.ID)}
	}
}

// Sealed lists the sealed columns.
func Sealed() []encryption.Column {
	return []encryption.Column{{Table: "briefings", Name: "content", Key: "id", Owner: "user_id"}}
}

func cell(userID, id string) encryption.Cell {
	return encryption.Cell{Table: "briefings", Column: "content", Owner: userID, Row: id}
}

func (s *Service) seal(c content, userID, id string) ([]byte, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write briefing %s: %w", id, err)
	}
	return s.config.Keyring.Seal(plain, cell(userID, id))
}

func (s *Service) open(row briefingdb.Briefing) (Briefing, error) {
	plain, err := s.config.Keyring.Open(row.Content, cell(row.UserID, row.ID))
	if err != nil {
		return Briefing{}, fmt.Errorf("open briefing %s: %w", row.ID, err)
	}
	c := content{Sources: []Source{}}
	if err := json.Unmarshal(plain, &c); err != nil {
		return Briefing{}, fmt.Errorf("read briefing %s: %w", row.ID, err)
	}
	overview := Overview{row.ID, row.State, row.Since, row.Until, row.Writer, row.CreatedAt}
	return Briefing{overview, c.Text, c.Sources}, nil
}

// moment is now, as exactly as PostgreSQL keeps it.
func (s *Service) moment() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

func isForeignKeyViolation(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23503" // PostgreSQL manual, appendix A
}
