// Package chat is the service as Open WebUI and any other client of OpenAI's API sees it: a model, and tools.
//
// It owns the routes under /v1 and /tools and no table. It does what it says through the other parts and asks nothing of the database
// itself.
package chat

import (
	"log/slog"

	"github.com/go-chi/chi/v5"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/briefing"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/upstream"
)

// Config is what a Service works with.
type Config struct {
	Accounts  *account.Service
	Mail      *mail.Service
	Jobs      *job.Service
	Briefings *briefing.Service // nil in a build without briefings
	Upstream  *upstream.Client
	Metrics   *telemetry.Metrics
	Log       *slog.Logger
	Now       telemetry.Clock

	// ConnectionKey is the API key of Open WebUI's connection; UserTokenKey checks the user token that it sends along
	// (WEBUI_SECRET_KEY there). Empty: only this service's own access tokens are let in.
	ConnectionKey, UserTokenKey string
}

// Service answers OpenAI's clients. It is safe for concurrent use.
type Service struct{ config Config }

// New makes a service.
func New(config Config) (*Service, error) { return &Service{config}, nil }

// Routes adds /v1 and /tools.
func (s *Service) Routes(router chi.Router) {}
