package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/briefing"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/telemetry"
)

// handler is every route of the API's port, in the order in which a request meets it.
func (r *replica) handler() http.Handler {
	router := chi.NewRouter()
	router.Use(r.requestID, r.clientAddress)
	if r.config.Traces != nil {
		router.Use(telemetry.TraceRequests(r.config.Traces, route))
	}
	router.Use(r.observe, r.recover, r.closeWhenDraining, securityHeaders, r.trustedHost, r.crossOrigin, r.limitAddress, wellFormed, r.limit, middleware.GetHead)
	router.NotFound(func(w http.ResponseWriter, req *http.Request) {
		writeProblem(w, req, http.StatusNotFound, "no such route")
	})
	router.MethodNotAllowed(func(w http.ResponseWriter, req *http.Request) {
		api.Allow(w.Header(), req)
		writeProblem(w, req, http.StatusMethodNotAllowed, "the route does not know this method")
	})
	router.Get("/health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	router.Get("/ready", r.ready)
	router.Get("/version", r.version)

	root := newAPI(router, r.config.Build.Version, r.config.Log)
	public := huma.NewGroup(root)
	public.UseMiddleware(account.NoteUserAgent)
	public.UseSimpleModifier(func(op *huma.Operation) { op.MaxBodyBytes = r.config.MaxBody })
	private := huma.NewGroup(public)
	private.UseMiddleware(r.accounts.RequireUser(root), r.limitUser(root), r.repeats.Middleware(root))
	private.UseSimpleModifier(func(op *huma.Operation) {
		op.Security = []map[string][]string{{"bearer": {}}}
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusTooManyRequests)
		r.repeats.Document(op)
	})
	r.accounts.Routes(public, private)
	r.parts.routes(router, public, private)

	r.documents(router, root.OpenAPI())
	return router
}

// documents adds what the API says of itself. Both are made once, here.
func (r *replica) documents(router chi.Router, api *huma.OpenAPI) {
	document, err := json.Marshal(api)
	page, pageErr := docsPage(router, api, r.parts.chat.OpenAPI())
	if err := errors.Join(err, pageErr); err != nil {
		r.config.Log.Error("write the documents of the API", "error", err)
		return
	}
	router.Get("/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(document)
	})
	html, style := serveDocs(page)
	router.Get("/docs", html)
	router.Get("/docs/style.css", style)
}

// privateHandler is every route of the port that is not for users: metrics, traffic and profiles of this process (net/http/pprof).
func (r *replica) privateHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.metrics.Handler())
	mux.Handle("GET "+telemetry.TrafficPath, r.traffic.Handler(r.config.Build.Version, r.config.Replica, r.config.Now))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// schemaName is huma's, but for what a briefing cites: package job has a Source as well.
func schemaName(t reflect.Type, hint string) string {
	if t == reflect.TypeFor[briefing.Source]() {
		return "BriefingSource"
	}
	return huma.DefaultSchemaNamer(t, hint)
}

func newAPI(router chi.Router, version string, log *slog.Logger) huma.API {
	config := huma.DefaultConfig("Smart Assistant", version)
	config.Info.Description = "Mail, job postings, applications and briefings of the people who use the assistant. Log in with POST /api/v1/auth/login and send the " +
		"access token as a bearer token. Lists come in pages: ask for the next one with next_cursor. Errors are problems (RFC 9457)."
	config.Info.Contact = &huma.Contact{Name: "Smart Assistant"}
	config.Info.License = &huma.License{Name: "Apache 2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"}
	config.Servers = []*huma.Server{{URL: "/", Description: "This service"}}
	config.Tags = tags()
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Formats = map[string]huma.Format{"application/json": wholeJSON, "json": wholeJSON}
	config.CreateHooks = nil // they add $schema to bodies, which clients of tool servers do not expect
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
	}
	config.Transformers = append(config.Transformers, discreet(log))
	return humachi.New(router, config)
}

// tags are the groups of operations, in the order in which a newcomer meets them.
func tags() []*huma.Tag {
	return []*huma.Tag{
		{Name: "auth", Description: "Accounts and sessions."},
		{Name: "oauth", Description: "Log-in with an account elsewhere."},
		{Name: "me", Description: "My profile, sessions and data."},
		{Name: "mail", Description: "Messages: import, list, search."},
		{Name: "connections", Description: "Mailboxes elsewhere that are kept in step."},
		{Name: "jobs", Description: "Sources of postings, and the postings."},
		{Name: "applications", Description: "What I applied to, and what my mail says about it."},
		{Name: "briefing", Description: "What happened, when I want to hear of it."},
		{Name: "admin", Description: "For administrators."},
	}
}

// readiness is the body of /ready.
type readiness struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	Schema struct {
		Current int64 `json:"current"`
		Head    int64 `json:"head"`
	} `json:"schema"`
}

// ready answers 200 when this replica should get requests, otherwise 503 with the reason.
func (r *replica) ready(w http.ResponseWriter, req *http.Request) {
	answer := readiness{Reason: "the replica is shutting down"}
	answer.Schema.Head = r.config.Schema.Head()
	select {
	case <-r.draining:
	default:
		answer.Schema.Current, answer.Reason = r.checkSchema(req.Context())
	}
	answer.Ready = answer.Reason == ""
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, answer)
}

func (r *replica) checkSchema(ctx context.Context) (current int64, reason string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	history, err := schema.History(ctx, r.history)
	if err != nil {
		r.config.Log.WarnContext(ctx, "not ready", "error", err)
		return 0, "the database does not answer"
	}
	if n := len(history); n > 0 {
		current = history[n-1].Version
	}
	var notReady *schema.NotReady
	if err := schema.Ready(r.config.Schema.Migrations(), history); errors.As(err, &notReady) {
		return current, notReady.Reason
	}
	return current, ""
}

func (r *replica) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Build
		Replica    string `json:"replica,omitempty"`
		SchemaHead int64  `json:"schema_head"`
	}{r.config.Build, r.config.Replica, r.config.Schema.Head()})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error here is a client that left
}
