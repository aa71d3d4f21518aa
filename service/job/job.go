// Package job is what a user looks for and applies to: sources of postings, postings, and applications with their history.
//
// It owns the tables job_sources, postings, posting_sources, applications, application_events and application_suggestions, the SQL on
// them (queries.sql, compiled by sqlc into jobdb) and the routes under /api/v1/job-sources, /api/v1/jobs, /api/v1/applications and
// /api/v1/suggestions. It hears of mail and reads none.
package job

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/work"
)

// Config is what a Service works with.
type Config struct {
	Pool     *pgxpool.Pool
	Keyring  *encryption.Keyring
	Queue    *work.Queue
	Outbound *outbound.Guard
	Metrics  *telemetry.Metrics
	Log      *slog.Logger
	Now      telemetry.Clock
	Caller   api.Caller
}

// Service answers for jobs. It is safe for concurrent use.
type Service struct{ config Config }

// New makes a service and adds its workers to the queue.
func New(config Config) (*Service, error) { return &Service{config}, nil }

// Routes adds the routes to an API that lets in users only.
func (s *Service) Routes(private huma.API) {}

// EmailStored implements mail.Observer: mail about an application becomes a suggestion.
func (s *Service) EmailStored(ctx context.Context, tx pgx.Tx, userID string, email mail.Summary) error {
	return nil
}

// Posting is a job that somebody offers.
type Posting struct {
	ID          string    `json:"id" format:"uuid"`
	Title       string    `json:"title"`
	Company     string    `json:"company"`
	Location    string    `json:"location"`
	URL         string    `json:"url"`
	Summary     string    `json:"summary"`
	PublishedAt time.Time `json:"published_at"`
	FoundAt     time.Time `json:"found_at"`
}

// Status is how far an application got.
type Status string

// The statuses.
const (
	Interested Status = "interested"
	Applied    Status = "applied"
	Interview  Status = "interview"
	Offer      Status = "offer"
	Accepted   Status = "accepted"
	Rejected   Status = "rejected"
	Withdrawn  Status = "withdrawn"
)

// Application is what a user does about a job.
type Application struct {
	ID        string    `json:"id" format:"uuid"`
	PostingID string    `json:"posting_id,omitempty" format:"uuid"`
	Company   string    `json:"company"`
	Title     string    `json:"title"`
	URL       string    `json:"url,omitempty"`
	Status    Status    `json:"status" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn"`
	Notes     string    `json:"notes,omitempty"`
	Version   int       `json:"version" doc:"Counts changes; the ETag"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// NewApplication is what is known when an application begins.
type NewApplication struct {
	PostingID string `json:"posting_id,omitempty" format:"uuid" doc:"Of the posting applied to; company, title and URL default to its"`
	Company   string `json:"company,omitempty" maxLength:"200"`
	Title     string `json:"title,omitempty" maxLength:"300"`
	URL       string `json:"url,omitempty" maxLength:"2000"`
	Status    Status `json:"status,omitempty" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn" default:"applied"`
	Notes     string `json:"notes,omitempty" maxLength:"10000"`
}

// ApplicationChange has the fields to change; nil leaves a field as it is.
type ApplicationChange struct {
	Company *string `json:"company,omitempty" maxLength:"200"`
	Title   *string `json:"title,omitempty" maxLength:"300"`
	URL     *string `json:"url,omitempty" maxLength:"2000"`
	Status  *Status `json:"status,omitempty" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn"`
	Notes   *string `json:"notes,omitempty" maxLength:"10000"`
	Note    *string `json:"note,omitempty" maxLength:"2000" doc:"Said about this change, in the history"`
}

// PostingFilter narrows a list of postings. Zero fields do not.
type PostingFilter struct {
	Query string    // words, as PostgreSQL's websearch_to_tsquery reads them
	Since time.Time // found at or after
}

var (
	// ErrNotFound is a source, posting, application or suggestion that this user does not have.
	ErrNotFound = errors.New("not found")
	// ErrChanged is an application that somebody changed since the version that the caller knows.
	ErrChanged = errors.New("it was changed since")
)

// InvalidError is input that cannot be kept. Its text is for the user.
type InvalidError struct{ Field, Problem string }

func (e *InvalidError) Error() string { return e.Field + " " + e.Problem }

// Postings returns a user's postings, newest first, and the cursor of the next page.
func (s *Service) Postings(ctx context.Context, userID string, filter PostingFilter, page api.Page) ([]Posting, string, error) {
	return nil, "", errors.New("not built yet")
}

// Applications returns a user's applications, last changed first; status "" is any.
func (s *Service) Applications(ctx context.Context, userID string, status Status, page api.Page) ([]Application, string, error) {
	return nil, "", errors.New("not built yet")
}

// Add makes an application.
func (s *Service) Add(ctx context.Context, userID string, application NewApplication) (Application, error) {
	return Application{}, errors.New("not built yet")
}

// Update changes an application; version 0 is any, otherwise ErrChanged when it is another by now.
func (s *Service) Update(ctx context.Context, userID, id string, version int, change ApplicationChange) (Application, error) {
	return Application{}, errors.New("not built yet")
}

// Suggestion is what a mail seems to say about an application; it waits for the user.
type Suggestion struct {
	ID            string    `json:"id" format:"uuid"`
	ApplicationID string    `json:"application_id,omitempty" format:"uuid" doc:"Absent when a new application is suggested"`
	EmailID       string    `json:"email_id" format:"uuid"`
	Company       string    `json:"company"`
	Title         string    `json:"title"`
	ToStatus      Status    `json:"to_status"`
	Reason        string    `json:"reason"`
	CreatedAt     time.Time `json:"created_at"`
}

// Suggestions returns what waits for the user, newest first.
func (s *Service) Suggestions(ctx context.Context, userID string, page api.Page) ([]Suggestion, string, error) {
	return nil, "", errors.New("not built yet")
}

// Sealed lists the sealed columns.
func Sealed() []encryption.Column { return nil }
