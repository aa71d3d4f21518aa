package chat

import (
	"errors"
	"net/http"
	"testing"
)

// FuzzRequest: no body makes the parser, or what reads what it made, panic; what it refuses is the client's fault.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model": "smart-assistant", "messages": [{"role": "user", "content": "add application at ACME as Engineer"}], "stream": true}`))
	f.Add([]byte(`{"model": "m", "n": 1, "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"properties": {"city": {"type": ["string", "null"], "enum": ["a", 1]}}, "required": ["city"]}}}], "tool_choice": "required", "messages": [{"role": "user", "content": [{"type": "text", "text": "weather in Rome"}]}]}`))
	f.Add([]byte(`{"model": "m", "messages": [{"role": "user", "content": "### Task: Generate a concise title summarizing the chat <chat_history>USER: ü\nUSER:</chat_history>"}]}`))
	f.Add([]byte(`{"model": "m", "messages": [{"role": "assistant", "tool_calls": [{}]}, {"role": "tool", "tool_call_id": "x", "content": null}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseRequest(body)
		if err != nil {
			var refused *apiError
			if !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if answer := openWebUITask(req); answer != nil {
			answer()
		}
		chooseTool(req)
		toolResults(req)
		newGuard(req)
		estimate(req, "")
		(&Service{}).understand(ownWords(req.said()))
	})
}
