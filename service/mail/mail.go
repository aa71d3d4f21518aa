// Package mail is a user's mail: where it comes from, what it is about, and how it is found again.
//
// It owns the tables connections, emails, email_origins, attachments and embeddings of e-mails, the SQL on them (queries.sql, compiled
// by sqlc into maildb) and the routes under /api/v1/emails, /api/v1/mail-imports and /api/v1/connections. How a message is read off the
// wire is the business of the packages below it; what a message means for an application is package job's.
package mail

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/oauth2"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/upstream"
	"github.com/smart-assistant/platform/service/work"
)

// Config is what a Service works with.
type Config struct {
	Pool     *pgxpool.Pool
	Keyring  *encryption.Keyring
	Queue    *work.Queue
	Outbound *outbound.Guard
	Upstream *upstream.Client // embeddings come from it where it has a model for them
	Metrics  *telemetry.Metrics
	Log      *slog.Logger
	Now      telemetry.Clock
	Caller   api.Caller
	// IndexKey returns a user's own key for search indexes and fingerprints, 32 bytes: account.Service.IndexKey.
	IndexKey func(ctx context.Context, db maildb.DBTX, userID string) ([]byte, error)

	Sync  SyncConfig
	Gmail *oauth2.Config // nil where Gmail is not configured
	// GmailURL is where Gmail's API is (default https://gmail.googleapis.com), GmailRevokeURL where consent is taken back.
	GmailURL, GmailRevokeURL string
}

// Service answers for mail. It is safe for concurrent use.
type Service struct {
	config      Config
	observers   []Observer
	connections *connections
}

// New makes a service and adds its workers to the queue.
func New(config Config) (*Service, error) {
	s := &Service{config: config}
	var err error
	if s.connections, err = newConnections(config, s); err != nil {
		return nil, err
	}
	return s, nil
}

// ImportPath is where mail is imported (POST). The body is as long as a mailbox, so that the server has limits of its own for it.
const ImportPath = "/api/v1/mail-imports"

// Routes adds the routes to an API that lets in users only.
func (s *Service) Routes(private huma.API) { s.connections.routes(private) }

// Observer hears of each message that is stored, in the transaction that stores it.
type Observer interface {
	EmailStored(ctx context.Context, tx pgx.Tx, userID string, email Summary) error
}

// Observe adds an observer. It is called before the service is used.
func (s *Service) Observe(o Observer) { s.observers = append(s.observers, o) }

// Category says what a message is about.
type Category string

// The categories.
const (
	Application Category = "application" // an application arrived at an employer
	Interview   Category = "interview"   // an invitation to one, or its arrangement
	Offer       Category = "offer"
	Rejection   Category = "rejection"
	Newsletter  Category = "newsletter" // sent to many: newsletters, alerts, advertisements
	Other       Category = "other"
)

// Summary is a message in a list.
type Summary struct {
	ID          string    `json:"id" format:"uuid"`
	FromName    string    `json:"from_name"`
	FromAddress string    `json:"from_address"`
	Subject     string    `json:"subject"`
	ReceivedAt  time.Time `json:"received_at"`
	Category    Category  `json:"category" enum:"application,interview,offer,rejection,newsletter,other"`
	Score       float32   `json:"score" doc:"How sure the classifier is, 0 to 1"`
	Reason      string    `json:"reason" doc:"Why the classifier says so"`
	Snippet     string    `json:"snippet" doc:"The text's beginning"`
	Attachments int       `json:"attachments"`
}

// Email is a whole message.
type Email struct {
	Summary
	MessageID  string       `json:"message_id,omitempty"`
	Recipients string       `json:"recipients"`
	Text       string       `json:"text" doc:"The body as plain text"`
	Size       int64        `json:"size" doc:"Bytes of the message as it came"`
	Files      []Attachment `json:"files"`
}

// Attachment is a file of a message, without its content.
type Attachment struct {
	ID          string `json:"id" format:"uuid"`
	Name        string `json:"name"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
}

// Filter narrows a list. Zero fields do not.
type Filter struct {
	Category     Category
	Since, Until time.Time // received at or after, and before
}

// ErrNotFound is a message, connection or file that this user does not have.
var ErrNotFound = errors.New("not found")

// List returns a user's messages, newest first, and the cursor of the next page ("" on the last).
func (s *Service) List(ctx context.Context, userID string, filter Filter, page api.Page) ([]Summary, string, error) {
	return nil, "", errors.New("not built yet")
}

// Get returns one message. ErrNotFound when the user has none of this id.
func (s *Service) Get(ctx context.Context, userID, id string) (Email, error) {
	return Email{}, errors.New("not built yet")
}

// Search returns the messages that hold all words of the query, newest first. "Quoted words" have to stand together, -word must not
// occur.
func (s *Service) Search(ctx context.Context, userID, query string, filter Filter, page api.Page) ([]Summary, string, error) {
	return nil, "", errors.New("not built yet")
}

// Similar returns the messages whose meaning is nearest to a text, best first.
func (s *Service) Similar(ctx context.Context, userID, text string, limit int) ([]Summary, error) {
	return nil, errors.New("not built yet")
}

// Origin is where a message came from: a connection and its name there. The zero Origin is an import.
type Origin struct{ Connection, ExternalID string }

// Stored is what became of a message.
type Stored struct {
	ID  string // of the message, also when it was there already
	New bool
}

// Store keeps one raw message (RFC 5322) in a transaction, once: a second copy is recognised. What the caller writes in the same
// transaction, such as a sync's cursor, is true exactly when the message is stored.
func (s *Service) Store(ctx context.Context, tx pgx.Tx, userID string, origin Origin, raw []byte) (Stored, error) {
	return Stored{}, errors.New("not built yet")
}

// Sealed lists the sealed columns.
func Sealed() []encryption.Column { return sealedConnections() }
