// Package signin is log-in with an account elsewhere (OpenID Connect Core 1.0), and a user's consent to read Gmail (OAuth 2.0, RFC 6749).
//
// It owns the tables identities and oauth_flows, the SQL on them (queries.sql, compiled by sqlc into signindb), and the routes under
// /api/v1/oauth, /api/v1/me/identities and /api/v1/connections/gmail. Users and sessions are package account's, what the consent to read
// Gmail is for is package mail's.
//
// Every way to a provider and back is a flow: a row that the browser's state leads to once, and that only the browser which began it may
// end, because it has the cookie (RFC 9700, section 4.7). Each uses PKCE with S256 (RFC 7636); each log-in has a nonce.
package signin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/oauth2"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/signin/signindb"
	"github.com/smart-assistant/platform/service/telemetry"
)

// Provider is an OpenID provider that users may log in with.
type Provider struct {
	Name         string // in routes: google
	Issuer       string // https://accounts.google.com; http only on this machine
	ClientID     string
	ClientSecret string // empty for a public client
}

// Accounts is what log-in needs of package account.
type Accounts interface {
	// OpenSession begins a session of a user who proved elsewhere who they are.
	OpenSession(ctx context.Context, userID, provider string) (account.Tokens, error)
	// CreateExternal makes a user without a password whose address the provider has proved, in a transaction. account.ErrEmailTaken when
	// the address has an account.
	CreateExternal(ctx context.Context, tx pgx.Tx, email, displayName string) (userID string, err error)
	// Linked records, in a transaction, that a user has linked a provider, and tells them by mail.
	Linked(ctx context.Context, tx pgx.Tx, userID, provider string) error
	// Record writes an audit event, in a transaction.
	Record(ctx context.Context, tx pgx.Tx, userID, action string, detail map[string]any) error
}

// Mailboxes is what a consent to read Gmail is handed to: package mail.
type Mailboxes interface {
	ConnectGmail(ctx context.Context, userID, address string, token *oauth2.Token) (connectionID string, err error)
}

// Config is what a Service works with.
type Config struct {
	Pool      *pgxpool.Pool
	Keyring   *encryption.Keyring
	Accounts  Accounts
	Mail      Mailboxes
	Caller    api.Caller
	Log       *slog.Logger
	Now       telemetry.Clock
	Rand      io.Reader // a cryptographic source
	Providers []Provider
	PublicURL string   // of this service, for redirects: https://api.example.org; required with a provider or Gmail
	ReturnTo  []string // origins that a browser may be sent to at the end: https://app.example.org

	Gmail    *oauth2.Config // client and endpoint; nil where Gmail is not configured
	GmailURL string         // where Gmail's API is; default https://gmail.googleapis.com
}

// Service answers for log-ins elsewhere. It is safe for concurrent use.
type Service struct {
	config    Config
	db        *signindb.Queries
	http      *http.Client
	providers map[string]*provider
	issuers   []string
	cookie    string // name of the cookie that binds flows to a browser
	secure    bool
}

// New checks the configuration. Providers are asked for theirs when they are first needed.
func New(config Config) (*Service, error) {
	s := &Service{config: config, db: signindb.New(config.Pool), providers: map[string]*provider{}}
	// Whom this client talks to is said by the operator, not by users: an identity provider may well be inside a private network.
	s.http = &http.Client{Timeout: 10 * time.Second}
	s.config.PublicURL = strings.TrimSuffix(config.PublicURL, "/")
	if config.GmailURL == "" {
		s.config.GmailURL = "https://gmail.googleapis.com"
	}
	if len(config.Providers) > 0 || config.Gmail != nil {
		if !isOrigin(s.config.PublicURL) {
			return nil, fmt.Errorf("set up log-in elsewhere: the public URL %q is not one like https://api.example.org", config.PublicURL)
		}
	}
	for _, origin := range config.ReturnTo {
		if !isOrigin(origin) {
			return nil, fmt.Errorf("set up log-in elsewhere: %q is no origin to return to, such as https://app.example.org", origin)
		}
	}
	for _, p := range config.Providers {
		if err := s.add(p); err != nil {
			return nil, fmt.Errorf("set up log-in with %q: %w", p.Name, err)
		}
	}
	s.cookie, s.secure = "oauth_browser", strings.HasPrefix(s.config.PublicURL, "https:")
	if s.secure {
		s.cookie = "__Host-" + s.cookie // no other host of the domain can set it: RFC 6265bis, section 4.1.3.2
	}
	return s, nil
}

func (s *Service) add(p Provider) error {
	issuer, err := url.Parse(p.Issuer)
	switch {
	case p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(p.Name) > maxProvider:
		return fmt.Errorf("its name is not 1 to %d of a-z, 0-9 and -", maxProvider)
	case p.Name == gmail:
		return errors.New("its name is that of the consent to read Gmail")
	case s.providers[p.Name] != nil:
		return errors.New("there are two of this name")
	case slices.Contains(s.issuers, p.Issuer):
		return errors.New("there are two with this issuer")
	case err != nil || issuer.Host == "" || issuer.RawQuery != "" || issuer.Fragment != "" || len(p.Issuer) > 500:
		return fmt.Errorf("the issuer %q is not a URL", p.Issuer)
	case issuer.Scheme != "https" && (issuer.Scheme != "http" || !isLoopback(issuer.Hostname())):
		return fmt.Errorf("the issuer %q is not an https URL", p.Issuer)
	case p.ClientID == "":
		return errors.New("it has no client id")
	}
	s.providers[p.Name] = newProvider(p, s.callbackURL(p.Name), s.http, s.config.Now)
	s.issuers = append(s.issuers, p.Issuer)
	return nil
}

// callbackURL is the redirect URI that is registered with a provider.
func (s *Service) callbackURL(name string) string {
	return s.config.PublicURL + "/api/v1/oauth/" + name + "/callback"
}

// Sweep deletes flows that ended, some hundreds at a time, and says how many. Replicas may sweep at the same time.
func (s *Service) Sweep(ctx context.Context) (int64, error) {
	n, err := s.db.DeleteExpiredFlows(ctx, s.config.Now())
	if err != nil {
		return 0, fmt.Errorf("delete ended log-ins elsewhere: %w", err)
	}
	return n, nil
}

// Sealed lists the sealed columns.
func Sealed() []encryption.Column {
	return []encryption.Column{{Table: "oauth_flows", Name: "secrets", Key: "state_hash", Owner: "user_id"}}
}
