// Package mail is a user's mail: where it comes from, what it is about, and how it is found again.
//
// It owns the tables connections, emails, email_origins, attachments and embeddings of e-mails, the SQL on them (queries.sql, compiled
// by sqlc into maildb) and the routes under /api/v1/emails, /api/v1/mail-imports and /api/v1/connections. How a message is read off the
// wire is the business of the packages below it; what a message means for an application is package job's.
//
// What the database sees: texts, their beginnings, attachments and their names are sealed. Senders, recipients, subjects, dates, sizes and
// categories are in the clear, because lists are sorted and shown by them. For searching there are HMACs of words and vectors under a key
// of the user's own (package index says what they give away), and, where a language model makes embeddings, its vectors in the clear,
// which tell roughly what a text is about. docs/mail.md has this for operators.
package mail

import (
	"context"
	"log/slog"

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

	// Record writes an audit event in a transaction, where there is an audit log: account.Service.Record.
	Record func(ctx context.Context, tx pgx.Tx, userID, action string, detail map[string]any) error

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
	metrics     *metrics
	room        *room
	imports     *turns
	comparing   *turns
	vectors     vectors
}

// New makes a service and adds its workers to the queue.
func New(config Config) (*Service, error) {
	s := &Service{
		config: config, room: newRoom(), imports: newTurns(maxImports), comparing: newTurns(maxComparing), vectors: vectors{most: maxCompared},
	}
	var err error
	if s.metrics, err = newMetrics(config.Metrics); err != nil {
		return nil, err
	}
	if s.connections, err = newConnections(config, s); err != nil {
		return nil, err
	}
	s.connections.room = s.room
	if config.Queue != nil {
		s.addWorkers(config.Queue)
	}
	return s, nil
}

// Observer hears of each message that is stored, in the transaction that stores it.
type Observer interface {
	EmailStored(ctx context.Context, tx pgx.Tx, userID string, email Summary) error
}

// Observe adds an observer. It is called before the service is used.
func (s *Service) Observe(o Observer) { s.observers = append(s.observers, o) }
