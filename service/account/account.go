// Package account is who uses the service: users, their passwords, sessions, access tokens and profiles.
//
// It owns the tables users, profiles, sessions and refresh_tokens, the SQL on them (queries.sql, compiled by sqlc into
// accountdb) and the routes under /api/v1/auth and /api/v1/me. It opens no listener and keeps nothing in the process:
// every replica answers from the database.
package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/account/accountdb"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/telemetry"
)

// Config is what a Service works with. All fields but the durations and BcryptCost are required.
type Config struct {
	Pool     *pgxpool.Pool
	Keyring  *encryption.Keyring
	Keys     Keys
	Issuer   string // iss of access tokens
	Audience string // aud of access tokens
	Log      *slog.Logger
	Now      telemetry.Clock
	Rand     io.Reader // a cryptographic source

	AccessLifetime  time.Duration // of an access token; default 5 min
	SessionLifetime time.Duration // from log-in to the absolute end of its refresh tokens; default 30 days
	RefreshGrace    time.Duration // how long a rotated refresh token still answers, for clients that refresh twice at once; default 10 s, negative for none
	BcryptCost      int           // default 10, the least that OWASP's password storage cheat sheet accepts
}

// Service answers for accounts. It is safe for concurrent use.
type Service struct {
	config    Config
	db        *accountdb.Queries
	passwords *passwords
	indexKeys *lru.Cache[string, []byte]
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
	return &Service{config: config, db: accountdb.New(config.Pool), passwords: passwords, indexKeys: indexKeys}, nil
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
)

// InvalidError is input that no account can have. Its text is for the user.
type InvalidError struct{ Field, Problem string }

func (e *InvalidError) Error() string { return e.Field + " " + e.Problem }

// Register makes a user with an empty profile.
func (s *Service) Register(ctx context.Context, email, password, displayName string) (id string, err error) {
	email, err = parseEmail(email)
	if err != nil {
		return "", err
	}
	if err := checkText("display_name", displayName, maxDisplayName); err != nil {
		return "", err
	}
	hash, err := s.passwords.hash(ctx, password)
	if err != nil {
		return "", err
	}
	now := s.config.Now()
	err = pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := s.db.WithTx(tx)
		id, err = db.CreateUser(ctx, accountdb.CreateUserParams{Email: email, PasswordHash: hash, CreatedAt: now})
		if err != nil {
			return err
		}
		return db.CreateProfile(ctx, accountdb.CreateProfileParams{UserID: id, DisplayName: displayName, UpdatedAt: now})
	})
	if isUniqueViolation(err) {
		return "", ErrEmailTaken
	}
	if err != nil {
		return "", fmt.Errorf("create user: %w", err)
	}
	return id, nil
}

// Delete removes a user with everything that hangs on it. ErrUnknownUser when there is none.
func (s *Service) Delete(ctx context.Context, id string) error {
	n, err := s.db.DeleteUser(ctx, id)
	if err != nil {
		return fmt.Errorf("delete user %s: %w", id, err)
	}
	if n == 0 {
		return ErrUnknownUser
	}
	return nil
}

// parseEmail accepts a bare address of RFC 5321's length, without a display name.
func parseEmail(text string) (string, error) {
	text = strings.TrimSpace(text)
	address, err := mail.ParseAddress(text)
	if err != nil || address.Address != text || len(text) > 254 || strings.ContainsRune(text, 0) {
		return "", &InvalidError{"email", "is not an e-mail address"}
	}
	return text, nil
}

// checkText refuses what a text column would: more characters than the table's limit, and NUL.
func checkText(field, text string, limit int) error {
	if utf8.RuneCountInString(text) > limit {
		return &InvalidError{field, fmt.Sprintf("is longer than %d characters", limit)}
	}
	if strings.ContainsRune(text, 0) {
		return &InvalidError{field, "contains a NUL character"}
	}
	return nil
}

// Error codes of PostgreSQL's manual, appendix A.
const (
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
)

func isUniqueViolation(err error) bool     { return hasCode(err, uniqueViolation) }
func isForeignKeyViolation(err error) bool { return hasCode(err, foreignKeyViolation) }

func hasCode(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}
