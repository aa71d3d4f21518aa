package chat_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/chat"
	"github.com/smart-assistant/platform/service/telemetry"
)

// TestErrors: requests that are wrong, and what is said about them.
func TestErrors(t *testing.T) {
	hi := `"messages": [{"role": "user", "content": "Hi"}]`
	for body, want := range map[string]string{
		``:                                   "400 invalid_json",
		`[]`:                                 "400 invalid_json",
		`{}{}`:                               "400 invalid_json",
		`{}`:                                 "400 invalid_value model",
		`{"model": 7}`:                       "400 invalid_value model",
		`{"model": "gpt-4", ` + hi + `}`:     "404 model_not_found model",
		`{"model": "smart-assistant"}`:       "400 invalid_value messages",
		`{"model": "m", "messages": "Hi"}`:   "400 invalid_value messages",
		`{"model": "m", "n": 2, ` + hi + `}`: "400 invalid_value n",
		`{"model": "m", "messages": [{"role": "boss", "content": "Hi"}]}`:                                 "400 invalid_value messages[0].role",
		`{"model": "m", "messages": [{"role": "user"}]}`:                                                  "400 invalid_value messages[0].content",
		`{"model": "m", "messages": [{"role": "user", "content": {}}]}`:                                   "400 invalid_value messages[0].content",
		`{"model": "m", "messages": [{"role": "user", "content": [7]}]}`:                                  "400 invalid_value messages[0].content",
		`{"model": "m", "messages": [{"role": "tool", "content": "7"}]}`:                                  "400 invalid_value messages[0].tool_call_id",
		`{"model": "m", "tools": [{"type": "function", "function": {"name": "a b"}}], ` + hi + `}`:        "400 invalid_value tools[0]",
		`{"model": "m", "tool_choice": "always", ` + hi + `}`:                                             "400 invalid_value tool_choice",
		`{"model": "m", "tool_choice": "required", ` + hi + `}`:                                           "400 invalid_value tool_choice",
		`{"model": "m", "tool_choice": {"type": "function", "function": {"name": "f"}}, ` + hi + `}`:      "400 invalid_value tool_choice",
		`{"model": "m", "messages": [{"role": "user", "content": "` + strings.Repeat("x", 1<<20) + `"}]}`: "413 request_too_large",
	} {
		r := start(t).send(t, "POST", chat.CompletionsPath, body)
		var e struct {
			Error struct{ Param string }
		}
		if err := json.Unmarshal([]byte(r.text), &e); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(fmt.Sprint(r.StatusCode, " ", r.errorCode(t), " ", e.Error.Param)); got != want {
			t.Errorf("%.100s: %s, want %s: %s", body, got, want, r.text)
		}
	}
	w := start(t)
	for path, want := range map[string]int{"/v1/nothing": 404, "/v1/models/nothing": 404, "/v1/models/": 404} {
		if r := w.send(t, "GET", path, ""); r.StatusCode != want || r.errorCode(t) == "" {
			t.Errorf("%s: %s %s", path, r.Status, r.text)
		}
	}
	if r := w.send(t, "GET", chat.CompletionsPath, ""); r.StatusCode != http.StatusMethodNotAllowed || r.errorCode(t) == "" {
		t.Errorf("GET: %s %s", r.Status, r.text)
	}
	w.fail = errBroken
	r := w.send(t, "POST", chat.CompletionsPath, `{"model": "smart-assistant", "messages": [{"role": "user", "content": "jobs"}]}`)
	if r.StatusCode != http.StatusInternalServerError || strings.Contains(r.text, "fire") {
		t.Errorf("%s %s", r.Status, r.text)
	}
}

func TestModels(t *testing.T) {
	w, _ := withModel(t, text("Hello"))
	if r := w.send(t, "GET", "/v1/models", "", "Authorization", "Bearer "+connectionKey); r.StatusCode != http.StatusOK ||
		!strings.Contains(r.text, `"smart-assistant"`) || !strings.Contains(r.text, `"vendor/large"`) {
		t.Errorf("%s %s", r.Status, r.text)
	}
	r := w.send(t, "GET", "/v1/models", "")
	if !strings.Contains(r.text, `"id":"hash-256-v1"`) || strings.Count(r.text, `"id"`) != 3 {
		t.Errorf("embeddings are made by none of %s", r.text)
	}
	r = w.send(t, "POST", chat.CompletionsPath, `{"model": "hash-256-v1", "messages": [{"role": "user", "content": "Hi"}]}`)
	if r.StatusCode != http.StatusBadRequest || !strings.Contains(r.text, "does not chat") {
		t.Errorf("%s %s", r.Status, r.text)
	}
	for _, path := range []string{"/v1/models/hash-256-v1", "/v1/models/smart-assistant", "/v1/models/vendor/large", "/v1/models/vendor%2Flarge"} {
		if r := w.send(t, "GET", path, ""); r.StatusCode != http.StatusOK || !strings.Contains(r.text, `"object":"model"`) {
			t.Errorf("%s: %s %s", path, r.Status, r.text)
		}
	}
}

