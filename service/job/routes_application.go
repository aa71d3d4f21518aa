package job

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/api"
)

func (s *Service) applicationRoutes(private huma.API) {
	tags := []string{"applications"}
	huma.Register(private, huma.Operation{
		OperationID: "add-application", Method: http.MethodPost, Path: "/api/v1/applications", DefaultStatus: http.StatusCreated,
		Summary: "Add an application", Tags: tags,
		Description: "To a posting, whose company, title and URL are taken over, or to a job that no source brought.",
	}, func(ctx context.Context, in *struct{ Body NewApplication }) (*versioned, error) {
		return answerVersioned(s.Add(ctx, s.config.Caller(ctx), in.Body))
	})
	huma.Register(private, huma.Operation{
		OperationID: "list-applications", Method: http.MethodGet, Path: "/api/v1/applications", Summary: "List my applications", Tags: tags,
		Description: "Last changed first.",
	}, func(ctx context.Context, in *struct {
		api.Page
		Status Status `query:"status" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn" doc:"Those of this status only"`
	},
	) (*list[Application], error) {
		return answerList(s.Applications(ctx, s.config.Caller(ctx), in.Status, in.Page))
	})
	huma.Register(private, huma.Operation{
		OperationID: "get-application", Method: http.MethodGet, Path: "/api/v1/applications/{id}", Summary: "Read an application", Tags: tags,
		Description: "One application; the ETag is its version.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *byID) (*versioned, error) {
		return answerVersioned(s.Application(ctx, s.config.Caller(ctx), in.ID))
	})
	huma.Register(private, huma.Operation{
		OperationID: "update-application", Method: http.MethodPatch, Path: "/api/v1/applications/{id}", Summary: "Change an application",
		Description: "Any status may follow any; each move is written into the history. With If-Match, an application that changed meanwhile is left alone (412).",
		Tags:        tags, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, func(ctx context.Context, in *struct {
		ID      string `path:"id" format:"uuid" doc:"Of an application"`
		IfMatch string `header:"If-Match" maxLength:"50" doc:"ETag of the version that the change is meant for; without it, any" example:"\"3\""`
		Body    ApplicationChange
	},
	) (*versioned, error) {
		known, err := version(in.IfMatch)
		if err != nil {
			return nil, problem(err)
		}
		return answerVersioned(s.Update(ctx, s.config.Caller(ctx), in.ID, known, in.Body))
	})
	huma.Register(private, huma.Operation{
		OperationID: "delete-application", Method: http.MethodDelete, Path: "/api/v1/applications/{id}", Summary: "Delete an application",
		Description: "With its history. With If-Match, an application that changed meanwhile is left alone (412).",
		Tags:        tags, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed}, DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *struct {
		ID      string `path:"id" format:"uuid" doc:"Of an application"`
		IfMatch string `header:"If-Match" maxLength:"50" doc:"ETag of the version that the change is meant for; without it, any" example:"\"3\""`
	},
	) (*nothing, error) {
		known, err := version(in.IfMatch)
		if err != nil {
			return nil, problem(err)
		}
		return nil, problem(s.Remove(ctx, s.config.Caller(ctx), in.ID, known))
	})
	s.historyRoutes(private, tags)
}

func (s *Service) historyRoutes(private huma.API, tags []string) {
	huma.Register(private, huma.Operation{
		OperationID: "list-application-events", Method: http.MethodGet, Path: "/api/v1/applications/{id}/events",
		Summary: "Read an application's history", Description: "Newest first.", Tags: tags, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		ID string `path:"id" format:"uuid" doc:"Of an application"`
		api.Page
	},
	) (*list[Event], error) {
		return answerList(s.Events(ctx, s.config.Caller(ctx), in.ID, in.Page))
	})
	huma.Register(private, huma.Operation{
		OperationID: "add-application-note", Method: http.MethodPost, Path: "/api/v1/applications/{id}/notes", DefaultStatus: http.StatusCreated,
		Summary: "Write a note into an application's history", Description: "The application itself does not change.",
		Tags: tags, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		ID   string `path:"id" format:"uuid" doc:"Of an application"`
		Body struct {
			Note string `json:"note" minLength:"1" maxLength:"2000"`
		}
	},
	) (*one[Event], error) {
		return answerOne(s.AddNote(ctx, s.config.Caller(ctx), in.ID, in.Body.Note))
	})
}
