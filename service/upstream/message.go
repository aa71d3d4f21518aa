package upstream

import (
	"encoding/json"
	"strings"
)

// Request asks for the next message of a conversation. Options are further fields of OpenAI's chat completion request (temperature,
// max_tokens …), which are passed on as they are.
type Request struct {
	Model      string // "" for the configured one
	Messages   []Message
	Tools      []Tool
	ToolChoice json.RawMessage
	Options    map[string]json.RawMessage
}

// wire is the request's body. Its own fields win over Options.
func (r Request) wire(model string, stream bool) map[string]any {
	if r.Model != "" {
		model = r.Model
	}
	body := make(map[string]any, len(r.Options)+6)
	for name, value := range r.Options {
		body[name] = value
	}
	for _, own := range []string{"model", "messages", "stream", "stream_options", "n", "tools", "tool_choice"} {
		delete(body, own)
	}
	body["model"], body["messages"] = model, r.Messages
	if len(r.Tools) > 0 {
		body["tools"] = r.Tools
		if len(r.ToolChoice) > 0 {
			body["tool_choice"] = r.ToolChoice
		}
	} else {
		delete(body, "parallel_tool_calls") // refused by OpenAI without tools
	}
	if stream {
		body["stream"], body["stream_options"] = true, map[string]bool{"include_usage": true}
	}
	return body
}

// Message is one turn of a conversation. Content is a JSON string, a list of parts, or null.
type Message struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content,omitempty"`
	Name       string          `json:"name,omitempty"`
	ToolCalls  []ToolCall      `json:"tool_calls,omitempty"`
	ToolCallID string          `json:"tool_call_id,omitempty"`
}

// Text makes a message of text.
func Text(role, text string) Message {
	content, _ := json.Marshal(text) // a string always can be
	return Message{Role: role, Content: content}
}

// String is the text of a message; of a list of parts, the text ones.
func (m Message) String() string {
	var text string
	if json.Unmarshal(m.Content, &text) == nil {
		return text
	}
	var parts []struct{ Type, Text string }
	if json.Unmarshal(m.Content, &parts) != nil {
		return ""
	}
	var all []string
	for _, part := range parts {
		if part.Type == "text" {
			all = append(all, part.Text)
		}
	}
	return strings.Join(all, "\n")
}

// Tool is a function that the model may ask for.
type Tool struct {
	Type     string   `json:"type"`
	Function Function `json:"function"`
}

// Function says what a tool is called, what it does, and what it takes (JSON Schema).
type Function struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      *bool           `json:"strict,omitempty"`
}

// ToolCall is a model asking for a function. In a stream it comes in pieces with one index: id and name first, then the arguments'
// text bit by bit.
type ToolCall struct {
	Index    *int   `json:"index,omitempty"`
	ID       string `json:"id,omitempty"`
	Type     string `json:"type,omitempty"`
	Function struct {
		Name      string `json:"name,omitempty"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// Chunk is a piece of a streamed answer.
type Chunk struct {
	Choices []Choice `json:"choices"`
	Usage   *Usage   `json:"usage"`
}

// Choice is a piece of one of the answers that were asked for; here there is one.
type Choice struct {
	Index        int     `json:"index"`
	Delta        Delta   `json:"delta"`
	FinishReason *string `json:"finish_reason"`
}

// Delta is what a chunk adds to the message.
type Delta struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	Refusal   *string    `json:"refusal,omitempty"`
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
}

// Usage counts tokens.
type Usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}
