package server

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/telemetry"
)

// TestPanic: a handler's panic is a 500 with a log line, the next request is served, and net/http's own way to cut a
// connection still cuts it.
func TestPanic(t *testing.T) {
	var log strings.Builder
	r := &replica{
		config:   Config{Log: telemetry.NewLogger(&log, slog.LevelInfo), Now: telemetry.SystemClock, Rand: rand.Reader},
		metrics:  telemetry.NewMetrics("v1", "abc"),
		draining: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("secret of the house") })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/fine", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(r.requestID(r.recover(mux)))
	defer server.Close()
	get := func(path string) (status int, err error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	for path, want := range map[string]int{"/panic": http.StatusInternalServerError, "/fine": http.StatusOK} {
		if status, err := get(path); err != nil || status != want {
			t.Errorf("%s: %d %v", path, status, err)
		}
	}
	if _, err := get("/abort"); err == nil {
		t.Error("the connection was not cut")
	}
	if text := log.String(); strings.Count(text, "panic") < 1 || !strings.Contains(text, "secret of the house") || !strings.Contains(text, "middleware_test.go") || !strings.Contains(text, "request_id") {
		t.Errorf("log: %s", text)
	}
}
