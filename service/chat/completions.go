package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/smart-assistant/platform/service/upstream"
)

// completions answers a conversation: small tasks here, the upstream's own model by the upstream, and the assistant by an agent on the
// upstream where there is one, without it where there is none or where it does not answer.
func (s *Service) completions(w http.ResponseWriter, r *http.Request) error {
	text, err := readBody(r)
	if err != nil {
		return err
	}
	req, err := parseRequest(text)
	if err != nil {
		return err
	}
	began := s.config.Now()
	a := newAnswer(w, req, s.config.Now)
	kind, err := s.answer(r.Context(), a)
	s.metrics.done(kind, req.Stream, result(r.Context(), err), s.config.Now().Sub(began))
	switch {
	case err == nil:
		return nil
	case r.Context().Err() != nil: // nobody is there to be told
		panic(http.ErrAbortHandler)
	case !a.begun:
		return err
	}
	e := asAPIError(err)
	s.logError(r.Context(), e)
	if a.fail(r.Context(), e) != nil {
		panic(http.ErrAbortHandler) // no client takes a torn stream for a whole one
	}
	return nil
}

func result(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return "ok"
	case ctx.Err() != nil:
		return "cancelled"
	case asAPIError(err).Status < http.StatusInternalServerError:
		return "refused"
	default:
		return "failed"
	}
}

// answer says who answers, and does.
func (s *Service) answer(ctx context.Context, a *answer) (kind string, err error) {
	req := a.request
	if t := openWebUITask(req); t != nil {
		return "task", s.say(ctx, a, t())
	}
	switch {
	case req.Model == assistant && s.config.Upstream.Configured():
		err := s.runAgent(ctx, a)
		if errors.Is(err, upstream.ErrUnavailable) && !errors.Is(err, errHalfDone) && !a.begun && ctx.Err() == nil {
			s.config.Log.WarnContext(ctx, "the language model does not answer: the assistant goes on without", "error", err)
			a.whole = upstream.Answer{}
			return "offline", s.answerOffline(ctx, a)
		}
		return "agent", err
	case req.Model == assistant:
		return "offline", s.answerOffline(ctx, a)
	case req.Model == s.config.Upstream.Model() && req.Model != "":
		return "upstream", s.passOn(ctx, a)
	case req.Model == s.embeddingModel():
		return "unknown", invalid("model", "the model %s makes embeddings and does not chat: ask %s", req.Model, assistant)
	default:
		return "unknown", noModel(req.Model)
	}
}

// say is a whole answer of text.
func (s *Service) say(ctx context.Context, a *answer, text string) error {
	for piece := range pieces(text) {
		if err := a.text(ctx, piece); err != nil {
			return err
		}
	}
	return a.end(ctx, "stop", estimate(a.request, text))
}

// passOn lets the upstream's model answer by itself, with the client's tools and none of ours. Calls that the guard refuses do not reach
// the client; the user reads why.
func (s *Service) passOn(ctx context.Context, a *answer) error {
	req := a.request
	stream, err := s.config.Upstream.Stream(ctx, upstream.Request{
		Messages: req.Messages, Tools: req.Tools, ToolChoice: req.ToolChoice, Options: req.options,
	})
	if err != nil {
		return err
	}
	defer stream.Close()
	said, err := relay(ctx, a, stream)
	if err != nil {
		return err
	}
	usage, guard := used(req, said), newGuard(req)
	allowed := said.ToolCalls[:0]
	for _, call := range said.ToolCalls {
		reason := s.refusesCall(guard, call)
		if reason == "" {
			allowed = append(allowed, call)
			continue
		}
		if err := a.text(ctx, fmt.Sprintf("\n\n*%s was not called: %s. Ask for it in a message of your own.*", plain(call.Function.Name), reason)); err != nil {
			return err
		}
		said.FinishReason = "stop"
	}
	if len(allowed) > 0 {
		said.FinishReason = "tool_calls"
	}
	if err := a.toolCalls(ctx, allowed); err != nil {
		return err
	}
	return a.end(ctx, said.FinishReason, usage)
}

// relay says the text of a stream as it comes and returns all of it.
func relay(ctx context.Context, a *answer, stream *upstream.Stream) (upstream.Answer, error) {
	var said upstream.Answer
	for {
		chunk, err := stream.Next()
		if errors.Is(err, io.EOF) {
			if said.FinishReason == "" {
				said.FinishReason = "stop"
			}
			if len(said.ToolCalls) > 0 {
				said.FinishReason = "tool_calls" // some servers say stop
			}
			return said, nil
		}
		if err != nil {
			return said, err
		}
		said.Add(chunk)
		for _, c := range chunk.Choices {
			if c.Index == 0 && c.Delta.Content != nil {
				if err := a.text(ctx, *c.Delta.Content); err != nil {
					return said, err
				}
			}
		}
	}
}
