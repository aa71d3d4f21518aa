package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/smart-assistant/platform/service/outbound"
)

const settingsHelp = `The Smart Assistant service.

Settings come from environment variables:

  ASSISTD_DATABASE_URL        PostgreSQL connection string, or
  ASSISTD_DATABASE_URL_FILE   a file that holds it
  ASSISTD_JWT_KEY_FILE        PEM file with the P-256 private key that signs access tokens;
                              further keys in it only check (serve)
  ASSISTD_MASTER_KEY_FILE     file with the master key of encryption at rest, the base64 of 32 random
                              bytes; further lines are older keys, which only open (serve)
  ASSISTD_JWT_ISSUER          iss of access tokens (default assistd)
  ASSISTD_JWT_AUDIENCE        aud of access tokens (default assistd)
  ASSISTD_PUBLIC_URL          address of this service as users reach it, such as https://api.example.org:
                              for links in mails, and needed for log-in with other providers
  ASSISTD_SMTP_URL            server that sends mail, smtps://user:password@host:port, or smtp:// for
                              STARTTLS, or
  ASSISTD_SMTP_URL_FILE       a file that holds it (default: no mail is sent, and accounts are usable
                              without a proved address)
  ASSISTD_MAIL_DIR            folder that mails are written to instead, for development
  ASSISTD_MAIL_FROM           sender of mails
  ASSISTD_LISTEN              address of the API (default 127.0.0.1:8080)
  ASSISTD_METRICS_LISTEN      address of /metrics and /traffic (default none)
  ASSISTD_HOSTS               host names that requests may be for, with commas between (default any)
  ASSISTD_CORS_ORIGINS        origins of web pages that may call the API (default none)
  ASSISTD_TRUSTED_PROXIES     networks of proxies whose X-Forwarded-For is believed (default none)
  ASSISTD_VALKEY_URL          where replicas count requests together, redis://…, or
  ASSISTD_VALKEY_URL_FILE     a file that holds it (default: each replica counts alone)
  ASSISTD_RATE_PER_ADDRESS    requests a minute of one address (default 3000)
  ASSISTD_RATE_PER_USER       requests a minute of one account (default 6000)
  ASSISTD_RATE_AUTH           log-ins, sign-ups and the like a minute of one address (default 30)
  ASSISTD_RATE_EXEMPT         networks that are not counted (default 127.0.0.0/8, ::1)
  ASSISTD_REPLICA             name of this replica, for logs and the X-Replica header
  ASSISTD_ERROR_FILE          file for the error that ends a command (default standard error)
  ASSISTD_LOG_LEVEL           debug, info, warn or error (default info)
  OTEL_EXPORTER_OTLP_ENDPOINT where traces go, by OTLP over HTTP (default none)
  ASSISTD_DRAIN_DELAY         time between SIGTERM and the end of listening (default 3s)
  ASSISTD_DRAIN_TIMEOUT       time for requests to finish after that (default 30s)
  ASSISTD_REQUEST_TIMEOUT     longest time of one request (default 15s)
  ASSISTD_DB_CONNECTIONS      most connections to the database (default: 4, or the number of cores)
  ASSISTD_QUEUE_WORKERS       background jobs that run at once, such as syncs of mailboxes, in each of the
                              queues (default 2)
  ASSISTD_BCRYPT_COST         cost of password hashes, 10 to 20 (default 10)
  ASSISTD_AUDIT_RETENTION     how long the audit log is kept (default 9600h, 400 days)
  ASSISTD_OUTBOUND_ALLOW      private networks that feeds and mail servers may be in, as
                              10.1.0.0/16,fd00:1::/32 (default none: public addresses only)
  ASSISTD_MAIL_INTERVAL       time between two syncs of a connected mailbox (default 5m)
  ASSISTD_GMAIL_MAX           most messages that the first sync of a Gmail mailbox fetches, the newest
                              first (default 50000)
  ASSISTD_LLM_URL             base URL of a language model's server that speaks OpenAI's API, such as
                              https://api.openai.com/v1; it may be a private address (default none)
  ASSISTD_LLM_KEY_FILE        file with its API key
  ASSISTD_LLM_MODEL           name of its model for chat
  ASSISTD_LLM_EMBEDDING_MODEL name of its model for embeddings (default none: embeddings are made here)
  ASSISTD_LLM_TIMEOUT         longest time of one answer, or until a streamed one begins (default 30s)
  ASSISTD_CHAT_KEY_FILE       file with the API key of Open WebUI's connection
  ASSISTD_CHAT_USER_KEY_FILE  file with the key that signs Open WebUI's user tokens
                              (FORWARD_USER_INFO_HEADER_JWT_SECRET there)
  ASSISTD_OIDC_PROVIDERS_FILE YAML or JSON file with OpenID providers that users may log in with: a list
                              of name, issuer, client_id and client_secret, or client_secret_file (default none)
  ASSISTD_GOOGLE_CLIENT_ID    client id at Google: adds log-in with Google and the connecting of Gmail
  ASSISTD_GOOGLE_CLIENT_SECRET_FILE
                              file with that client's secret
  ASSISTD_RETURN_TO           origins of pages that a browser may be sent to after such a log-in, with
                              commas between; of the same site as ASSISTD_PUBLIC_URL (default none)
  ASSISTD_LOCK_TIMEOUT        longest wait of a migration's statement for a lock (default 1s)
  ASSISTD_RUNNER_WAIT         longest wait for another migration runner (default 15m)`

// environment reads settings and collects what is wrong with them, so that all of it is said at once.
type environment struct{ problems []error }

func (e *environment) text(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

func (e *environment) duration(name string) time.Duration {
	value := os.Getenv(name)
	if value == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		e.problem("%s=%q: want a duration above 0, such as 5s", name, value)
	}
	return d
}

func (e *environment) number(name string, least, most int) int {
	value := os.Getenv(name)
	if value == "" {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		e.problem("%s=%q: want a number from %d to %d", name, value, least, most)
	}
	return n
}

// file reads the file that the variable names. Its text is trimmed of white space.
func (e *environment) file(name string) string {
	path := os.Getenv(name)
	if path == "" {
		return ""
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		e.problem("%s: %w", name, err)
	}
	return strings.TrimSpace(string(text))
}

func (e *environment) databaseURL() string {
	url := e.text("ASSISTD_DATABASE_URL", e.file("ASSISTD_DATABASE_URL_FILE"))
	if url == "" && len(e.problems) == 0 {
		e.problem("set ASSISTD_DATABASE_URL or ASSISTD_DATABASE_URL_FILE")
	}
	return url
}

func (e *environment) logLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(e.text("ASSISTD_LOG_LEVEL", "info"))); err != nil {
		e.problem("ASSISTD_LOG_LEVEL: %w", err)
	}
	return level
}

func (e *environment) guard(name string) *outbound.Guard {
	allowed, err := outbound.ParseAllowed(os.Getenv(name))
	if err != nil {
		e.problem("%s: %w", name, err)
	}
	return outbound.New(allowed...)
}

func (e *environment) problem(format string, args ...any) {
	e.problems = append(e.problems, fmt.Errorf(format, args...))
}

func (e *environment) err() error { return errors.Join(e.problems...) }
