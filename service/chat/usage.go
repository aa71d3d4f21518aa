package chat

import (
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/smart-assistant/platform/service/upstream"
)

// Without an upstream nobody counts tokens, so they are estimated: four characters are a token, and a message costs four more for its
// role and its ends. That is what tokenizers of English text come to on average; nobody is billed by it.
const (
	charactersPerToken = 4
	tokensPerMessage   = 4
)

func estimateText(text string) int {
	return (utf8.RuneCountInString(text) + charactersPerToken - 1) / charactersPerToken
}

// estimate is the usage of an answer that no model gave.
func estimate(req *request, answer string) upstream.Usage {
	u := upstream.Usage{CompletionTokens: estimateText(answer)}
	for _, m := range req.Messages {
		u.PromptTokens += tokensPerMessage + estimateText(m.String())
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return u
}

// used is what the upstream counted, or an estimate from a server that does not count.
func used(req *request, said upstream.Answer) upstream.Usage {
	if said.Usage != nil {
		return *said.Usage
	}
	u := estimate(req, said.Text)
	for _, call := range said.ToolCalls {
		tokens := estimateText(call.Function.Name + call.Function.Arguments)
		u.CompletionTokens, u.TotalTokens = u.CompletionTokens+tokens, u.TotalTokens+tokens
	}
	return u
}

// sum counts two rounds of one answer.
func sum(a, b upstream.Usage) upstream.Usage {
	return upstream.Usage{
		PromptTokens: a.PromptTokens + b.PromptTokens, CompletionTokens: a.CompletionTokens + b.CompletionTokens, TotalTokens: a.TotalTokens + b.TotalTokens,
	}
}

// pieces cuts a text that is ready into what a stream shows at a time: a line.
func pieces(text string) iter.Seq[string] { return strings.Lines(text) }
