// Package job is what a user looks for and applies to: sources, the postings that they bring, and applications with their history.
//
// It owns the tables job_sources, postings, posting_sources, applications, application_events and application_suggestions, the SQL on
// them (queries.sql, compiled by sqlc into jobdb) and the routes under /api/v1/job-sources, /api/v1/jobs, /api/v1/applications and
// /api/v1/suggestions. It hears of mail that comes, and looks at the headers of what came before an application was there.
package job

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/job/jobdb"
	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/work"
)

// Config is what a Service works with.
type Config struct {
	Pool     *pgxpool.Pool
	Keyring  *encryption.Keyring
	Queue    *work.Queue
	Mail     Mail
	Outbound *outbound.Guard
	Metrics  *telemetry.Metrics // may be nil
	Log      *slog.Logger
	Now      telemetry.Clock
	Caller   api.Caller
}

// Service answers for jobs. It is safe for concurrent use.
type Service struct {
	config  Config
	db      *jobdb.Queries
	client  *http.Client
	metrics *metrics
}

// New makes a service and adds its workers to the queue.
func New(config Config) (*Service, error) {
	metrics, err := newMetrics(config.Metrics)
	if err != nil {
		return nil, fmt.Errorf("set up jobs: %w", err)
	}
	s := &Service{config: config, db: jobdb.New(config.Pool), client: config.Outbound.Client(fetchTimeout), metrics: metrics}
	s.addWorkers()
	return s, nil
}

// Routes adds the routes to an API that lets in users only.
func (s *Service) Routes(private huma.API) {
	s.sourceRoutes(private)
	s.postingRoutes(private)
	s.applicationRoutes(private)
	s.suggestionRoutes(private)
}

// Sealed lists the sealed columns.
func Sealed() []encryption.Column {
	return []encryption.Column{
		{Table: "applications", Name: "notes", Key: "id", Owner: "user_id"},
		{Table: "application_events", Name: "note", Key: "id", Owner: "user_id"},
	}
}

var (
	// ErrNotFound is a source, posting, application or suggestion that this user does not have.
	ErrNotFound = errors.New("not found")
	// ErrChanged is an application that somebody changed since the version that the caller knows.
	ErrChanged = errors.New("it was changed since")
	// ErrUnknownUser is a user who was deleted while the access token is still good.
	ErrUnknownUser = errors.New("the account is gone")
)

// InvalidError is input that cannot be kept. Its text is for the user.
type InvalidError struct{ Field, Problem string }

func (e *InvalidError) Error() string { return e.Field + " " + e.Problem }

// ConflictError is something that cannot be done as things stand. Its text is for the user.
type ConflictError struct{ Problem string }

func (e *ConflictError) Error() string { return e.Problem }

// checkText refuses what a text column would: more characters than the table's limit, NUL, and bytes that are not UTF-8.
func checkText(field, text string, limit int) error {
	switch {
	case utf8.RuneCountInString(text) > limit:
		return &InvalidError{field, fmt.Sprintf("is longer than %d characters", limit)}
	case !utf8.ValidString(text):
		return &InvalidError{field, "is not UTF-8"}
	case strings.ContainsRune(text, 0):
		return &InvalidError{field, "contains a NUL character"}
	}
	return nil
}

// kept says what an error of the database means: a row that is not there, or a user who is not.
func kept(err error, doing string) error {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	case errors.As(err, &pg) && pg.Code == "23503" && strings.HasSuffix(pg.ConstraintName, "_user_id_fkey"): // foreign_key_violation
		return ErrUnknownUser
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// newID makes a row's id: a UUIDv7, so that rows stand in the order in which they came.
func newID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return id.String(), nil
}
