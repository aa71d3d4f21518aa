package service_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// model is a language model's server that says next to nothing, as slowly as a test likes.
type model struct {
	url string

	mu       sync.Mutex
	pause    time.Duration  // before an answer, and between the chunks of a stream
	held     bool           // answers wait, until their asker is gone
	waiting  map[string]int // askers by route, while held
	embedded map[string]int // texts, by how often a vector was given
}

func startModel(t *testing.T) *model {
	t.Helper()
	m := &model{waiting: map[string]int{}, embedded: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /embeddings", m.embed)
	mux.HandleFunc("POST /chat/completions", m.complete)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

// set says how long answers take; hold lets none through.
func (m *model) set(pause time.Duration, hold bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pause, m.held = pause, hold
}

func (m *model) waits(route string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waiting[route]
}

// times is how often vectors of texts were given, at most and in all.
func (m *model) times() (most, all int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.embedded {
		most, all = max(most, n), all+n
	}
	return most, all
}

// delay waits; false when the asker is gone.
func (m *model) delay(r *http.Request) bool {
	m.mu.Lock()
	pause, held := m.pause, m.held
	if held {
		m.waiting[r.URL.Path]++
	}
	m.mu.Unlock()
	if held {
		<-r.Context().Done()
		return false
	}
	select {
	case <-time.After(pause):
		return true
	case <-r.Context().Done():
		return false
	}
}

func (m *model) embed(w http.ResponseWriter, r *http.Request) {
	var request struct{ Input []string }
	if json.NewDecoder(r.Body).Decode(&request) != nil || !m.delay(r) {
		return
	}
	type item struct {
		Index     int       `json:"index"`
		Embedding []float32 `json:"embedding"`
	}
	data := make([]item, len(request.Input))
	m.mu.Lock()
	for i, text := range request.Input {
		data[i] = item{i, []float32{float32(len(text)), 1, -1}}
		m.embedded[text]++
	}
	m.mu.Unlock()
	_ = json.NewEncoder(w).Encode(object{"data": data}) // an error here is a client that left
}

const chunks = 12 // of a streamed answer

func (m *model) complete(w http.ResponseWriter, r *http.Request) {
	var request struct{ Stream bool }
	if json.NewDecoder(r.Body).Decode(&request) != nil || !m.delay(r) {
		return
	}
	if !request.Stream {
		_ = json.NewEncoder(w).Encode(object{"choices": []object{{"message": object{"role": "assistant", "content": "Nothing to say."}}}})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range chunks {
		reason := "null"
		if i == chunks-1 {
			reason = `"stop"`
		}
		_, _ = fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word%d \"},\"finish_reason\":%s}]}\n\n", i, reason)
		if http.NewResponseController(w).Flush() != nil || !m.delay(r) {
			return
		}
	}
	_, _ = fmt.Fprint(w, "data: [DONE]\n\n")
}
