package job

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/api"
)

type (
	byID struct {
		ID string `path:"id" format:"uuid" doc:"As a list gave it"`
	}
	nothing     struct{}
	list[T any] struct{ Body api.List[T] }
	one[T any]  struct{ Body T }
)

// answerList is what a list answers: an empty array rather than null.
func answerList[T any](items []T, cursor string, err error) (*list[T], error) {
	if err != nil {
		return nil, problem(err)
	}
	return &list[T]{api.List[T]{Items: items, NextCursor: cursor}}, nil
}

func answerOne[T any](item T, err error) (*one[T], error) {
	if err != nil {
		return nil, problem(err)
	}
	return &one[T]{item}, nil
}

// problem turns what the package says into what HTTP says. An error that it does not know stays as it is: the server answers 500
// and logs it.
func problem(err error) error {
	var (
		invalid  *InvalidError
		conflict *ConflictError
		source   *SourceError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		where := "body."
		if invalid.Field == "q" {
			where = "query."
		}
		return huma.Error422UnprocessableEntity(invalid.Error(), &huma.ErrorDetail{Message: invalid.Problem, Location: where + invalid.Field})
	case errors.As(err, &source):
		return huma.Error422UnprocessableEntity("the source cannot be used: "+source.Problem,
			&huma.ErrorDetail{Message: source.Problem, Location: "body.url"})
	case errors.As(err, &conflict):
		return huma.Error409Conflict(conflict.Problem)
	case errors.Is(err, ErrChanged):
		return huma.Error412PreconditionFailed("the application was changed since the version in If-Match; read it again and repeat the change")
	case errors.Is(err, ErrNotFound):
		return huma.Error404NotFound("there is nothing of yours with this id")
	case errors.Is(err, ErrUnknownUser):
		return huma.Error401Unauthorized(ErrUnknownUser.Error())
	default:
		return err
	}
}

func (s *Service) postingRoutes(private huma.API) {
	type query struct {
		api.Page
		Query  string    `query:"q" maxLength:"500" doc:"Words that have to occur; \"quoted words\" stand together, -word must not occur" example:"go -senior"`
		Since  time.Time `query:"since" doc:"Found at or after"`
		Hidden bool      `query:"hidden" doc:"Hidden postings instead of the others"`
	}
	huma.Register(private, huma.Operation{
		OperationID: "list-jobs", Method: http.MethodGet, Path: "/api/v1/jobs", Summary: "List and search postings", Tags: []string{"jobs"},
		Description: "What my sources brought, newest first: by time of publication, or by when it was found where only `since` is given. The same job of two sources is one.",
	}, func(ctx context.Context, in *query) (*list[Posting], error) {
		return answerList(s.Postings(ctx, s.config.Caller(ctx), PostingFilter{in.Query, in.Since, in.Hidden}, in.Page))
	})
	huma.Register(private, huma.Operation{
		OperationID: "get-job", Method: http.MethodGet, Path: "/api/v1/jobs/{id}", Summary: "Read a posting", Tags: []string{"jobs"},
		Description: "One posting, hidden or not.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *byID) (*one[Posting], error) {
		return answerOne(s.Posting(ctx, s.config.Caller(ctx), in.ID))
	})
	for verb, hidden := range map[string]bool{"hide": true, "unhide": false} {
		huma.Register(private, huma.Operation{
			OperationID: verb + "-job", Method: http.MethodPost, Path: "/api/v1/jobs/{id}/" + verb, Tags: []string{"jobs"},
			Summary:     map[bool]string{true: "Hide a posting", false: "Show a hidden posting again"}[hidden],
			Description: "A hidden posting is not in lists and searches, and no source brings it back.", Errors: []int{http.StatusNotFound},
		}, func(ctx context.Context, in *byID) (*one[Posting], error) {
			return answerOne(s.Hide(ctx, s.config.Caller(ctx), in.ID, hidden))
		})
	}
}

func (s *Service) suggestionRoutes(private huma.API) {
	huma.Register(private, huma.Operation{
		OperationID: "list-suggestions", Method: http.MethodGet, Path: "/api/v1/suggestions", Summary: "List open suggestions",
		Description: "What mail seems to say about my applications, newest first. Nothing moves before I accept it.", Tags: []string{"applications"},
	}, func(ctx context.Context, in *api.Page) (*list[Suggestion], error) {
		return answerList(s.Suggestions(ctx, s.config.Caller(ctx), *in))
	})
	huma.Register(private, huma.Operation{
		OperationID: "accept-suggestion", Method: http.MethodPost, Path: "/api/v1/suggestions/{id}/accept", Summary: "Accept a suggestion",
		Description: "Moves the application, or makes the one that is suggested, once; asked again, it answers the same.",
		Tags:        []string{"applications"}, Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, func(ctx context.Context, in *byID) (*versioned, error) {
		return answerVersioned(s.Accept(ctx, s.config.Caller(ctx), in.ID))
	})
	huma.Register(private, huma.Operation{
		OperationID: "dismiss-suggestion", Method: http.MethodPost, Path: "/api/v1/suggestions/{id}/dismiss", Summary: "Dismiss a suggestion",
		Description: "Puts the suggestion away. The application stays as it is.",
		Tags:        []string{"applications"}, Errors: []int{http.StatusNotFound, http.StatusConflict}, DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *byID) (*nothing, error) {
		return nil, problem(s.Dismiss(ctx, s.config.Caller(ctx), in.ID))
	})
}

// versioned is an application with its version as the ETag (RFC 9110, section 8.8.3).
type versioned struct {
	ETag string `header:"ETag"`
	Body Application
}

func answerVersioned(a Application, err error) (*versioned, error) {
	if err != nil {
		return nil, problem(err)
	}
	return &versioned{`"` + strconv.Itoa(a.Version) + `"`, a}, nil
}

// version reads If-Match (RFC 9110, section 13.1.1): 0 for any version. What this service never gave out matches none.
func version(ifMatch string) (int, error) {
	if ifMatch = strings.TrimSpace(ifMatch); ifMatch == "" || ifMatch == "*" {
		return 0, nil
	}
	number, quoted := strings.CutPrefix(ifMatch, `"`)
	number, closed := strings.CutSuffix(number, `"`)
	n, err := strconv.Atoi(number)
	if !quoted || !closed || err != nil || n < 1 {
		return 0, ErrChanged
	}
	return n, nil
}
