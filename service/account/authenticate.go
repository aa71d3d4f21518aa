package account

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// caller is whom RequireUser let in.
type caller struct{ user, session string }

type callerKey struct{}

// UserID returns the user whom RequireUser let in.
func UserID(ctx context.Context) string { return callerOf(ctx).user }

// SessionID returns the session of the user whom RequireUser let in.
func SessionID(ctx context.Context) string { return callerOf(ctx).session }

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// RequireUser answers 401 (RFC 6750) to requests without a valid access token and tells the others' handlers who asks.
func (s *Service) RequireUser(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		scheme, token, _ := strings.Cut(ctx.Header("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			ctx.SetHeader("WWW-Authenticate", `Bearer`)
			_ = huma.WriteErr(api, ctx, http.StatusUnauthorized, "log in first: the request has no access token")
			return
		}
		user, session, err := s.Authenticate(ctx.Context(), token)
		switch {
		case errors.Is(err, ErrAccessToken):
			ctx.SetHeader("WWW-Authenticate", `Bearer error="invalid_token"`)
			_ = huma.WriteErr(api, ctx, http.StatusUnauthorized, ErrAccessToken.Error())
		case err != nil:
			_ = huma.WriteErr(api, ctx, http.StatusInternalServerError, "the access token could not be checked", err)
		default:
			next(huma.WithValue(ctx, callerKey{}, caller{user, session}))
		}
	}
}

// requireAdmin answers 403 to who is not an administrator now. It stands behind RequireUser.
func (s *Service) requireAdmin(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		user, err := s.UserByID(ctx.Context(), UserID(ctx.Context()))
		switch {
		case err != nil && !errors.Is(err, ErrUnknownUser):
			_ = huma.WriteErr(api, ctx, http.StatusInternalServerError, "the user's role could not be looked up", err)
		case err != nil || user.Role != RoleAdmin || user.DisabledAt != nil:
			_ = huma.WriteErr(api, ctx, http.StatusForbidden, "only administrators may do this")
		default:
			next(ctx)
		}
	}
}
