package briefing

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/danielgtaylor/huma/v2/humatest"
	"github.com/go-chi/chi/v5"
)

func testRoutes(t *testing.T, w *world) {
	s := w.replica(t, false)
	w.caller = w.user(t, "ada")
	router := chi.NewMux()
	api := humatest.Wrap(t, humachi.New(router, huma.DefaultConfig("test", "1")))
	s.Routes(api)

	if got := api.Get("/api/v1/briefings/latest"); got.Code != http.StatusNotFound {
		t.Errorf("latest of none: %d", got.Code)
	}
	created := api.Post("/api/v1/briefings")
	var b Briefing
	if err := json.Unmarshal(created.Body.Bytes(), &b); err != nil || created.Code != http.StatusCreated || b.Text == "" || len(b.Sources) == 0 {
		t.Fatalf("%v: %d %s", err, created.Code, created.Body)
	}
	path := created.Header().Get("Location")
	if path != "/api/v1/briefings/"+b.ID {
		t.Errorf("location %q", path)
	}
	etag := created.Header().Get("ETag")
	for _, test := range []struct {
		method, path, match string
		want                int
	}{
		{"GET", path, "", 200},
		{"GET", path, etag, 304},
		{"GET", path, `"other", W/` + etag, 304},
		{"GET", path, `"other"`, 200},
		{"GET", "/api/v1/briefings/latest", "", 200},
		{"GET", "/api/v1/briefings/latest", etag, 304},
		{"GET", "/api/v1/briefings", "", 200},
		{"GET", "/api/v1/briefings?limit=0", "", 422},
		{"GET", "/api/v1/briefings?cursor=x", "", 422},
		{"GET", "/api/v1/briefings?cursor=WzFd", "", 422}, // JSON, but of another list
		{"GET", "/api/v1/briefings/x", "", 422},
		{"GET", "/api/v1/briefings/" + id("nobody's"), "", 404},
		{"DELETE", "/api/v1/briefings/" + id("nobody's"), "", 404},
		{"DELETE", path, "", 204},
		{"DELETE", path, "", 404},
	} {
		var headers []any
		if test.match != "" {
			headers = append(headers, "If-None-Match: "+test.match)
		}
		got := api.Do(test.method, test.path, headers...)
		if got.Code != test.want {
			t.Errorf("%s %s %s: %d, want %d: %s", test.method, test.path, test.match, got.Code, test.want, got.Body)
		}
		if tag := got.Header().Get("ETag"); (got.Code == 304) && tag != etag {
			t.Errorf("%s %s: ETag %q, want %q", test.method, test.path, tag, etag)
		}
	}
	for body, want := range map[string]int{
		`{"enabled":true,"time_zone":"Europe/Berlin","at":"07:30"}`:                   200,
		`{"enabled":true,"time_zone":"Mars/Base","at":"07:30"}`:                       422,
		`{"enabled":true,"time_zone":"Local","at":"07:30"}`:                           422,
		`{"enabled":true,"time_zone":"` + strings.Repeat("x", 65) + `","at":"07:30"}`: 422,
		`{"enabled":true,"time_zone":"../../etc/passwd","at":"07:30"}`:                422,
		`{"enabled":true,"time_zone":"UTC","at":"24:00"}`:                             422,
	} {
		if got := api.Put("/api/v1/me/briefing-schedule", strings.NewReader(body)); got.Code != want {
			t.Errorf("%s: %d, want %d: %s", body, got.Code, want, got.Body)
		}
	}
	w.caller = id("nobody")
	if got := api.Post("/api/v1/briefings"); got.Code != http.StatusUnauthorized {
		t.Errorf("a user who is gone: %d", got.Code)
	}
}
