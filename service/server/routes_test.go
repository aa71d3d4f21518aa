package server_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/server"
)

// testAllow: a method that a route does not know is answered with those that it knows (RFC 9110, section 15.5.6).
func testAllow(t *testing.T, w *world) {
	r := w.start(t)
	for _, c := range []struct{ method, path, allow string }{
		{"POST", "/health", "GET, HEAD"},
		{"DELETE", "/docs", "GET, HEAD"},
		{"PUT", "/api/v1/me", "GET, HEAD, PATCH, DELETE"},
		{"GET", "/api/v1/auth/login", "POST"},
		{"HEAD", "/api/v1/auth/login", "POST"},
		{"OPTIONS", "/api/v1/applications", "GET, HEAD, POST"},
		{"PUT", "/v1/models", "GET, HEAD"},
		{"DELETE", "/v1/models/a%2Fb", "GET, HEAD"},
		{"GET", "/v1/embeddings", "POST"},
		{"GET", "/tools/list_jobs", "POST"},
		{"BREW", "/version", "GET, HEAD"},
	} {
		if a := r.want(t, http.StatusMethodNotAllowed, c.method, c.path, "", nil); a.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: Allow: %q, want %q", c.method, c.path, a.Header.Get("Allow"), c.allow)
		}
	}
	if a := r.want(t, http.StatusNotFound, "PUT", "/nowhere", "", nil); a.Header.Get("Allow") != "" {
		t.Errorf("no route, but Allow: %q", a.Header.Get("Allow"))
	}
}

// testHead: HEAD is answered as GET is, without the body (RFC 9110, section 9.3.2).
func testHead(t *testing.T, w *world) {
	r := w.start(t)
	token := r.user(t, "ada@example.org").AccessToken
	paths := []string{"/health", "/ready", "/version", "/docs", "/docs/style.css", "/openapi.json", "/tools/openapi.json", "/v1/models", "/v1/models/nobody", "/nowhere"}
	d, _ := r.document(t, "/openapi.json")
	d.each(func(path, method string, _ operation) {
		if method == http.MethodGet {
			paths = append(paths, regexp.MustCompile(`{\w+}`).ReplaceAllString(path, "01a20ad4-e152-745f-86a0-b632a4052734"))
		}
	})
	for _, path := range paths {
		get, head := r.call(t, "GET", path, token, nil), r.call(t, "HEAD", path, token, nil)
		if head.StatusCode != get.StatusCode || head.text != "" || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("%s: GET %s (%s), HEAD %s (%s) %q", path, get.Status, get.Header.Get("Content-Type"), head.Status, head.Header.Get("Content-Type"), head.text)
		}
	}
	r.want(t, http.StatusUnauthorized, "HEAD", "/api/v1/me", "", nil)
}

// testPrivatePort: what a replica says of itself to its operators is on the port of their own, and nowhere on the users'.
func testPrivatePort(t *testing.T, w *world) {
	r := w.start(t)
	token := r.user(t, "ada@example.org").AccessToken
	for _, path := range []string{
		"/metrics", "/traffic", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/symbol", "/debug/pprof/heap?debug=1", "/debug/pprof/goroutine?debug=1",
		"/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=0.1",
	} {
		if a, err := try(t.Context(), "GET", r.metrics+path, "", nil); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("private %s: %v %v", path, a.Response, err)
		}
		r.want(t, http.StatusNotFound, "GET", path, token, nil)
	}
	if a, err := try(t.Context(), "GET", r.metrics+"/api/v1/me", token, nil); err != nil || a.StatusCode != http.StatusNotFound {
		t.Errorf("the API on the private port: %v %v", a.Response, err)
	}
}

// testTraces: a replica that is given where spans go sends one for each request but probes, and its log line names the trace.
func testTraces(t *testing.T, w *world) {
	spans := tracetest.NewInMemoryExporter()
	r := w.start(t, func(c *server.Config) { c.Traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)) })
	token := r.user(t, "ada@example.org").AccessToken
	spans.Reset()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	if _, err := try(t.Context(), "GET", r.url+"/api/v1/emails?limit=7", token, nil, func(r *http.Request) {
		r.Header.Set("Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	}); err != nil {
		t.Fatal(err)
	}
	r.want(t, http.StatusOK, "GET", "/ready", "", nil) // a probe: no span
	if err := r.stop(); err != nil {                   // a span and a line end after the answer was read
		t.Fatal(err)
	}
	var requests, queries []string
	for _, span := range spans.GetSpans() {
		if span.SpanKind == oteltrace.SpanKindServer {
			requests = append(requests, span.Name+" "+span.SpanContext.TraceID().String())
		} else if span.SpanContext.TraceID().String() == trace {
			queries = append(queries, span.Name)
		}
	}
	if !slices.Equal(requests, []string{"GET /api/v1/emails " + trace}) || !slices.Contains(queries, "SELECT") {
		t.Errorf("spans of requests %q, of this one's queries %q", requests, queries)
	}
	for line := range strings.Lines(w.log.String()) {
		var entry struct {
			Msg, Route string
			TraceID    string `json:"trace_id"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if entry.Msg == "request" && entry.Route == "/api/v1/emails" && entry.TraceID == trace {
			return
		}
	}
	t.Errorf("no line of the request names the trace %s:\n%s", trace, w.log.String())
}

// testPasswordsAreNotKept: nothing is kept of a call that changes a password, whatever key it has.
func testPasswordsAreNotKept(t *testing.T, w *world) {
	r, db := w.start(t, allowLoopback), connect(t, w.url)
	token := r.user(t, "ada@example.org").AccessToken
	kept := func(path string, status int, body any) (rows int) {
		t.Helper()
		a, err := try(t.Context(), "POST", r.url+path, token, body, func(r *http.Request) { r.Header.Set(api.IdempotencyHeader, "k") })
		if err != nil || a.StatusCode != status {
			t.Fatalf("%s: %v %v %s", path, a.Response, err, a.text)
		}
		w.one(t, db, &rows, "WITH gone AS (DELETE FROM idempotency_keys RETURNING 1) SELECT count(*) FROM gone")
		return rows
	}
	if rows := kept("/api/v1/me/password", 204, object{"current_password": password, "new_password": "another " + password}); rows != 0 {
		t.Errorf("%d rows are kept of a changed password", rows)
	}
	if rows := kept("/api/v1/applications", 201, object{"company": "Acme"}); rows != 1 {
		t.Errorf("%d rows are kept of an application", rows)
	}
	for _, path := range []string{"/api/v1/me/password", "/api/v1/mail-imports", "/api/v1/connections/gmail", "/api/v1/me/identities"} {
		d, _ := r.document(t, "/openapi.json")
		for _, p := range d.Paths[path]["post"].Parameters {
			if p.Name == api.IdempotencyHeader {
				t.Errorf("POST %s documents a key, and keeps nothing", path)
			}
		}
	}
}
