package mail

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/api"
)

type (
	newIMAP          struct{ Body IMAPConnection }
	connectionAnswer struct{ Body Connection }
	connectionList   struct{ Body api.List[Connection] }
	connectionPath   struct {
		ID string `path:"id" format:"uuid" doc:"Of the connection"`
	}
	connectionPatch struct {
		ID   string `path:"id" format:"uuid" doc:"Of the connection"`
		Body ConnectionChange
	}
	connectionRemoval struct {
		ID     string `path:"id" format:"uuid" doc:"Of the connection"`
		Emails string `query:"emails" enum:"keep,delete" default:"keep" doc:"What becomes of the messages that it brought; those that another connection has as well stay"`
	}
)

// routes adds the routes under /api/v1/connections.
func (c *connections) routes(private huma.API) {
	tags := []string{"connections"}
	user := c.config.Caller
	huma.Register(private, huma.Operation{
		OperationID: "connect-imap", Method: http.MethodPost, Path: "/api/v1/connections/imap", DefaultStatus: http.StatusCreated,
		Summary: "Connect an IMAP mailbox", Tags: tags, Errors: []int{http.StatusConflict},
		Description: "Logs in to try the connection, keeps it with the password encrypted, and begins to fetch. Only servers at public addresses, and only over TLS.",
	}, func(ctx context.Context, in *newIMAP) (*connectionAnswer, error) {
		made, err := c.connectIMAP(ctx, user(ctx), in.Body)
		return &connectionAnswer{made}, connectionProblem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "list-connections", Method: http.MethodGet, Path: "/api/v1/connections",
		Summary: "List my connections", Tags: tags, Description: "The oldest first.",
	}, func(ctx context.Context, in *api.Page) (*connectionList, error) {
		found, next, err := c.list(ctx, user(ctx), *in)
		return &connectionList{api.List[Connection]{Items: found, NextCursor: next}}, connectionProblem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "get-connection", Method: http.MethodGet, Path: "/api/v1/connections/{id}",
		Summary: "Read a connection", Tags: tags, Errors: []int{http.StatusNotFound}, Description: "With how its last sync went.",
	}, func(ctx context.Context, in *connectionPath) (*connectionAnswer, error) {
		found, err := c.get(ctx, user(ctx), in.ID)
		return &connectionAnswer{found}, connectionProblem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "update-connection", Method: http.MethodPatch, Path: "/api/v1/connections/{id}",
		Summary: "Rename, pause or resume a connection, or give it a new password", Tags: tags, Errors: []int{http.StatusNotFound, http.StatusConflict},
		Description: "A new password is tried before it is kept; it makes a connection active again whose credentials were refused.",
	}, func(ctx context.Context, in *connectionPatch) (*connectionAnswer, error) {
		changed, err := c.change(ctx, user(ctx), in.ID, in.Body)
		return &connectionAnswer{changed}, connectionProblem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "delete-connection", Method: http.MethodDelete, Path: "/api/v1/connections/{id}",
		Summary: "Remove a connection", Tags: tags, Errors: []int{http.StatusNotFound},
		Description: "The password is deleted at once; a consent at Google is taken back in the background and its tokens are deleted then.",
	}, func(ctx context.Context, in *connectionRemoval) (*struct{}, error) {
		return nil, connectionProblem(c.disconnect(ctx, user(ctx), in.ID, in.Emails == "delete"))
	})
	huma.Register(private, huma.Operation{
		OperationID: "sync-connection", Method: http.MethodPost, Path: "/api/v1/connections/{id}/sync", DefaultStatus: http.StatusAccepted,
		Summary: "Fetch new mail now", Tags: tags, Errors: []int{http.StatusNotFound, http.StatusConflict},
		Description: "The sync runs in the background. Where one runs already, another one follows it.",
	}, func(ctx context.Context, in *connectionPath) (*connectionAnswer, error) {
		found, err := c.syncNow(ctx, user(ctx), in.ID)
		return &connectionAnswer{found}, connectionProblem(err)
	})
}

// connectionProblem turns what the package says into what HTTP says. An error that it does not know stays as it is: the server answers
// 500 and logs it.
func connectionProblem(err error) error {
	var field *fieldError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &field):
		return huma.Error422UnprocessableEntity("the connection cannot be kept: "+field.Error(),
			&huma.ErrorDetail{Message: field.problem, Location: "body." + field.field})
	case errors.Is(err, ErrNotFound):
		return huma.Error404NotFound("you have no connection of this id")
	case errors.Is(err, errConnected), errors.Is(err, errTooMany), errors.Is(err, errPaused), errors.Is(err, errReconnect), errors.Is(err, errNotPassword):
		return huma.Error409Conflict(err.Error())
	default:
		return err
	}
}
