package server

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/smart-assistant/platform/service/telemetry"
)

// TestLength: a page of a list says how long it is, whatever its length, so that it comes in one piece.
func TestLength(t *testing.T) {
	long := strings.Repeat("long ", 10_000)
	recorder := httptest.NewRecorder()
	to := &answer{ResponseWriter: recorder}
	to.WriteHeader(http.StatusCreated)
	to.WriteHeader(http.StatusTeapot) // too late
	if err := wholeJSON.Marshal(to, long); err != nil {
		t.Fatal(err)
	}
	want := strconv.Itoa(len(long) + len("\"\"\n"))
	if got := recorder.Header().Get("Content-Length"); got != want || to.status != http.StatusCreated || recorder.Code != http.StatusCreated || recorder.Body.Len() != to.bytes {
		t.Errorf("length %s instead of %s, status %d", got, want, recorder.Code)
	}
}

// TestPanic: a handler's panic is a 500 with a log line, the next request is served, and net/http's own way to cut a
// connection still cuts it. The replica's traffic counts both as failed, and not who went before the answer came.
func TestPanic(t *testing.T) {
	var log strings.Builder
	r := &replica{
		config:   Config{Log: telemetry.NewLogger(&log, slog.LevelInfo), Now: telemetry.SystemClock, Rand: rand.Reader},
		metrics:  telemetry.NewMetrics("v1", "abc"),
		traffic:  telemetry.NewTraffic(telemetry.SystemClock()),
		draining: make(chan struct{}),
	}
	mux := chi.NewRouter()
	mux.Use(r.requestID, r.observe, r.recover)
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("secret of the house") })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/fine", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, req *http.Request) {
		<-req.Context().Done()
		w.WriteHeader(http.StatusInternalServerError)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	get := func(path string) (status int, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Close = true // a connection that was used before is tried again when it is cut
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	for path, want := range map[string]int{"/panic": http.StatusInternalServerError, "/fine": http.StatusOK, "/ready": http.StatusServiceUnavailable} {
		if status, err := get(path); err != nil || status != want {
			t.Errorf("%s: %d %v", path, status, err)
		}
	}
	if _, err := get("/abort"); err == nil {
		t.Error("the connection was not cut")
	}
	if _, err := get("/slow"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the slow one: %v", err)
	}
	server.Close() // waits for its handlers
	_, releases := r.traffic.Sums(telemetry.SystemClock(), time.Hour)
	want := []telemetry.Failure{{Method: "GET", Path: "/abort", Status: telemetry.BrokenOff, Count: 1}, {Method: "GET", Path: "/panic", Status: 500, Count: 1}}
	if sum := telemetry.Merge(slices.Collect(maps.Values(releases))...); sum.Requests != 4 || sum.Failed != 2 || !slices.Equal(sum.Failures, want) {
		t.Errorf("traffic: %+v", sum)
	}
	if text := log.String(); strings.Count(text, "panic") < 1 || !strings.Contains(text, "secret of the house") || !strings.Contains(text, "middleware_test.go") || !strings.Contains(text, "request_id") {
		t.Errorf("log: %s", text)
	}
}
