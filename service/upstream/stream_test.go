package upstream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/upstream"
)

// chunk is a piece of text, or the end.
func chunk(text, finish string) string {
	end := "null"
	if finish != "" {
		end = `"` + finish + `"`
	}
	return fmt.Sprintf(`{"choices": [{"index": 0, "delta": {"content": %q}, "finish_reason": %s}]}`, text, end)
}

// read puts a stream together until it ends.
func read(t *testing.T, client *upstream.Client, request upstream.Request) (upstream.Answer, error) {
	t.Helper()
	stream, err := client.Stream(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var answer upstream.Answer
	for {
		chunk, err := stream.Next()
		if err != nil {
			return answer, err
		}
		answer.Add(chunk)
	}
}

// TestStreams: the shapes in which servers send one and the same answer, and those that are none.
func TestStreams(t *testing.T) {
	hello := "data: " + chunk("Hel", "") + "\n\ndata: " + chunk("lo", "stop") + "\n\n"
	for name, test := range map[string]struct {
		stream string
		want   error
	}{
		"plain":                    {hello + "data: [DONE]\n\n", io.EOF},
		"CRLF":                     {strings.ReplaceAll(hello, "\n", "\r\n") + "data: [DONE]\r\n\r\n", io.EOF},
		"CR":                       {strings.ReplaceAll(hello, "\n", "\r") + "data: [DONE]\r\r", io.EOF},
		"no space":                 {strings.ReplaceAll(hello, "data: ", "data:") + "data:[DONE]\n\n", io.EOF},
		"comments":                 {": OPENROUTER PROCESSING\n\n" + strings.ReplaceAll(hello, "data:", ": still here\ndata:") + "data: [DONE]\n\n", io.EOF},
		"other fields":             {strings.ReplaceAll(hello, "data:", "event: message\nid: 7\nretry: 10\ndata:") + "data: [DONE]\n\n", io.EOF},
		"several lines":            {strings.ReplaceAll(hello, `"delta"`, "\ndata: \"delta\"") + "data: [DONE]\n\n", io.EOF},
		"byte order mark":          {"\ufeff" + hello + "data: [DONE]\n\n", io.EOF},
		"end without a blank line": {hello + "data: [DONE]", io.EOF},
		"no end, but a reason":     {hello, io.EOF},
		"text after the end":       {hello + "data: [DONE]\n\ndata: <html>\n\n", io.EOF},
		"half a line":              {hello[:len(hello)/2], upstream.ErrUnavailable},
		"no reason and no end":     {"data: " + chunk("Hello", "") + "\n\n", upstream.ErrUnavailable},
		"nothing":                  {"", upstream.ErrUnavailable},
		"an error in the middle":   {`data: {"error": {"message": "out of memory"}}` + "\n\n", upstream.ErrUnavailable},
		"no JSON":                  {"data: <html>\n\n", upstream.ErrUnavailable},
		"an endless line":          {"data: " + strings.Repeat("x", 2<<20) + "\n\n", upstream.ErrUnavailable},
		"an endless event":         {strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", 2000) + "\n", upstream.ErrUnavailable},
	} {
		client := model(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, test.stream) })
		answer, err := read(t, client, upstream.Request{})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: ended with %v, want %v", name, err, test.want)
		}
		if errors.Is(test.want, io.EOF) && (answer.Text != "Hello" || answer.FinishReason != "stop") {
			t.Errorf("%s: got %+v", name, answer)
		}
	}
}

