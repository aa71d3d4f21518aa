package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	maxStream = 32 << 20 // bytes of a whole stream
	maxEvent  = 1 << 20  // bytes of one event
)

// Stream is an answer that is being written. It is for one goroutine.
type Stream struct {
	attempt  *attempt
	body     io.ReadCloser
	events   *events
	finished bool // a finish_reason was seen
	ended    bool
	err      error
}

// Stream asks for an answer piece by piece. The caller closes it. ErrUnavailable when the first piece does not come within
// Config.Timeout, or a RefusedError.
func (c *Client) Stream(ctx context.Context, request Request) (*Stream, error) {
	if !c.Configured() {
		return nil, fmt.Errorf("%w: none is configured", ErrUnavailable)
	}
	attempt, err := c.begin(ctx, "stream", c.config.Timeout)
	if err != nil {
		return nil, err
	}
	response, err := attempt.post("/chat/completions", request.wire(c.config.Model, true)) //nolint:bodyclose // Stream.end closes it
	if err != nil {
		return nil, attempt.end(err)
	}
	return &Stream{attempt: attempt, body: response.Body, events: newEvents(&limitedReader{response.Body, maxStream})}, nil
}

// Next returns the next piece, io.EOF after the last one. ErrUnavailable when the stream breaks off or is silent for Config.Idle.
func (s *Stream) Next() (Chunk, error) {
	if s.ended {
		return Chunk{}, s.err
	}
	for {
		chunk, err := s.read()
		if err != nil {
			return Chunk{}, s.end(err)
		}
		if !s.attempt.timer.Reset(s.attempt.client.config.Idle) {
			return Chunk{}, s.end(errSlow)
		}
		for _, choice := range chunk.Choices {
			s.finished = s.finished || choice.FinishReason != nil
		}
		if len(chunk.Choices) > 0 || chunk.Usage != nil {
			return chunk, nil
		}
	}
}

func (s *Stream) read() (Chunk, error) {
	data, err := s.events.next()
	if errors.Is(err, io.ErrUnexpectedEOF) && s.finished {
		return Chunk{}, io.EOF // a server that leaves out [DONE]
	}
	if err != nil {
		return Chunk{}, err
	}
	var event struct {
		Chunk
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(data, &event); err != nil {
		return Chunk{}, errors.New("its stream holds something that is no JSON object")
	}
	if len(event.Error) > 0 && string(event.Error) != "null" {
		return Chunk{}, errors.New("it failed in the middle of its answer")
	}
	return event.Chunk, nil
}

// Close ends a stream, also in its middle. It may be called more than once.
func (s *Stream) Close() {
	if s.ended {
		return
	}
	if s.finished {
		_ = s.end(io.EOF)
		return
	}
	_ = s.end(errGone)
}

func (s *Stream) end(err error) error {
	s.ended = true
	if errors.Is(err, io.EOF) {
		_ = s.attempt.end(nil)
		s.err = io.EOF
	} else {
		s.err = s.attempt.end(err)
	}
	_ = s.body.Close()
	return s.err
}

// Answer is a whole streamed answer put together.
type Answer struct {
	Text         string
	ToolCalls    []ToolCall
	FinishReason string
	Usage        *Usage
}

// Add puts a piece to its place. Tool calls are told apart by their index, or, from servers that leave it out, by their id.
func (a *Answer) Add(chunk Chunk) {
	if chunk.Usage != nil {
		a.Usage = chunk.Usage
	}
	for _, choice := range chunk.Choices {
		if choice.Index != 0 {
			continue
		}
		if choice.Delta.Content != nil {
			a.Text += *choice.Delta.Content
		}
		for _, piece := range choice.Delta.ToolCalls {
			call := a.toolCall(piece)
			if call.ID == "" {
				call.ID = piece.ID
			}
			call.Function.Name += piece.Function.Name
			call.Function.Arguments += piece.Function.Arguments
		}
		if choice.FinishReason != nil {
			a.FinishReason = *choice.FinishReason
		}
	}
}

func (a *Answer) toolCall(piece ToolCall) *ToolCall {
	for i := range a.ToolCalls {
		known := &a.ToolCalls[i]
		if piece.Index != nil && *known.Index == *piece.Index || piece.Index == nil && piece.ID != "" && known.ID == piece.ID {
			return known
		}
	}
	if piece.Index == nil && piece.ID == "" && len(a.ToolCalls) > 0 {
		return &a.ToolCalls[len(a.ToolCalls)-1]
	}
	index := len(a.ToolCalls)
	if piece.Index != nil {
		index = *piece.Index
	}
	a.ToolCalls = append(a.ToolCalls, ToolCall{Index: &index, Type: "function"})
	return &a.ToolCalls[len(a.ToolCalls)-1]
}
