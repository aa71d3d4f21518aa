// Package telemetry is how the service says what it does: structured logs, Prometheus metrics, and the clock that both and
// everything else go by. It imports nothing of ours and decides nothing.
package telemetry

import (
	"context"
	"io"
	"log/slog"
)

// NewLogger writes one JSON object a line to w. Every line carries the attributes in with; a line that is logged with a
// request's context carries its request_id, and its trace_id where traces are made.
func NewLogger(w io.Writer, level slog.Leveler, with ...slog.Attr) *slog.Logger {
	handler := slog.Handler(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	return slog.New(requestHandler{handler.WithAttrs(with)})
}

type requestKey struct{}

// WithRequestID returns a context whose log lines carry the id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestID returns the id that WithRequestID put there, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

type requestHandler struct{ slog.Handler }

func (h requestHandler) Handle(ctx context.Context, record slog.Record) error {
	if id := RequestID(ctx); id != "" {
		record.AddAttrs(slog.String("request_id", id))
	}
	if id := traceID(ctx); id != "" {
		record.AddAttrs(slog.String("trace_id", id))
	}
	return h.Handler.Handle(ctx, record)
}

func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}