// TestStreamRequest: options are passed on, and do not replace what the client says itself.
func TestStreamRequest(t *testing.T) {
	client := model(t, func(w http.ResponseWriter, r *http.Request) {
		var got, want any
		text, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(text, &got) != nil {
			t.Errorf("%v in %s", err, text)
		}
		if err := json.Unmarshal([]byte(`{"model": "small", "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.5,
			"messages": [{"role": "user", "content": "Hi"}],
			"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}], "tool_choice": "auto"}`), &want); err != nil {
			t.Error(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("it sends %s", text)
		}
		_, _ = io.WriteString(w, "data: "+chunk("Hello", "stop")+"\n\ndata: [DONE]\n\n")
	})
	_, err := read(t, client, upstream.Request{
		Messages: []upstream.Message{upstream.Text("user", "Hi")},
		Tools:    []upstream.Tool{{Type: "function", Function: upstream.Function{Name: "f", Parameters: json.RawMessage(`{"type": "object"}`)}}},
		Options: map[string]json.RawMessage{
			"temperature": json.RawMessage("0.5"), "model": json.RawMessage(`"large"`), "n": json.RawMessage("3"), "stream": json.RawMessage("false"),
		},
		ToolChoice: json.RawMessage(`"auto"`),
	})
	if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestToolCallsInPieces: with an index, without one, and two at a time.
func TestToolCallsInPieces(t *testing.T) {
	piece := func(call string) string {
		return `data: {"choices": [{"index": 0, "delta": {"tool_calls": [` + call + `]}, "finish_reason": null}]}` + "\n\n"
	}
	end := `data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}` + "\n\n" +
		`data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}` + "\n\ndata: [DONE]\n\n"
	for name, stream := range map[string]string{
		"with an index": piece(`{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}`) +
			piece(`{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{"}}`) +
			piece(`{"index": 0, "function": {"arguments": "{\"x\":"}}, {"index": 1, "function": {"arguments": "}"}}`) +
			piece(`{"index": 0, "function": {"arguments": "1}"}}`),
		"without": piece(`{"id": "a", "function": {"name": "f", "arguments": "{\"x\":"}}`) + piece(`{"function": {"arguments": "1}"}}`) +
			piece(`{"id": "b", "function": {"name": "g", "arguments": "{}"}}`),
	} {
		client := model(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, stream+end) })
		answer, err := read(t, client, upstream.Request{})
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
		var calls []string
		for _, call := range answer.ToolCalls {
			calls = append(calls, call.ID+" "+call.Function.Name+call.Function.Arguments)
		}
		if fmt.Sprint(calls) != `[a f{"x":1} b g{}]` || answer.FinishReason != "tool_calls" || answer.Usage == nil || answer.Usage.TotalTokens != 7 {
			t.Errorf("%s: got %v %s %+v", name, calls, answer.FinishReason, answer.Usage)
		}
	}
}

func TestCloseInTheMiddle(t *testing.T) {
	gone := make(chan struct{})
	client := model(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "data: "+chunk("Hel", "")+"\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	stream, err := client.Stream(t.Context(), upstream.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Next(); err != nil {
		t.Fatal(err)
	}
	stream.Close()
	stream.Close()
	<-gone
	if _, err := stream.Next(); err == nil {
		t.Error("a closed stream goes on")
	}
}

func TestMessageText(t *testing.T) {
	for content, want := range map[string]string{
		`"Hi"`: "Hi", `null`: "", `[{"type":"text","text":"a"},{"type":"image_url","image_url":{}},{"type":"text","text":"b"}]`: "a\nb", `{}`: "",
	} {
		if got := (upstream.Message{Content: json.RawMessage(content)}).String(); got != want {
			t.Errorf("%s: got %q, want %q", content, got, want)
		}
	}
}

// FuzzStream: no server's bytes make the reader panic, hang or grow, and where the answer's packets are cut changes nothing.
func FuzzStream(f *testing.F) {
	f.Add([]byte("data: "+chunk("Hello", "stop")+"\r\n\r\ndata: [DONE]\n\n"), uint8(3))
	f.Add([]byte(": comment\ndata: {\ndata: }\n\n\rdata:\r\n"), uint8(1))
	f.Add([]byte("\ufeffdata: [DONE]"), uint8(7))
	f.Add([]byte(`data: {"choices": [{"delta": {"tool_calls": [{"id": "a"}, {"index": -1}, {}]}}]}`+"\n\n"), uint8(200))
	f.Fuzz(func(t *testing.T, text []byte, step uint8) {
		whole := upstream.ReadEvents(bytes.NewReader(text))
		pieces := upstream.ReadEvents(&slowly{text, max(1, int(step))})
		if whole != pieces {
			t.Errorf("in one piece: %s\nin pieces of %d: %s", whole, step, pieces)
		}
	})
}

// slowly gives a few bytes at a time.
type slowly struct {
	text []byte
	step int
}

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.text[:min(s.step, len(s.text))])
	s.text = s.text[n:]
	return n, nil
}