// events are the data of a stream.
func events(t *testing.T, r reply) []string {
	t.Helper()
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %v %s", r.Status, r.Header, r.text)
	}
	var list []string
	for event := range strings.SplitSeq(strings.TrimSuffix(r.text, "\n\n"), "\n\n") {
		data, isData := strings.CutPrefix(event, "data: ")
		if !isData || strings.Contains(data, "\n") {
			t.Fatalf("an event is %q", event)
		}
		list = append(list, data)
	}
	return list
}

// TestStreamedAnswer: the role, the text, the reason, the usage without choices, the end.
func TestStreamedAnswer(t *testing.T) {
	w := start(t, func(c *chat.Config) { c.Metrics = telemetry.NewMetrics("v", "c") })
	list := events(t, w.send(t, "POST", chat.CompletionsPath, `{"model": "smart-assistant", "stream": true, "stream_options": {"include_usage": true},
		"chat_id": "7", "messages": [{"role": "user", "content": [{"type": "text", "text": "help"}]}]}`))
	if n := len(list); n < 5 || list[n-1] != "[DONE]" {
		t.Fatal(list)
	}
	var said, id string
	for i, data := range list[:len(list)-1] {
		var c struct {
			ID, Object, Model string
			Choices           []struct {
				Delta        struct{ Role, Content string }
				FinishReason *string `json:"finish_reason"`
			}
			Usage *struct {
				TotalTokens int `json:"total_tokens"`
			}
		}
		if err := json.Unmarshal([]byte(data), &c); err != nil || c.Object != "chat.completion.chunk" || c.Model != "smart-assistant" {
			t.Fatalf("%v in %s", err, data)
		}
		if id == "" {
			id = c.ID
		}
		last := i == len(list)-2
		if c.ID != id || last != (len(c.Choices) == 0) || last != (c.Usage != nil) || last && c.Usage.TotalTokens < 10 {
			t.Errorf("chunk %d is %s", i, data)
		}
		if last {
			continue
		}
		if (i == 0) != (c.Choices[0].Delta.Role == "assistant") || (i == len(list)-3) != (c.Choices[0].FinishReason != nil) {
			t.Errorf("chunk %d is %s", i, data)
		}
		said += c.Choices[0].Delta.Content
	}
	if said != w.say(t, "help") {
		t.Errorf("streamed it says %s", said)
	}
}

// TestStreamBreaksOff: a model that fails in the middle of its answer, after what it said so far.
func TestStreamBreaksOff(t *testing.T) {
	w, _ := withModel(t, text("Let me look")+"\n"+calls("c", "list_jobs", "{}"), "!")
	list := events(t, w.send(t, "POST", chat.CompletionsPath, `{"model": "smart-assistant", "stream": true, "messages": [{"role": "user", "content": "jobs"}]}`))
	if last := list[len(list)-1]; !strings.HasPrefix(last, `{"error":{`) || !strings.Contains(last, "model_unavailable") {
		t.Error(last)
	}
}

func TestEmbeddings(t *testing.T) {
	w := start(t)
	var answer struct {
		Data []struct {
			Index     int
			Embedding any
		}
		Model string
		Usage struct {
			TotalTokens int `json:"total_tokens"`
		}
	}
	r := w.send(t, "POST", "/v1/embeddings", `{"model": "hash-256-v1", "input": ["hello", "hi"], "dimensions": 3}`)
	if err := json.Unmarshal([]byte(r.text), &answer); err != nil || fmt.Sprint(answer) != "{[{0 [5 0.5 -1]} {1 [2 0.5 -1]}] hash-256-v1 {3}}" {
		t.Errorf("%v, %s", err, r.text)
	}
	r = w.send(t, "POST", "/v1/embeddings", `{"model": "smart-assistant", "input": "hello", "encoding_format": "base64"}`)
	if err := json.Unmarshal([]byte(r.text), &answer); err != nil {
		t.Fatal(err)
	}
	text, _ := answer.Data[0].Embedding.(string)
	bytes, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(bytes) != 12 || math.Float32frombits(uint32(bytes[0])|uint32(bytes[1])<<8|uint32(bytes[2])<<16|uint32(bytes[3])<<24) != 5 {
		t.Errorf("%v, %s", err, r.text)
	}
	for body, status := range map[string]int{
		`{"model": "other", "input": "a"}`:                                     404,
		`{"model": "hash-256-v1", "input": ""}`:                                400,
		`{"model": "hash-256-v1", "input": []}`:                                400,
		`{"model": "hash-256-v1", "input": [1, 2]}`:                            400,
		`{"model": "hash-256-v1", "input": null}`:                              400,
		`{"model": "hash-256-v1", "input": "a", "dimensions": 7}`:              400,
		`{"model": "hash-256-v1", "input": "a", "encoding_format": "decimal"}`: 400,
	} {
		if r := w.send(t, "POST", "/v1/embeddings", body); r.StatusCode != status || r.errorCode(t) == "" {
			t.Errorf("%s: %s %s", body, r.Status, r.text)
		}
	}
}

