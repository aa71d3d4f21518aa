// Package signin is log-in with an account elsewhere (OpenID Connect Core 1.0), and a user's consent to read Gmail (OAuth 2.0, RFC 6749).
//
// It owns the tables identities and oauth_flows, the SQL on them (queries.sql, compiled by sqlc into signindb) and the routes under
// /api/v1/oauth. Sessions are package account's, what Gmail's consent is for is package mail's.
package signin

import (
	"log/slog"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/telemetry"
)

// Provider is an OpenID provider that users may log in with.
type Provider struct {
	Name         string // in routes: google
	Issuer       string // https://accounts.google.com
	ClientID     string
	ClientSecret string
}

// Config is what a Service works with.
type Config struct {
	Pool      *pgxpool.Pool
	Keyring   *encryption.Keyring
	Accounts  *account.Service
	Mail      *mail.Service
	Log       *slog.Logger
	Now       telemetry.Clock
	Providers []Provider
	PublicURL string // of this service, for redirects: https://api.example.org
}

// Service answers for log-ins elsewhere. It is safe for concurrent use.
type Service struct{ config Config }

// New makes a service. Providers are asked for their configuration when they are first needed.
func New(config Config) (*Service, error) { return &Service{config}, nil }

// Routes adds the routes that need no log-in to public and the others to private.
func (s *Service) Routes(public, private huma.API) {}

// Sealed lists the sealed columns.
func Sealed() []encryption.Column { return nil }
