package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/upstream"
)

// answer is what is being said to one request: text and tool calls as they come, then the end. Streamed, each piece goes out at once;
// otherwise everything is one object at the end.
type answer struct {
	w       http.ResponseWriter
	request *request
	id      string
	created int64
	begun   bool // something was sent
	whole   upstream.Answer
}

// chunkTime is how long a client may take to receive a piece. The server's own time-out is for answers that are ready at once.
const chunkTime = 30 * time.Second

func newAnswer(w http.ResponseWriter, req *request, now telemetry.Clock) *answer {
	return &answer{w: w, request: req, id: "chatcmpl-" + uuid.NewString(), created: now().Unix()}
}

// completion is OpenAI's chat.completion and chat.completion.chunk.
type completion struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	Choices []choice        `json:"choices"`
	Usage   *upstream.Usage `json:"usage,omitempty"`
}

type choice struct {
	Index        int       `json:"index"`
	Delta        *message  `json:"delta,omitempty"`
	Message      *message  `json:"message,omitempty"`
	Logprobs     *struct{} `json:"logprobs"`
	FinishReason *string   `json:"finish_reason"`
}

type message struct {
	Role      string              `json:"role,omitempty"`
	Content   *string             `json:"content,omitempty"`
	Refusal   *string             `json:"refusal,omitempty"`
	ToolCalls []upstream.ToolCall `json:"tool_calls,omitempty"`
}

// text says more.
func (a *answer) text(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	a.whole.Text += text
	return a.delta(ctx, message{Content: &text})
}

// toolCalls asks the client to run its tools. Each has its index, without which Open WebUI shows nothing.
func (a *answer) toolCalls(ctx context.Context, calls []upstream.ToolCall) error {
	for _, call := range calls {
		index := len(a.whole.ToolCalls)
		call.Index, call.Type = &index, "function"
		if call.ID == "" {
			call.ID = "call_" + uuid.NewString()
		}
		a.whole.ToolCalls = append(a.whole.ToolCalls, call)
		if err := a.delta(ctx, message{ToolCalls: []upstream.ToolCall{call}}); err != nil {
			return err
		}
	}
	return nil
}

// end finishes the answer.
func (a *answer) end(ctx context.Context, reason string, usage upstream.Usage) error {
	if !a.request.Stream {
		return a.send(usage, reason)
	}
	if err := a.begin(ctx); err != nil {
		return err
	}
	if err := a.chunk(ctx, []choice{{Delta: &message{}, FinishReason: &reason}}, nil); err != nil {
		return err
	}
	if a.request.StreamOptions.IncludeUsage {
		if err := a.chunk(ctx, []choice{}, &usage); err != nil {
			return err
		}
	}
	return a.write(ctx, "[DONE]")
}

// send writes an answer that is not streamed.
func (a *answer) send(usage upstream.Usage, reason string) error {
	said := message{Role: "assistant", Content: &a.whole.Text}
	for _, call := range a.whole.ToolCalls {
		call.Index = nil
		said.ToolCalls = append(said.ToolCalls, call)
	}
	body := struct {
		completion
		Choices []any `json:"choices"`
	}{a.completion("chat.completion", nil, &usage), []any{map[string]any{
		"index": 0, "message": said, "logprobs": nil, "finish_reason": reason,
	}}}
	if err := http.NewResponseController(a.w).SetWriteDeadline(time.Now().Add(chunkTime)); err != nil {
		return fmt.Errorf("allow for a long answer: %w", err)
	}
	a.begun = true
	writeJSON(a.w, http.StatusOK, body)
	return nil
}

// fail ends a stream that has begun with an error that clients understand.
func (a *answer) fail(ctx context.Context, e *apiError) error {
	text, err := json.Marshal(map[string]*apiError{"error": e})
	if err != nil {
		return fmt.Errorf("write an error: %w", err)
	}
	return a.write(ctx, string(text))
}

func (a *answer) delta(ctx context.Context, m message) error {
	if !a.request.Stream {
		return nil
	}
	if err := a.begin(ctx); err != nil {
		return err
	}
	return a.chunk(ctx, []choice{{Delta: &m}}, nil)
}

// begin sends the header and the chunk that says who speaks.
func (a *answer) begin(ctx context.Context) error {
	if a.begun {
		return nil
	}
	h := a.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep chunks until it has many
	a.begun = true
	a.w.WriteHeader(http.StatusOK)
	empty := ""
	return a.chunk(ctx, []choice{{Delta: &message{Role: "assistant", Content: &empty}}}, nil)
}

func (a *answer) completion(object string, choices []choice, usage *upstream.Usage) completion {
	return completion{ID: a.id, Object: object, Created: a.created, Model: a.request.Model, Choices: choices, Usage: usage}
}

func (a *answer) chunk(ctx context.Context, choices []choice, usage *upstream.Usage) error {
	text, err := json.Marshal(a.completion("chat.completion.chunk", choices, usage))
	if err != nil {
		return fmt.Errorf("write a chunk: %w", err)
	}
	return a.write(ctx, string(text))
}

// write sends one event. An error is a client that left, or that does not receive.
func (a *answer) write(ctx context.Context, data string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn := http.NewResponseController(a.w)
	if err := conn.SetWriteDeadline(time.Now().Add(chunkTime)); err != nil { // the connection's clock, not ours
		return fmt.Errorf("allow for a long answer: %w", err)
	}
	if _, err := fmt.Fprintf(a.w, "data: %s\n\n", data); err != nil {
		return fmt.Errorf("send a chunk: %w", err)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("send a chunk: %w", err)
	}
	return nil
}
