package briefing

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/upstream"
)

// testUpstream asks a server through package upstream: a good one writes the briefing; a slow, a broken and a talkative one do not keep
// the user from having it, and in the end are not asked any more.
func testUpstream(t *testing.T, w *world) {
	draft := must[Briefing](t)(w.replica(t, false).Generate(t.Context(), w.user(t, "quoting"))).Text
	for name, test := range map[string]struct {
		serve  http.HandlerFunc
		writer string
	}{
		"good": {complete(draft), "test-model"},
		"slow": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, extractive},
		"500":  {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }, extractive},
		"HTML": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, extractive},
		"evil": {complete("- [Your offer](https://evil.example) [1] [2] [3] [4]"), extractive},
	} {
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			// Reading the body lets the server notice that the caller has gone.
			var request struct {
				Tools []any `json:"tools"`
			}
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil || len(request.Tools) != 0 {
				t.Errorf("%s: asked with tools, or not at all: %v", name, err)
			}
			test.serve(rw, r)
		}))
		w.model = must[*upstream.Client](t)(upstream.New(upstream.Config{URL: server.URL + "/v1", Model: "test-model", HTTP: server.Client()}))
		s := w.replica(t, false)
		if test.writer == extractive {
			s.config.Patience = 50 * time.Millisecond
		} else {
			s.config.Patience = time.Minute
		}
		user := w.user(t, name)
		for range 12 {
			w.exec(t, `DELETE FROM briefings WHERE user_id = $1`, user)
			if b := must[Briefing](t)(s.Generate(t.Context(), user)); b.Writer != test.writer || b.Text != draft {
				t.Errorf("%s: written by %s:\n%s", name, b.Writer, b.Text)
			}
		}
		if name == "500" && asked.Load() >= 24 {
			t.Errorf("%s: asked %d times", name, asked.Load())
		}
		server.Close()
	}
}

// complete answers as OpenAI's chat completions do.
func complete(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"choices": []any{map[string]any{
			"index": 0, "finish_reason": "stop", "message": map[string]string{"role": "assistant", "content": text},
		}}})
	}
}
