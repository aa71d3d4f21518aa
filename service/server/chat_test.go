package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/server"
	"github.com/smart-assistant/platform/service/upstream"
)

func say(text string) object {
	return object{"model": "smart-assistant", "messages": []object{{"role": "user", "content": text}}}
}

// testChat: what one user tells the assistant is that user's and nobody else's, by conversation and by tool.
func testChat(t *testing.T, w *world) {
	r := w.start(t)
	ada, bob := r.user(t, "ada@example.com").AccessToken, r.user(t, "bob@example.com").AccessToken
	if a := r.want(t, http.StatusOK, "POST", "/v1/chat/completions", ada, say("add application at ACME as Engineer")); !strings.Contains(a.text, "Added: **Engineer** at **ACME**") {
		t.Error(a.text)
	}
	if a := r.want(t, http.StatusOK, "POST", "/tools/list_applications", ada, object{"status": "applied"}); !strings.Contains(a.text, `"company":"ACME"`) {
		t.Error(a.text)
	}
	if a := r.want(t, http.StatusOK, "POST", "/v1/chat/completions", bob, say("list my applications")); strings.Contains(a.text, "application:") {
		t.Errorf("bob sees %s", a.text)
	}
	r.want(t, http.StatusOK, "GET", "/v1/models", ada, nil)
	r.want(t, http.StatusOK, "GET", "/tools/openapi.json", "", nil)
	if a := r.want(t, http.StatusUnauthorized, "POST", "/v1/chat/completions", "", say("help")); !strings.HasPrefix(a.text, `{"error":{`) {
		t.Error(a.text)
	}
	r.want(t, http.StatusOK, "POST", "/v1/embeddings", ada, object{"model": "smart-assistant", "input": "an interview"})
	var vectors struct {
		Data []struct{ Embedding []float64 }
	}
	r.want(t, http.StatusOK, "POST", "/v1/embeddings", ada, object{"model": "smart-assistant", "input": []string{"!!!", "the", "–"}}).decode(t, &vectors)
	for _, v := range vectors.Data {
		if !slices.ContainsFunc(v.Embedding, func(number float64) bool { return number != 0 }) {
			t.Error("a text without words has a vector of zeros, which clients divide by its length")
		}
	}
	r.want(t, http.StatusNotFound, "GET", "/v1/models/none", ada, nil)
	if a := r.want(t, http.StatusRequestEntityTooLarge, "POST", "/v1/chat/completions", ada, say(strings.Repeat("x", 1<<20))); !strings.HasPrefix(a.text, `{"error":{`) {
		t.Error(a.text)
	}
}

// testChatSearches: questions that no search can answer are the user's, and no fault of the service.
func testChatSearches(t *testing.T, w *world) {
	r := w.start(t)
	ada := r.user(t, "ada@example.com").AccessToken
	many := strings.Repeat("word ", 60)
	for _, text := range []string{"mails from me", "do I have mails about it?", "search mails about the", "search mails about !!!", "search mails about " + many, "jobs for the", "jobs for \x00"} {
		a := r.want(t, http.StatusOK, "POST", "/v1/chat/completions", ada, say(text))
		if strings.Contains(text, "mails") && !strings.Contains(a.text, "You have no mail.") {
			t.Errorf("%.40q: %s", text, a.text)
		}
	}
	for query, reason := range map[string]string{"the": "a word that has to occur", "-work": "a word that has to occur", many: "more than 32 terms", "a\x00b": ""} {
		status := http.StatusUnprocessableEntity
		if reason == "" {
			status = http.StatusOK
		}
		if a := r.want(t, status, "POST", "/tools/search_emails", ada, object{"query": query}); !strings.Contains(a.text, reason) {
			t.Errorf("%.40q: %s", query, a.text)
		}
	}
	r.want(t, http.StatusUnprocessableEntity, "POST", "/tools/search_emails", ada, object{"query": strings.Repeat("x", 501)})
	r.want(t, http.StatusUnprocessableEntity, "POST", "/tools/list_jobs", ada, object{"query": "a\x00b"})
}

// testChatOutlivesTheTimeout: a language model may write for longer than any other request may take.
func testChatOutlivesTheTimeout(t *testing.T, w *world) {
	const timeout = time.Second
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 8 { // the server's own limits are the timeout, and five seconds more to write
			fmt.Fprint(w, "data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"x\"}}]}\n\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(timeout)
		}
		fmt.Fprint(w, "data: {\"choices\": [{\"index\": 0, \"delta\": {}, \"finish_reason\": \"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(model.Close)
	r := w.start(t, func(c *server.Config) {
		c.RequestTimeout, c.Upstream = timeout, upstream.Config{URL: model.URL, Model: "slow"}
	})
	ada := r.user(t, "ada@example.com").AccessToken
	for _, stream := range []bool{true, false} {
		conversation := say("tell me a long story")
		conversation["stream"] = stream
		a := r.want(t, http.StatusOK, "POST", "/v1/chat/completions", ada, conversation)
		if stream && (strings.Count(a.text, `"content":"x"`) != 8 || !strings.HasSuffix(a.text, "data: [DONE]\n\n")) || !stream && !strings.Contains(a.text, "xxxxxxxx") {
			t.Errorf("streamed: %v: %s", stream, a.text)
		}
	}
}
