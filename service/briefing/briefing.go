// Package briefing tells users what happened: when they want it, and when they ask.
//
// It owns the tables briefing_schedules and briefings, the SQL on them and the routes under /api/v1/briefings and
// /api/v1/me/briefing-schedule. What happened it learns from the packages mail and job. It knows users by their id only.
package briefing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	_ "time/tzdata" // users' time zones must not depend on what the image has installed

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/briefing/briefingdb"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/upstream"
	"github.com/smart-assistant/platform/service/work"
)

// Config is what a Service works with.
type Config struct {
	Pool     *pgxpool.Pool
	Keyring  *encryption.Keyring
	Queue    *work.Queue
	Mail     *mail.Service
	Jobs     *job.Service
	Upstream *upstream.Client
	Metrics  *telemetry.Metrics
	Log      *slog.Logger
	Now      telemetry.Clock
	Caller   api.Caller
}

// Service answers for briefings and their schedules. It is safe for concurrent use.
type Service struct {
	config Config
	db     *briefingdb.Queries
	now    telemetry.Clock
	caller api.Caller
}

// New makes a service and adds its workers to the queue.
func New(config Config) (*Service, error) {
	return &Service{config: config, db: briefingdb.New(config.Pool), now: config.Now, caller: config.Caller}, nil
}

// Briefing is what happened to a user in a stretch of time.
type Briefing struct {
	ID        string    `json:"id" format:"uuid"`
	State     string    `json:"state" enum:"pending,ready,failed"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Writer    string    `json:"writer" doc:"extractive, or the name of the model that wrote it"`
	Text      string    `json:"text" doc:"Markdown; [1] cites the first source"`
	Sources   []Source  `json:"sources"`
	CreatedAt time.Time `json:"created_at"`
}

// Source is what a briefing cites.
type Source struct {
	Number int    `json:"number"`
	Kind   string `json:"kind" enum:"email,posting,application,suggestion"`
	ID     string `json:"id" format:"uuid"`
	Title  string `json:"title"`
}

// ErrNotFound is a briefing that this user does not have.
var ErrNotFound = errors.New("not found")

// Latest returns a user's newest ready briefing. ErrNotFound when there is none.
func (s *Service) Latest(ctx context.Context, userID string) (Briefing, error) {
	return Briefing{}, errors.New("not built yet")
}

// Generate writes a briefing now, about what happened since the last one, and at most the last week.
func (s *Service) Generate(ctx context.Context, userID string) (Briefing, error) {
	return Briefing{}, errors.New("not built yet")
}

// Sealed lists the sealed columns.
func Sealed() []encryption.Column { return nil }

// Schedule is a time of day in a user's own time zone.
type Schedule struct {
	Enabled  bool   `json:"enabled"`
	TimeZone string `json:"time_zone" example:"Europe/Berlin" doc:"Name in the IANA time zone database"`
	At       string `json:"at" example:"07:30" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"Local time, HH:MM"`
}

// Default is the schedule of a user who never said one.
var Default = Schedule{Enabled: false, TimeZone: "UTC", At: "07:00"}

type body struct{ Body Schedule }

// Routes adds the routes to an API that lets in users only.
func (s *Service) Routes(private huma.API) {
	huma.Register(private, huma.Operation{
		OperationID: "get-briefing-schedule", Method: http.MethodGet, Path: "/api/v1/me/briefing-schedule",
		Summary: "Read when I want my briefing", Tags: []string{"briefing"},
	}, func(ctx context.Context, _ *struct{}) (*body, error) {
		schedule, err := s.Schedule(ctx, s.caller(ctx))
		return &body{schedule}, err
	})
	huma.Register(private, huma.Operation{
		OperationID: "put-briefing-schedule", Method: http.MethodPut, Path: "/api/v1/me/briefing-schedule",
		Summary: "Say when I want my briefing", Tags: []string{"briefing"},
	}, func(ctx context.Context, in *body) (*body, error) {
		err := s.SetSchedule(ctx, s.caller(ctx), in.Body)
		if errors.Is(err, ErrTimeZone) || errors.Is(err, ErrTime) {
			return nil, huma.Error422UnprocessableEntity(err.Error())
		}
		if errors.Is(err, ErrUnknownUser) {
			return nil, huma.Error401Unauthorized("the account is gone")
		}
		return in, err
	})
}

var (
	ErrTimeZone = errors.New("time_zone is not in the IANA time zone database")
	ErrTime     = errors.New("at is not a time of day as HH:MM")

	// ErrUnknownUser is a user who was deleted while the access token is still good.
	ErrUnknownUser = errors.New("no such user")
)

// Schedule reads a user's schedule, or Default.
func (s *Service) Schedule(ctx context.Context, userID string) (Schedule, error) {
	row, err := s.db.Schedule(ctx, userID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Default, nil
	}
	if err != nil {
		return Schedule{}, fmt.Errorf("read briefing schedule of %s: %w", userID, err)
	}
	return Schedule{Enabled: row.Enabled, TimeZone: row.TimeZone, At: fmt.Sprintf("%02d:%02d", row.Minute/60, row.Minute%60)}, nil
}

// SetSchedule replaces a user's schedule. ErrTimeZone or ErrTime when it is none, ErrUnknownUser when the user is gone.
func (s *Service) SetSchedule(ctx context.Context, userID string, schedule Schedule) error {
	if _, err := time.LoadLocation(schedule.TimeZone); err != nil || schedule.TimeZone == "" || schedule.TimeZone == "Local" || len(schedule.TimeZone) > 64 {
		return ErrTimeZone
	}
	at, err := time.Parse("15:04", schedule.At)
	if err != nil {
		return ErrTime
	}
	err = s.db.SaveSchedule(ctx, briefingdb.SaveScheduleParams{
		UserID: userID, Enabled: schedule.Enabled, TimeZone: schedule.TimeZone,
		Minute: int32(at.Hour()*60 + at.Minute()), UpdatedAt: s.now(), //nolint:gosec // below 1440
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23503" { // foreign_key_violation, PostgreSQL manual, appendix A
		return ErrUnknownUser
	}
	if err != nil {
		return fmt.Errorf("save briefing schedule of %s: %w", userID, err)
	}
	return nil
}
