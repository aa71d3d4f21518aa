package briefing

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/api"
)

type (
	scheduleBody struct{ Body Schedule }
	match        struct {
		IfNoneMatch string `header:"If-None-Match" doc:"ETags of the answers that the caller has"`
	}
	answer struct {
		ETag string `header:"ETag"`
		Body Briefing
	}
	created struct {
		Location string `header:"Location"`
		ETag     string `header:"ETag"`
		Body     Briefing
	}
	list struct{ Body api.List[Overview] }
)

var tags = []string{"briefing"}

// Routes adds the routes to an API that lets in users only.
func (s *Service) Routes(private huma.API) {
	s.scheduleRoutes(private)
	huma.Register(private, huma.Operation{
		OperationID: "list-briefings", Method: http.MethodGet, Path: "/api/v1/briefings", Tags: tags,
		Summary: "List my briefings", Description: "Newest first, without their texts.",
	}, func(ctx context.Context, in *api.Page) (*list, error) {
		items, next, err := s.List(ctx, s.caller(ctx), *in)
		return &list{api.List[Overview]{Items: items, NextCursor: next}}, err
	})
	huma.Register(private, huma.Operation{
		OperationID: "create-briefing", Method: http.MethodPost, Path: "/api/v1/briefings", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Write a briefing now",
		Description: "About what happened since my last briefing, and at most the last seven days. It is ready in the answer. Where a language " +
			"model is configured but takes too long or does not keep to the sources, the briefing quotes them instead; writer tells.",
	}, func(ctx context.Context, _ *struct{}) (*created, error) {
		b, err := s.Generate(ctx, s.caller(ctx))
		return &created{"/api/v1/briefings/" + b.ID, b.etag(), b}, problem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "get-latest-briefing", Method: http.MethodGet, Path: "/api/v1/briefings/latest", Tags: tags,
		Summary: "Read my latest briefing", Description: "The newest that is ready; 404 when there is none yet.",
	}, func(ctx context.Context, in *match) (*answer, error) {
		b, err := s.Latest(ctx, s.caller(ctx))
		return respond(in.IfNoneMatch, b, err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "get-briefing", Method: http.MethodGet, Path: "/api/v1/briefings/{id}", Tags: tags,
		Summary: "Read one of my briefings", Description: "A pending one has no text yet; ask again in a few seconds.",
	}, func(ctx context.Context, in *struct {
		ID          string `path:"id" format:"uuid" doc:"Of a briefing"`
		IfNoneMatch string `header:"If-None-Match" doc:"ETags of the answers that the caller has"`
	},
	) (*answer, error) {
		b, err := s.Get(ctx, s.caller(ctx), in.ID)
		return respond(in.IfNoneMatch, b, err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "delete-briefing", Method: http.MethodDelete, Path: "/api/v1/briefings/{id}", Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary: "Delete one of my briefings", Description: "What it told of stays. The next briefing begins where the last one that is left ended.",
	}, func(ctx context.Context, in *struct {
		ID string `path:"id" format:"uuid" doc:"Of a briefing"`
	},
	) (*struct{}, error) {
		return nil, problem(s.Delete(ctx, s.caller(ctx), in.ID))
	})
}

func (s *Service) scheduleRoutes(private huma.API) {
	huma.Register(private, huma.Operation{
		OperationID: "get-briefing-schedule", Method: http.MethodGet, Path: "/api/v1/me/briefing-schedule", Tags: tags,
		Summary: "Read when I want my briefing", Description: "Whoever never said gets one that is not enabled.",
	}, func(ctx context.Context, _ *struct{}) (*scheduleBody, error) {
		schedule, err := s.Schedule(ctx, s.caller(ctx))
		return &scheduleBody{schedule}, err
	})
	huma.Register(private, huma.Operation{
		OperationID: "put-briefing-schedule", Method: http.MethodPut, Path: "/api/v1/me/briefing-schedule", Tags: tags,
		Summary: "Say when I want my briefing",
		Description: "Once each local day. On a day whose clocks skip the time it comes right after the gap, and on a day that has the time twice " +
			"it comes the first time. A briefing that was missed is made up for within six hours.",
	}, func(ctx context.Context, in *scheduleBody) (*scheduleBody, error) {
		return in, problem(s.SetSchedule(ctx, s.caller(ctx), in.Body))
	})
}

// etag names what the briefing says: a ready one does not change any more.
func (b Briefing) etag() string { return `"` + b.ID + "." + b.State + `"` }

// respond answers with a briefing, or with 304 to who has it (RFC 9110, section 13.1.2).
func respond(ifNoneMatch string, b Briefing, err error) (*answer, error) {
	if err != nil {
		return nil, problem(err)
	}
	for tag := range strings.SplitSeq(ifNoneMatch, ",") {
		if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == b.etag() || tag == "*" {
			return nil, huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"Etag": {b.etag()}})
		}
	}
	return &answer{b.etag(), b}, nil
}

// problem says a user's errors as problems; others stay what they are.
func problem(err error) error {
	switch {
	case errors.Is(err, ErrTimeZone), errors.Is(err, ErrTime):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, ErrNotFound):
		return huma.Error404NotFound("there is no such briefing")
	case errors.Is(err, ErrUnknownUser):
		return huma.Error401Unauthorized("the account is gone")
	}
	return err
}
