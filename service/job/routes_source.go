package job

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/api"
)

func (s *Service) sourceRoutes(private huma.API) {
	tags := []string{"jobs"}
	huma.Register(private, huma.Operation{
		OperationID: "add-job-source", Method: http.MethodPost, Path: "/api/v1/job-sources", DefaultStatus: http.StatusCreated,
		Summary: "Add a source of postings", Tags: tags, Errors: []int{http.StatusConflict},
		Description: "An RSS, Atom or JSON feed, or a JSON API. It is fetched once before it is kept, so that what is wrong with it is said at once; then about every hour.",
	}, func(ctx context.Context, in *struct{ Body NewSource }) (*one[Source], error) {
		return answerOne(s.AddSource(ctx, s.config.Caller(ctx), in.Body))
	})
	huma.Register(private, huma.Operation{
		OperationID: "list-job-sources", Method: http.MethodGet, Path: "/api/v1/job-sources", Summary: "List my sources", Tags: tags,
		Description: "Sources with their state, oldest first.",
	}, func(ctx context.Context, in *api.Page) (*list[Source], error) {
		return answerList(s.Sources(ctx, s.config.Caller(ctx), *in))
	})
	huma.Register(private, huma.Operation{
		OperationID: "get-job-source", Method: http.MethodGet, Path: "/api/v1/job-sources/{id}", Summary: "Read a source", Tags: tags,
		Description: "One source, with what went wrong with it last.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *byID) (*one[Source], error) {
		return answerOne(s.Source(ctx, s.config.Caller(ctx), in.ID))
	})
	huma.Register(private, huma.Operation{
		OperationID: "update-job-source", Method: http.MethodPatch, Path: "/api/v1/job-sources/{id}", Summary: "Change a source", Tags: tags,
		Description: "Renames, pauses or resumes a source. With another URL or mapping it is fetched first and stays as it was if that fails.",
		Errors:      []int{http.StatusNotFound, http.StatusConflict},
	}, func(ctx context.Context, in *struct {
		ID   string `path:"id" format:"uuid" doc:"Of a source"`
		Body SourceChange
	},
	) (*one[Source], error) {
		return answerOne(s.ChangeSource(ctx, s.config.Caller(ctx), in.ID, in.Body))
	})
	huma.Register(private, huma.Operation{
		OperationID: "delete-job-source", Method: http.MethodDelete, Path: "/api/v1/job-sources/{id}", Summary: "Delete a source", Tags: tags,
		Description: "The postings that it brought stay.", Errors: []int{http.StatusNotFound}, DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *byID) (*nothing, error) {
		return nil, problem(s.DeleteSource(ctx, s.config.Caller(ctx), in.ID))
	})
	huma.Register(private, huma.Operation{
		OperationID: "fetch-job-source", Method: http.MethodPost, Path: "/api/v1/job-sources/{id}/fetch", Summary: "Fetch a source now",
		Description: "Puts the source at the head of its turn; it is fetched in the background. A source that had failed is active again.",
		Tags:        tags, DefaultStatus: http.StatusAccepted, Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, func(ctx context.Context, in *byID) (*one[Source], error) {
		return answerOne(s.FetchNow(ctx, s.config.Caller(ctx), in.ID))
	})
}
