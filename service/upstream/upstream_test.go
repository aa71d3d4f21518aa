package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/upstream"
)

const key = "sk-very-secret"

// model makes a client of a server that answers as the handler does.
func model(t *testing.T, handler http.HandlerFunc, change ...func(*upstream.Config)) *upstream.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	config := upstream.Config{URL: server.URL + "/v1/", Key: key, Model: "small", EmbeddingModel: "vectors", Timeout: 10 * time.Second}
	for _, c := range change {
		c(&config)
	}
	client, err := upstream.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

const completion = `{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}`

func TestComplete(t *testing.T) {
	client := model(t, func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Model    string
			Messages []struct{ Role, Content string }
			Stream   bool
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer "+key {
			t.Errorf("asked for %s with %q", r.URL, r.Header.Get("Authorization"))
		}
		if got := fmt.Sprint(body); got != "{small [{system Be brief.} {user Hi <b>}] false}" {
			t.Errorf("the request says %s", got)
		}
		_, _ = io.WriteString(w, completion)
	})
	answer, err := client.Complete(t.Context(), "Be brief.", "Hi <b>")
	if err != nil || answer != "Hello" {
		t.Fatalf("got %q, %v", answer, err)
	}
}

func TestConfiguration(t *testing.T) {
	for _, url := range []string{"api.openai.com", "ftp://host/v1", "http://", "https://me:secret@host/v1", "https://host/v1?key=secret", "https://host/v1#a"} {
		_, err := upstream.New(upstream.Config{URL: url, Model: "small"})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := upstream.New(upstream.Config{URL: "https://host/v1"}); err == nil {
		t.Error("a URL without a model was taken")
	}
	var none *upstream.Client
	empty, err := upstream.New(upstream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range []*upstream.Client{none, empty} {
		if client.Configured() || client.Model() != "" || client.EmbeddingModel() != "" {
			t.Error("it says that there is a model")
		}
		if _, err := client.Complete(t.Context(), "", "Hi"); !errors.Is(err, upstream.ErrUnavailable) {
			t.Errorf("Complete: %v", err)
		}
		if _, err := client.Embed(t.Context(), []string{"Hi"}); !errors.Is(err, upstream.ErrUnavailable) {
			t.Errorf("Embed: %v", err)
		}
		if _, err := client.Stream(t.Context(), upstream.Request{}); !errors.Is(err, upstream.ErrUnavailable) {
			t.Errorf("Stream: %v", err)
		}
	}
}

// TestFailures: what a server can answer instead, how often it is asked then, and what callers hear.
func TestFailures(t *testing.T) {
	answer := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	refusal := `{"error": {"message": "maximum context length; key ` + key + `"}}`
	for name, test := range map[string]struct {
		first   http.HandlerFunc
		asked   int32
		refused int // status of the RefusedError, 0 for ErrUnavailable, -1 for none: the second answer is taken
	}{
		"BadGatewayOnce":      {answer(502, "", "Retry-After", "0"), 2, -1},
		"UnavailableOnce":     {answer(503, "", "Retry-After", "0.01"), 2, -1},
		"TooManyOnce":         {answer(429, refusal, "Retry-After", "0"), 2, -1},
		"TooManyForLong":      {answer(429, refusal, "Retry-After", "60"), 1, 0},
		"TooManyUntilADate":   {answer(429, refusal, "Retry-After", "Wed, 21 Oct 2065 07:28:00 GMT"), 1, 0},
		"InternalError":       {answer(500, "Bearer "+key), 1, 0},
		"Redirect":            {answer(307, "", "Location", "http://127.0.0.1:1/"), 1, 0},
		"BadRequest":          {answer(400, refusal), 1, 400},
		"ErrorIsText":         {answer(404, `{"error": "model 'small' not found"}`), 1, 404},
		"ErrorIsHTML":         {answer(413, `<html>`), 1, 413},
		"WrongKey":            {answer(401, refusal), 1, 401},
		"NotJSON":             {answer(200, "<html>"), 1, 0},
		"NoChoice":            {answer(200, "{}"), 1, 0},
		"HalfAnAnswer":        {answer(200, completion[:40]), 1, 0},
		"EndlessAnswer":       {endless, 1, 0},
		"ConnectionBrokenOff": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			client := model(t, func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) == 1 {
					test.first(w, r)
					return
				}
				_, _ = io.WriteString(w, completion)
			})
			_, err := client.Complete(t.Context(), "", "Hi")
			if asked.Load() != test.asked {
				t.Errorf("the server was asked %d times, want %d", asked.Load(), test.asked)
			}
			var refused *upstream.RefusedError
			switch {
			case test.refused < 0:
				if err != nil {
					t.Error(err)
				}
			case test.refused == 0:
				if !errors.Is(err, upstream.ErrUnavailable) {
					t.Errorf("got %v", err)
				}
			case !errors.As(err, &refused) || refused.Status != test.refused || errors.Is(err, upstream.ErrUnavailable):
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), key) {
				t.Errorf("the key is in the error: %v", err)
			}
		})
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, `{"choices": [], "x": "`)
	for block := strings.Repeat("x", 1<<16); r.Context().Err() == nil; {
		if _, err := io.WriteString(w, block); err != nil {
			return
		}
	}
}

