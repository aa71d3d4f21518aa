// Package account is who uses the service: users, their passwords, sessions, access tokens and profiles.
//
// It owns the tables users, profiles, sessions, refresh_tokens, revocations, one_time_tokens, account_mails,
// login_networks, signing_keys, user_keys and audit_events, the SQL on them (queries.sql, compiled by sqlc into accountdb) and the routes under /api/v1/auth, /api/v1/me and /api/v1/admin. It
// opens no listener. What it remembers in the process (keys that check tokens, sessions that ended) is fed by the database, and is
// asked there where it may be out of date (watch.go).
package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/account/accountdb"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/work"
)

// Config is what a Service works with. All fields but Mailer, PublicURL, the durations and BcryptCost are required.
type Config struct {
	Pool     *pgxpool.Pool
	Keyring  *encryption.Keyring
	Keys     Keys
	Issuer   string // iss of access tokens
	Audience string // aud of access tokens
	Log      *slog.Logger
	Now      telemetry.Clock
	Rand     io.Reader // a cryptographic source

	Mailer    Mailer // nil where no mail is sent: accounts are then usable without a verified address
	PublicURL string // of this service, for links in mails: https://api.example.org

	AccessLifetime  time.Duration // of an access token; default 5 min
	SessionLifetime time.Duration // from log-in to the absolute end of its refresh tokens; default 30 days
	RefreshGrace    time.Duration // how long a rotated refresh token still answers, for clients that refresh twice at once; default 10 s, negative for none
	AuditRetention  time.Duration // how long the audit log is kept; default 400 days
	BcryptCost      int           // default 10, the least that OWASP's password storage cheat sheet accepts
}

// Service answers for accounts. It is safe for concurrent use once Background has been called.
type Service struct {
	config    Config
	db        *accountdb.Queries
	passwords *passwords
	keys      *keySet
	checked   *lru.Cache[[32]byte, grantedAccess] // access tokens whose signature was right, by their SHA-256
	revoked   *revocations
	indexKeys *lru.Cache[string, []byte]
	queue     *work.Queue
	exporters []namedExporter
	onProof   []func(ctx context.Context, tx pgx.Tx, userID string) error
	erasers   []namedEraser
	onDelete  []func(ctx context.Context, tx pgx.Tx, userID string) error
}

// New checks the configuration and prepares the stand-in for unknown users' password hashes.
func New(config Config) (*Service, error) {
	config = config.withDefaults()
	passwords, err := newPasswords(config.BcryptCost, config.Rand)
	if err != nil {
		return nil, fmt.Errorf("set up accounts: %w", err)
	}
	indexKeys, err := lru.New[string, []byte](rememberedKeys)
	if err != nil {
		return nil, fmt.Errorf("set up accounts: %w", err)
	}
	checked, err := lru.New[[32]byte, grantedAccess](rememberedTokens)
	if err != nil {
		return nil, fmt.Errorf("set up accounts: %w", err)
	}
	s := &Service{
		config: config, db: accountdb.New(config.Pool), passwords: passwords, keys: newKeySet(config.Keys),
		checked: checked, revoked: newRevocations(), indexKeys: indexKeys,
	}
	s.AddExporter("account", exporter{s})
	return s, nil
}

// Background adds what accounts do in the background: sending mail, erasing what deleted users had. It is called before the service is used.
func (s *Service) Background(queue *work.Queue) {
	s.queue = queue
	s.addErasing(queue)
	if s.config.Mailer != nil {
		work.Add(queue, &mailWorker{accounts: s})
	}
}

func (c Config) withDefaults() Config {
	if c.AccessLifetime == 0 {
		c.AccessLifetime = 5 * time.Minute
	}
	if c.SessionLifetime == 0 {
		c.SessionLifetime = 30 * 24 * time.Hour
	}
	if c.RefreshGrace == 0 {
		c.RefreshGrace = 10 * time.Second
	}
	if c.AuditRetention == 0 {
		c.AuditRetention = 400 * 24 * time.Hour
	}
	if c.BcryptCost == 0 {
		c.BcryptCost = 10
	}
	return c
}

// What can be wrong with a request. The routes turn them into answers.
var (
	ErrEmailTaken   = errors.New("an account with this e-mail address exists")
	ErrCredentials  = errors.New("wrong e-mail address or password")
	ErrRefreshToken = errors.New("the refresh token is unknown, used, expired or revoked")
	ErrUnknownUser  = errors.New("no such user")
	ErrDisabled     = errors.New("the account is disabled: ask whoever runs this service")
	ErrPassword     = errors.New("the present password is wrong")
	ErrNoPassword   = errors.New("the account has no password: set one with a mail from /api/v1/auth/password/forgot")
	ErrNoMail       = errors.New("this service sends no mail: ask whoever runs it")
	ErrOneTimeToken = errors.New("the token is unknown, used or expired: ask for another mail")
	ErrUnproved     = errors.New("the account's e-mail address is not proved: open the link that /api/v1/auth/verification sends to it, then log in")
	ErrNoSession    = errors.New("you have no such session")
)

// InvalidError is input that no account can have. Its text is for the user.
type InvalidError struct{ Field, Problem string }

func (e *InvalidError) Error() string { return e.Field + " " + e.Problem }

// transact runs do in a transaction.
func (s *Service) transact(ctx context.Context, do func(tx pgx.Tx, db *accountdb.Queries) error) error {
	return pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error { return do(tx, s.db.WithTx(tx)) })
}
