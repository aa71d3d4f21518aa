package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/chat"
)

// huma lets a program say how errors become problems in this one place.
func init() { huma.NewErrorWithContext = newProblem }

// newProblem makes the problem of an error that no part knows: 503 where it is that the database is away or was not to be had in time, so
// that clients and proxies know to ask again, and otherwise what was asked for.
func newProblem(ctx huma.Context, status int, detail string, causes ...error) huma.StatusError {
	if status < http.StatusInternalServerError {
		return huma.NewError(status, detail, causes...)
	}
	switch cause := errors.Join(causes...); {
	case api.Unavailable(cause):
		status, detail = http.StatusServiceUnavailable, "the service's database does not answer: try again in a moment"
	case errors.Is(cause, context.DeadlineExceeded):
		status, detail = http.StatusServiceUnavailable, "the service has too much to do: try again in a moment"
	}
	if status == http.StatusServiceUnavailable {
		ctx.SetHeader("Retry-After", "1")
	}
	return huma.NewError(status, detail, causes...)
}

// discreet keeps errors from telling too much: what was sent is not repeated, since it may be a password, and what went
// wrong inside goes to the log instead of to the client. While the database is away every request says so: one a second is logged.
func discreet(log *slog.Logger) huma.Transformer {
	unavailable := rate.Sometimes{Interval: time.Second}
	return func(ctx huma.Context, _ string, body any) (any, error) {
		problem, isProblem := body.(*huma.ErrorModel)
		if !isProblem {
			return body, nil
		}
		for _, detail := range problem.Errors {
			detail.Value = nil
			fail := func() { log.ErrorContext(ctx.Context(), "request failed", "error", detail.Message) }
			if problem.Status == http.StatusServiceUnavailable {
				unavailable.Do(fail)
			} else if problem.Status >= http.StatusInternalServerError {
				fail()
			}
		}
		if problem.Status >= http.StatusInternalServerError {
			problem.Errors = nil
		}
		return problem, nil
	}
}

// writeProblem answers requests that do not reach huma: as RFC 9457 has it, and under /v1 as OpenAI's clients expect.
func writeProblem(w http.ResponseWriter, req *http.Request, status int, detail string) {
	if chat.Owns(req.URL.Path) {
		chat.WriteError(w, status, detail)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail}) // an error here is a client that left
}