func TestNobodyListens(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close()
	client, err := upstream.New(upstream.Config{URL: url, Key: key, Model: "small"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Complete(t.Context(), "", "Hi"); !errors.Is(err, upstream.ErrUnavailable) || strings.Contains(err.Error(), key) {
		t.Errorf("got %v", err)
	}
}

// TestSilence: a server that accepts and says nothing, before the answer, and in the middle of a stream.
func TestSilence(t *testing.T) {
	silent := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that the client goes
		if strings.Contains(r.Header.Get("X-Test"), "stream") {
			_, _ = io.WriteString(w, "data: "+chunk("Hel", "")+"\n\n")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}
	short := func(c *upstream.Config) { c.Timeout = 50 * time.Millisecond }
	if _, err := model(t, silent, short).Complete(t.Context(), "", "Hi"); !errors.Is(err, upstream.ErrUnavailable) {
		t.Errorf("Complete: %v", err)
	}
	if _, err := model(t, silent, short).Stream(t.Context(), upstream.Request{}); !errors.Is(err, upstream.ErrUnavailable) {
		t.Errorf("Stream: %v", err)
	}
	speaks := func(c *upstream.Config) {
		c.Idle, c.HTTP = 50*time.Millisecond, &http.Client{Transport: withHeader{"X-Test", "stream"}}
	}
	stream, err := model(t, silent, speaks).Stream(t.Context(), upstream.Request{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := stream.Next(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it stays at its end
		if _, err := stream.Next(); !errors.Is(err, upstream.ErrUnavailable) {
			t.Errorf("Next: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := model(t, silent).Complete(ctx, "", "Hi"); !errors.Is(err, context.Canceled) || errors.Is(err, upstream.ErrUnavailable) {
		t.Errorf("Complete for somebody who goes: %v", err)
	}
}

type withHeader [2]string

func (h withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(h[0], h[1])
	return http.DefaultTransport.RoundTrip(r)
}

// TestBreaker: after five failures the server is left alone, then one request tries it; refusals and callers who go do not count.
func TestBreaker(t *testing.T) {
	var asked atomic.Int32
	var status atomic.Int32
	client := model(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		if status.Load() == 0 {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, completion)
	}, func(c *upstream.Config) {
		c.Rest, c.Metrics = 100*time.Millisecond, telemetry.NewMetrics("v", "c")
	})
	complete := func() error { _, err := client.Complete(t.Context(), "", "Hi"); return err }

	for range 6 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := client.Complete(ctx, "", "Hi"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	status.Store(400)
	for range 6 {
		var refused *upstream.RefusedError
		if err := complete(); !errors.As(err, &refused) {
			t.Fatal(err)
		}
	}
	status.Store(500)
	asked.Store(0)
	for range 20 {
		if err := complete(); !errors.Is(err, upstream.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n < 5 || n == 20 {
		t.Errorf("the failing server was asked %d times of 20", n)
	}
	status.Store(200)
	for deadline := time.Now().Add(30 * time.Second); complete() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server is back for 30 s and still not asked")
		}
	}
}

// TestBreakerKnowsImpatience: callers whose own deadline is shorter than the time-out do not shut out the others.
func TestBreakerKnowsImpatience(t *testing.T) {
	var quick atomic.Bool
	client := model(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if !quick.Load() {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, completion)
	})
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := client.Complete(ctx, "", "Hi"); !errors.Is(err, upstream.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Complete in a millisecond: %v", err)
		}
		cancel()
	}
	quick.Store(true)
	if _, err := client.Complete(t.Context(), "", "Hi"); err != nil {
		t.Errorf("the model answers, and is not asked: %v", err)
	}
}

func TestEmbed(t *testing.T) {
	var batches []int
	client := model(t, func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Model string
			Input []string
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if r.URL.Path != "/v1/embeddings" || body.Model != "vectors" {
			t.Errorf("asked %s for %s", r.URL, body.Model)
		}
		batches = append(batches, len(body.Input))
		var data []string
		for i, text := range slices.Backward(body.Input) {
			data = append(data, fmt.Sprintf(`{"index": %d, "embedding": [%s, 0.5]}`, i, text))
		}
		fmt.Fprintf(w, `{"data": [%s]}`, strings.Join(data, ","))
	})
	var texts []string
	for i := range 150 {
		texts = append(texts, fmt.Sprint(i))
	}
	vectors, err := client.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, vector := range vectors {
		if len(vector) != 2 || vector[0] != float32(i) || vector[1] != 0.5 {
			t.Fatalf("vector %d is %v", i, vector)
		}
	}
	if len(vectors) != 150 || fmt.Sprint(batches) != "[64 64 22]" {
		t.Errorf("%d vectors in batches of %d", len(vectors), batches)
	}
	if vectors, err := client.Embed(t.Context(), nil); err != nil || len(vectors) != 0 {
		t.Errorf("nothing: %v, %v", vectors, err)
	}
}

func TestEmbedAnswersThatDoNotFit(t *testing.T) {
	for name, data := range map[string]string{
		"too few":           `{"index": 0, "embedding": [1]}`,
		"too many":          `{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]}, {"index": 2, "embedding": [1]}`,
		"one twice":         `{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}`,
		"empty":             `{"index": 0, "embedding": [1]}, {"index": 1, "embedding": []}`,
		"negative":          `{"index": -1, "embedding": [1]}, {"index": 0, "embedding": [1]}`,
		"different lengths": `{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}`,
	} {
		client := model(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"data": [%s]}`, data) })
		if _, err := client.Embed(t.Context(), []string{"a", "b"}); !errors.Is(err, upstream.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
