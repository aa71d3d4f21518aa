package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"

	"github.com/smart-assistant/platform/service/upstream"
)

// Most of a request. They are far above what clients send.
const (
	maxMessages = 2000
	maxTools    = 128
)

// request is OpenAI's chat completion request, as far as it is read. Fields that nobody here knows are no error: clients send their own.
type request struct {
	Model         string             `json:"model"`
	Messages      []upstream.Message `json:"messages"`
	Stream        bool               `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	N          *int            `json:"n"`
	Tools      []upstream.Tool `json:"tools"`
	ToolChoice json.RawMessage `json:"tool_choice"`

	options map[string]json.RawMessage
	forced  string // the function that tool_choice names
}

// passedOn are the fields that an upstream gets as they are.
var passedOn = []string{
	"temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias",
	"response_format", "reasoning_effort", "parallel_tool_calls",
}

// readBody reads a whole body. The server's limit on it is the limit.
func readBody(r *http.Request) ([]byte, error) {
	text, err := io.ReadAll(r.Body)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, newError(http.StatusBadRequest, "unreadable", "the request's body could not be read")
	}
	return text, nil
}

// decode reads a JSON object. The error is for whoever asks.
func decode(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	err := decoder.Decode(into)
	if err == nil && decoder.More() {
		return newError(http.StatusBadRequest, "invalid_json", "the request's body holds more than one JSON value")
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return invalid(wrong.Field, "%s is not of the right type", wrong.Field)
	}
	if err != nil {
		return newError(http.StatusBadRequest, "invalid_json", "the request's body is not a JSON object as the API has it")
	}
	return nil
}

// parseRequest reads and checks a request.
func parseRequest(text []byte) (*request, error) {
	req := &request{}
	if err := decode(text, req); err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := decode(text, &fields); err != nil {
		return nil, err
	}
	req.options = map[string]json.RawMessage{}
	for _, name := range passedOn {
		if value, given := fields[name]; given && string(value) != "null" {
			req.options[name] = value
		}
	}
	switch {
	case req.Model == "":
		return nil, invalid("model", "say which model: %s", assistant)
	case len(req.Messages) == 0:
		return nil, invalid("messages", "there is no message to answer")
	case len(req.Messages) > maxMessages:
		return nil, invalid("messages", "there are more than %d messages", maxMessages)
	case req.N != nil && *req.N != 1:
		return nil, invalid("n", "only one answer can be asked for: n is 1")
	case len(req.Tools) > maxTools:
		return nil, invalid("tools", "there are more than %d tools", maxTools)
	}
	for i, message := range req.Messages {
		if err := checkMessage(i, message); err != nil {
			return nil, err
		}
	}
	return req, req.checkTools()
}

var roles = []string{"system", "developer", "user", "assistant", "tool"}

func checkMessage(i int, m upstream.Message) error {
	at := fmt.Sprintf("messages[%d]", i)
	switch {
	case !slices.Contains(roles, m.Role):
		return invalid(at+".role", "%s.role is %.50q, and not one of %v", at, m.Role, roles)
	case m.Role == "tool" && m.ToolCallID == "":
		return invalid(at+".tool_call_id", "%s answers a tool call and does not say which", at)
	}
	content := bytes.TrimSpace(m.Content)
	if len(content) == 0 || string(content) == "null" {
		if m.Role == "assistant" {
			return nil
		}
		return invalid(at+".content", "%s has no content", at)
	}
	if content[0] != '"' && content[0] != '[' {
		return invalid(at+".content", "%s.content is neither a text nor a list of parts", at)
	}
	if content[0] == '[' {
		var parts []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		if json.Unmarshal(content, &parts) != nil {
			return invalid(at+".content", "%s.content is not a list of parts", at)
		}
	}
	return nil
}

// functionName is what OpenAI allows.
var functionName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

func (r *request) checkTools() error {
	for i, tool := range r.Tools {
		if tool.Type != "function" || !functionName.MatchString(tool.Function.Name) {
			return invalid(fmt.Sprintf("tools[%d]", i), "tools[%d] is not a function with a name of letters, digits, _ and -", i)
		}
	}
	choice := bytes.TrimSpace(r.ToolChoice)
	if len(choice) == 0 || string(choice) == "null" {
		r.ToolChoice = nil
		return nil
	}
	var word string
	if json.Unmarshal(choice, &word) == nil {
		if word != "none" && word != "auto" && word != "required" {
			return invalid("tool_choice", "tool_choice is %.50q, and neither none, auto, required nor a function", word)
		}
		if word == "required" && len(r.Tools) == 0 {
			return invalid("tool_choice", "tool_choice asks for a tool call and there are no tools")
		}
		return nil
	}
	var named struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if json.Unmarshal(choice, &named) != nil || r.tool(named.Function.Name) == nil {
		return invalid("tool_choice", "tool_choice names no function of tools")
	}
	r.forced = named.Function.Name
	return nil
}

// tool is the client's own tool of a name.
func (r *request) tool(name string) *upstream.Tool {
	for i := range r.Tools {
		if r.Tools[i].Function.Name == name {
			return &r.Tools[i]
		}
	}
	return nil
}

// choice is the word of tool_choice: auto where it says nothing, required where it names a function.
func (r *request) choice() string {
	var word string
	switch {
	case r.forced != "":
		return "required"
	case json.Unmarshal(r.ToolChoice, &word) != nil:
		return "auto"
	}
	return word
}

// lastUser is the place of the user's last message, -1 where there is none.
func (r *request) lastUser() int {
	for i, message := range slices.Backward(r.Messages) {
		if message.Role == "user" {
			return i
		}
	}
	return -1
}

// said is the text of the user's last message.
func (r *request) said() string {
	if i := r.lastUser(); i >= 0 {
		return r.Messages[i].String()
	}
	return ""
}
