package chat

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/smart-assistant/platform/service/upstream"
)

// chooseTool finds the client's tool that a request fits, without a language model: the one that tool_choice names, or the one whose
// name's words the request says. It is called only where every argument that it needs can be found in the request; a tool that is forced
// gets the request itself for a text.
func chooseTool(req *request) (upstream.ToolCall, bool) {
	choice, said := req.choice(), req.said()
	if len(req.Tools) == 0 || choice == "none" {
		return upstream.ToolCall{}, false
	}
	var best *upstream.Tool
	most := 0
	for i := range req.Tools {
		t := &req.Tools[i]
		if score := saidWords(t.Function.Name, said); t.Function.Name == req.forced || req.forced == "" && score > most {
			best, most = t, score
		}
	}
	if best == nil && choice == "required" {
		best = &req.Tools[0]
	}
	if best == nil {
		return upstream.ToolCall{}, false
	}
	arguments, complete := fill(best.Function.Parameters, said, choice == "required")
	if !complete {
		return upstream.ToolCall{}, false
	}
	call := upstream.ToolCall{ID: "call_" + uuid.NewString(), Type: "function"}
	call.Function.Name, call.Function.Arguments = best.Function.Name, arguments
	return call, true
}

var (
	wordInName = regexp.MustCompile(`[A-Z]?[a-z]+|[A-Z]+|\d+`)
	emptyWords = []string{"get", "the", "for", "and", "set", "run", "tool", "list", "search", "find", "current"}
)

// saidWords counts the words of a tool's name that a text holds: weather of get_current_weather.
func saidWords(name, text string) (n int) {
	text = strings.ToLower(text)
	for _, word := range wordInName.FindAllString(name, -1) {
		word = strings.ToLower(word)
		if len(word) > 2 && !slices.Contains(emptyWords, word) && words(regexp.QuoteMeta(strings.TrimSuffix(word, "s"))+`s?`).MatchString(text) {
			n++
		}
	}
	return n
}

// property is a parameter, as far as JSON Schema is read here.
type property struct {
	Type any   `json:"type"` // a word, or a list of words
	Enum []any `json:"enum"`
}

func (p property) is(kind string) bool {
	list, _ := p.Type.([]any)
	return p.Type == kind || slices.Contains(list, any(kind))
}

// fill finds arguments in a text. Without force it is complete only when everything that is required was found.
func fill(parameters json.RawMessage, text string, force bool) (arguments string, complete bool) {
	var schema struct {
		Properties map[string]property `json:"properties"`
		Required   []string            `json:"required"`
	}
	_ = json.Unmarshal(parameters, &schema) // a tool without a schema takes nothing
	found := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		p := schema.Properties[name]
		value := guess(name, p, text)
		if required := slices.Contains(schema.Required, name); value == nil && required {
			if !force {
				return "", false
			}
			value = p.filler(text)
		}
		if value != nil {
			found[name] = value
		}
	}
	written, err := json.Marshal(found)
	return string(written), err == nil
}

var (
	number    = regexp.MustCompile(`-?\d+(?:\.\d+)?`)
	place     = regexp.MustCompile(`\b(?:in|at|near|for|of)\s+(\p{Lu}[\pL'.-]*(?:,? \p{Lu}[\pL'.-]*)*)`)
	textNames = []string{"query", "q", "text", "search", "prompt", "input", "question", "message", "content", "expression"}
	placeName = regexp.MustCompile(`(?i)location|city|place|country|region|address`)
)

// guess finds one argument, or nil.
func guess(name string, p property, text string) any {
	for _, member := range p.Enum {
		if word, isText := member.(string); isText && word != "" && words(regexp.QuoteMeta(word)).MatchString(text) {
			return member
		}
	}
	if len(p.Enum) > 0 {
		return nil
	}
	switch {
	case p.is("number") || p.is("integer"):
		if digits := number.FindString(text); digits != "" && (p.is("number") || !strings.Contains(digits, ".")) {
			return json.Number(digits)
		}
	case p.is("string") && placeName.MatchString(name):
		if match := place.FindStringSubmatch(text); match != nil {
			return strings.TrimRight(match[1], ".,")
		}
	case p.is("string") && slices.Contains(textNames, strings.ToLower(name)):
		return text
	}
	return nil
}

// filler is an argument of the right type where nothing better was found.
func (p property) filler(text string) any {
	switch {
	case len(p.Enum) > 0:
		return p.Enum[0]
	case p.is("number") || p.is("integer"):
		return 0
	case p.is("boolean"):
		return false
	case p.is("array"):
		return []any{}
	case p.is("object"):
		return map[string]any{}
	default:
		return text
	}
}

// toolResults says what the client's tools found.
func toolResults(req *request) string {
	names := map[string]string{}
	var said []string
	for _, m := range req.Messages[req.lastUser()+1:] {
		for _, call := range m.ToolCalls {
			names[call.ID] = call.Function.Name
		}
		if m.Role != "tool" {
			continue
		}
		name := names[m.ToolCallID]
		if name == "" {
			name = "the tool"
		}
		text, _ := cut(m.String(), longestText)
		said = append(said, "**"+plain(name)+"** says:\n\n"+quote(text))
	}
	return strings.Join(said, "\n")
}
