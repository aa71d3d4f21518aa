// Package chat is the service as Open WebUI and any other client of OpenAI's API sees it: models, conversations, embeddings, and tools.
//
// It owns the routes under /v1 and /tools and no table. It does what it says through the other parts and asks nothing of the database
// itself. In reading order: completions.go decides who answers a conversation; offline.go answers without a language model, agent.go
// with one, openwebui.go the small tasks that Open WebUI sets; tools.go is the table of tools that all of them and the HTTP routes share.
//
// # Who asks
//
// A request carries either an access token of this service, or the connection's key together with a user token that Open WebUI signed
// (X-OpenWebUI-User-Jwt, HS256). Neither key is enough alone: the user token has no audience, so that a copy of it from elsewhere must
// not open this service, and the connection's key names nobody. Plain headers such as X-OpenWebUI-User-Email are never read.
//
// The token's user is the account here with the same e-mail address, if that account proved the address and is not disabled. Open
// WebUI's word is taken as that of an identity provider which the operator chose, by giving it both keys; so it must not let people
// sign up with addresses that nobody checks (DEFAULT_USER_ROLE=pending, or its own OIDC login). An account that has not proved its
// address is never meant: somebody may have registered another's address here, to be given what the other says there.
//
// # Text from strangers
//
// Mail, postings and the briefings made of them are written by strangers, and a language model may take them for orders. Two rules that
// the model cannot change keep such text from doing anything (guard.go): a tool that writes runs only when the user's last message asks
// for it in the user's own words, and only as long as nothing from strangers came into the conversation since that message.
package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/briefing"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/upstream"
)

// Users says who asks.
type Users interface {
	// Authenticate returns the user of an access token. ErrNoUser when it lets nobody in.
	Authenticate(ctx context.Context, accessToken string) (userID string, err error)
	// ByEmail returns the user whose proved address this is. ErrNoUser when there is none, or the account is disabled.
	ByEmail(ctx context.Context, email string) (userID string, err error)
}

// ErrNoUser is a token that lets nobody in, or an address that no enabled account has proved.
var ErrNoUser = errors.New("no enabled account is meant")

// Mail is what is asked of package mail.
type Mail interface {
	List(ctx context.Context, userID string, filter mail.Filter, page api.Page) ([]mail.Summary, string, error)
	Get(ctx context.Context, userID, id string) (mail.Email, error)
	Search(ctx context.Context, userID, query string, filter mail.Filter, page api.Page) ([]mail.Summary, string, error)
	Similar(ctx context.Context, userID, text string, limit int) (mail.Alike, error)
}

// Jobs is what is asked of package job.
type Jobs interface {
	Postings(ctx context.Context, userID string, filter job.PostingFilter, page api.Page) ([]job.Posting, string, error)
	Applications(ctx context.Context, userID string, status job.Status, page api.Page) ([]job.Application, string, error)
	Add(ctx context.Context, userID string, application job.NewApplication) (job.Application, error)
	Update(ctx context.Context, userID, id string, version int, change job.ApplicationChange) (job.Application, error)
}

// Briefings is what is asked of package briefing.
type Briefings interface {
	Latest(ctx context.Context, userID string) (briefing.Briefing, error)
	Generate(ctx context.Context, userID string) (briefing.Briefing, error)
}

// Config is what a Service works with.
type Config struct {
	Users     Users
	Mail      Mail
	Jobs      Jobs
	Briefings Briefings // nil in a build without briefings: their tools are not there
	Upstream  *upstream.Client
	Metrics   *telemetry.Metrics
	Log       *slog.Logger
	Now       telemetry.Clock

	// Embed makes a user's embeddings where no upstream does, by the model of the name EmbedModel. They compare with the same user's only.
	Embed      func(ctx context.Context, userID string, texts []string) ([][]float32, error)
	EmbedModel string

	// Allow counts a user's request and says how long to wait where there were too many; nil allows all.
	Allow func(ctx context.Context, userID string) (wait time.Duration, allowed bool)

	// Once has a tool that writes done once for an idempotency key, by whom UserID names; refuse answers what cannot be done. nil: each time.
	Once func(do http.HandlerFunc, refuse func(http.ResponseWriter, *http.Request, error)) http.HandlerFunc

	// ConnectionKey is the API key of Open WebUI's connection; UserTokenKey checks the user token that it sends along
	// (FORWARD_USER_INFO_HEADER_JWT_SECRET there). Both empty: only this service's own access tokens are let in.
	ConnectionKey, UserTokenKey string
}

// minKey is the least length of either key, in bytes: that of the hash behind HS256 (RFC 7518, section 3.2).
const minKey = 32

// Service answers OpenAI's clients. It is safe for concurrent use.
type Service struct {
	config      Config
	tools       []tool
	openAPI     *huma.OpenAPI // of the tools
	openAPIText []byte        // at /tools/openapi.json
	metrics     *metrics
	began       time.Time
}

// New makes a service. Keys that are short, equal, or there without the other are an error.
func New(config Config) (*Service, error) {
	if (config.ConnectionKey == "") != (config.UserTokenKey == "") {
		return nil, errors.New("set up chat: the connection's key and the user tokens' key are there together or not at all")
	}
	if config.ConnectionKey != "" && (len(config.ConnectionKey) < minKey || len(config.UserTokenKey) < minKey) {
		return nil, fmt.Errorf("set up chat: the connection's key and the user tokens' key have at least %d characters (openssl rand -hex 32)", minKey)
	}
	if config.ConnectionKey != "" && config.ConnectionKey == config.UserTokenKey {
		return nil, errors.New("set up chat: the connection's key and the user tokens' key are one; whoever had the first could name any user")
	}
	s := &Service{config: config, began: config.Now()}
	s.tools = s.toolTable()
	var err error
	s.openAPI = openAPI(s.tools)
	if s.openAPIText, err = s.openAPI.MarshalJSON(); err != nil {
		return nil, fmt.Errorf("write the tools' OpenAPI document: %w", err)
	}
	if s.metrics, err = newMetrics(config.Metrics); err != nil {
		return nil, fmt.Errorf("register chat's metrics: %w", err)
	}
	return s, nil
}

// OpenAPI is what /tools/openapi.json says. It is not to be changed.
func (s *Service) OpenAPI() *huma.OpenAPI { return s.openAPI }

// CompletionsPath is the route whose answers take as long as a language model does.
const CompletionsPath = "/v1/chat/completions"

// Routes adds /v1 and /tools.
func (s *Service) Routes(router chi.Router) {
	router.Route("/v1", func(v1 chi.Router) {
		v1.NotFound(func(w http.ResponseWriter, _ *http.Request) { writeError(w, errNoRoute) })
		v1.MethodNotAllowed(func(w http.ResponseWriter, req *http.Request) {
			api.Allow(w.Header(), req)
			writeError(w, errMethod)
		})
		v1.Get("/models", s.listModels)
		v1.Get("/models/*", s.getModel) // names of models may hold slashes
		v1.Post("/chat/completions", s.forUser(s.completions))
		v1.Post("/embeddings", s.forUser(s.embeddings))
	})
	router.Get("/tools/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(s.openAPIText)
	})
	for _, t := range s.tools {
		router.Post("/tools/"+t.name, s.toolRoute(t))
	}
}