// TestTools: the HTTP routes of the table, and what they refuse.
func TestTools(t *testing.T) {
	w := start(t)
	for _, test := range []struct {
		tool, body string
		status     int
		holds      string
	}{
		{"search_emails", `{"query": "meet", "limit": 5}`, 200, `"source":"email:` + invitation + `"`},
		{"search_emails", ``, 200, hostile},
		{"search_emails", `{"query": "the"}`, 422, "the query needs a word"},
		{"get_email", `{"id": "` + invitation + `"}`, 200, `"text":"We would like to meet you.\nGrace"`},
		{"get_email", `{"id": "` + acme + `"}`, 404, "nothing of this id"},
		{"get_email", `{"id": "7"}`, 422, "id"},
		{"list_jobs", `{"query": "go"}`, 200, "Gopher Inc"},
		{"list_applications", `{}`, 200, "ACME"},
		{"add_application", `{"company": "Initech", "title": "Tester"}`, 200, `"company":"Initech"`},
		{"add_application", `{"title": "Tester"}`, 422, "company is missing"},
		{"add_application", `{"company": "A", "status": "hired"}`, 422, "status"},
		{"update_application", `{"id": "` + acme + `", "status": "offer"}`, 200, `"status":"offer"`},
		{"update_application", `{"id": "` + acme + `", "user_id": "bob"}`, 422, "user_id"},
		{"get_briefing", `{}`, 404, ""},
		{"generate_briefing", `{}`, 200, "An interview is coming"},
		{"get_briefing", `{}`, 200, `"kind":"email"`},
		{"list_jobs", `[]`, 422, "not a JSON object"},
		{"list_jobs", `{`, 422, "not a JSON object"},
		{"drop_tables", `{}`, 404, ""},
	} {
		r := w.send(t, "POST", "/tools/"+test.tool, test.body)
		if r.StatusCode != test.status || !strings.Contains(r.text, test.holds) {
			t.Errorf("%s %s: %s %s", test.tool, test.body, r.Status, r.text)
		}
	}
	if r := w.send(t, "POST", "/tools/list_jobs", `{}`, "Authorization", ""); r.StatusCode != http.StatusUnauthorized || r.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s", r.Status, r.text)
	}
}

// TestToolDocument: every operation is a POST with a body and an operationId, named as its path.
func TestToolDocument(t *testing.T) {
	r := start(t).send(t, "GET", "/tools/openapi.json", "", "Authorization", "")
	var document struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Description string
			Parameters  []any
			Responses   map[string]any
			RequestBody struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(r.text), &document); err != nil || !strings.HasPrefix(document.OpenAPI, "3.1") {
		t.Fatalf("%v in %s", err, r.text)
	}
	for _, name := range []string{
		"search_emails", "get_email", "list_jobs", "add_application", "update_application", "list_applications", "get_briefing", "generate_briefing",
	} {
		path := document.Paths["/tools/"+name]
		operation, isPost := path["post"]
		reference, _ := operation.RequestBody.Content["application/json"].Schema["$ref"].(string)
		if !isPost || len(path) != 1 || operation.OperationID != name || operation.Description == "" || len(operation.Parameters) > 0 ||
			document.Components.Schemas[strings.TrimPrefix(reference, "#/components/schemas/")] == nil {
			t.Errorf("%s is %+v", name, path)
		}
		if got, want := slices.Sorted(maps.Keys(operation.Responses)), []string{"200", "401", "403", "404", "409", "413", "422", "429", "500", "503"}; !slices.Equal(got, want) {
			t.Errorf("%s answers %v, want %v", name, got, want)
		}
	}
	if len(document.Paths) != 8 || strings.Contains(r.text, "$schema") {
		t.Errorf("%d paths in %s", len(document.Paths), r.text)
	}
}
