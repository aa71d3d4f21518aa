package chat_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/chat"
	"github.com/smart-assistant/platform/service/upstream"
	"github.com/smart-assistant/platform/test/npm"
)

// TestOpenAIClient: OpenAI's own JavaScript client finds in the service what it expects of OpenAI, with a language model and without.
func TestOpenAIClient(t *testing.T) {
	script := installClient(t)
	t.Run("Offline", func(t *testing.T) { runClient(t, script, "offline", start(t)) })
	t.Run("Model", func(t *testing.T) {
		left := make(chan struct{})
		server := httptest.NewServer(vendor{left})
		t.Cleanup(server.Close)
		client, err := upstream.New(upstream.Config{
			URL: server.URL, Model: "vendor/large", EmbeddingModel: "vectors", Timeout: 30 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		runClient(t, script, "model", start(t, func(c *chat.Config) { c.Upstream = client }))
		select {
		case <-left:
		case <-time.After(time.Minute):
			t.Error("the client left, and the model still writes")
		}
	})
}

func runClient(t *testing.T, script, mode string, w *world) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "node", script) //nolint:gosec // the test's own script
	command.Env = append(os.Environ(), "BASE_URL="+w.url+"/v1", "MODE="+mode)
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

// installClient installs what the lock file pins and returns the path of the script, which stands beside it.
func installClient(t *testing.T) string {
	t.Helper()
	return filepath.Join(npm.Install(t, "testdata/openai-client"), "client.mjs")
}

// vendor is a language model's server that answers by what it is asked.
type vendor struct{ left chan struct{} }

func (v vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Input    []string
		Messages []upstream.Message
		Tools    []upstream.Tool
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/embeddings" {
		var data []string
		for i, text := range body.Input {
			data = append(data, fmt.Sprintf(`{"index": %d, "embedding": [%d, 0.5, -1]}`, i, len(text)))
		}
		fmt.Fprintf(w, `{"data": [%s]}`, strings.Join(data, ","))
		return
	}
	last := body.Messages[len(body.Messages)-1]
	delta := func(text string) {
		fmt.Fprintf(w, "data: {\"choices\": [{\"index\": 0, \"delta\": %s, \"finish_reason\": null}]}\n\n", text)
		_ = http.NewResponseController(w).Flush()
	}
	reason := "stop"
	switch said := last.String(); {
	case said == "fail":
		w.WriteHeader(http.StatusInternalServerError)
		return
	case said == "break off":
		delta(text("Hel"))
		return
	case said == "slow":
		delta(text("Hel"))
		<-r.Context().Done()
		if errors.Is(r.Context().Err(), context.Canceled) {
			close(v.left)
		}
		return
	case last.Role == "tool":
		delta(text(said))
	case strings.Contains(said, "weather"):
		delta(`{"tool_calls": [{"index": 0, "id": "call_7", "type": "function", "function": {"name": "get_weather", "arguments": ""}}]}`)
		for _, piece := range []string{`{"ci`, `ty": `, `"Paris"}`} {
			delta(fmt.Sprintf(`{"tool_calls": [{"index": 0, "function": {"arguments": %q}}]}`, piece))
		}
		reason = "tool_calls"
	default:
		delta(text("Hello"))
		delta(text(" there"))
	}
	fmt.Fprintf(w, "data: {\"choices\": [{\"index\": 0, \"delta\": {}, \"finish_reason\": %q}]}\n\ndata: [DONE]\n\n", reason)
}
