package account

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Register's body. Passwords carry no length in their schema: huma would answer a violation by its own words and before the
// package's rule is asked.
type registration struct {
	Body struct {
		Email       string `json:"email" format:"email" maxLength:"254"`
		Password    string `json:"password" format:"password" doc:"8 characters to 72 bytes"`
		DisplayName string `json:"display_name,omitempty" maxLength:"200"`
	}
}

type registered struct {
	Body struct {
		ID    string `json:"id" format:"uuid"`
		Email string `json:"email" format:"email"`
	}
}

type credentials struct {
	Body struct {
		Email    string `json:"email"`
		Password string `json:"password" format:"password"`
	}
}

type refresh struct {
	Body struct {
		RefreshToken string `json:"refresh_token"`
	}
}

type granted struct {
	CacheControl string `header:"Cache-Control"` // RFC 6749, section 5.1: no-store
	Body         Tokens
}

type (
	profileAnswer struct{ Body Profile }
	profileChange struct{ Body ProfileChange }
	nothing       struct{}
)

// Routes adds the routes that need no log-in to public and those that do to private, which must use RequireUser.
func (s *Service) Routes(public, private huma.API) {
	huma.Register(public, huma.Operation{
		OperationID: "register", Method: http.MethodPost, Path: "/api/v1/auth/register", DefaultStatus: http.StatusCreated,
		Summary: "Make an account", Tags: []string{"auth"}, Errors: []int{http.StatusConflict},
	}, func(ctx context.Context, in *registration) (*registered, error) {
		id, err := s.Register(ctx, in.Body.Email, in.Body.Password, in.Body.DisplayName)
		if err != nil {
			return nil, problem(err)
		}
		out := &registered{}
		out.Body.ID, out.Body.Email = id, strings.TrimSpace(in.Body.Email)
		return out, nil
	})
	huma.Register(public, huma.Operation{
		OperationID: "login", Method: http.MethodPost, Path: "/api/v1/auth/login",
		Summary: "Open a session", Tags: []string{"auth"}, Errors: []int{http.StatusUnauthorized},
	}, func(ctx context.Context, in *credentials) (*granted, error) {
		tokens, err := s.Login(ctx, in.Body.Email, in.Body.Password)
		return &granted{"no-store", tokens}, problem(err)
	})
	huma.Register(public, huma.Operation{
		OperationID: "refresh", Method: http.MethodPost, Path: "/api/v1/auth/refresh",
		Summary: "Exchange a refresh token for new tokens", Tags: []string{"auth"}, Errors: []int{http.StatusUnauthorized},
	}, func(ctx context.Context, in *refresh) (*granted, error) {
		tokens, err := s.Refresh(ctx, in.Body.RefreshToken)
		return &granted{"no-store", tokens}, problem(err)
	})
	huma.Register(public, huma.Operation{
		OperationID: "logout", Method: http.MethodPost, Path: "/api/v1/auth/logout",
		Summary: "End the session of a refresh token", Tags: []string{"auth"},
	}, func(ctx context.Context, in *refresh) (*nothing, error) {
		return nil, problem(s.Logout(ctx, in.Body.RefreshToken))
	})
	huma.Register(public, huma.Operation{
		OperationID: "jwks", Method: http.MethodGet, Path: "/.well-known/jwks.json",
		Summary: "Keys that check access tokens", Tags: []string{"auth"},
	}, func(context.Context, *struct{}) (*jwks, error) {
		out := &jwks{CacheControl: "public, max-age=300"}
		out.Body.Keys = s.config.Keys.known
		return out, nil
	})
	s.meRoutes(private)
}

type jwks struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Keys []JWK `json:"keys"`
	}
}

func (s *Service) meRoutes(private huma.API) {
	huma.Register(private, huma.Operation{
		OperationID: "get-me", Method: http.MethodGet, Path: "/api/v1/me", Summary: "Read my profile", Tags: []string{"me"},
	}, func(ctx context.Context, _ *struct{}) (*profileAnswer, error) {
		profile, err := s.Profile(ctx, UserID(ctx))
		return &profileAnswer{profile}, problem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "update-me", Method: http.MethodPatch, Path: "/api/v1/me", Summary: "Change my profile", Tags: []string{"me"},
	}, func(ctx context.Context, in *profileChange) (*profileAnswer, error) {
		profile, err := s.UpdateProfile(ctx, UserID(ctx), in.Body)
		return &profileAnswer{profile}, problem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "delete-me", Method: http.MethodDelete, Path: "/api/v1/me",
		Summary: "Delete my account and everything in it", Tags: []string{"me"},
	}, func(ctx context.Context, _ *struct{}) (*nothing, error) {
		return nil, problem(s.Delete(ctx, UserID(ctx)))
	})
}

// problem turns what the package says into what HTTP says. An error that it does not know stays as it is: the server
// answers 500 and logs it.
func problem(err error) error {
	var invalid *InvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return huma.Error422UnprocessableEntity(invalid.Error(), &huma.ErrorDetail{Message: invalid.Problem, Location: "body." + invalid.Field})
	case errors.Is(err, ErrEmailTaken):
		return huma.Error409Conflict(ErrEmailTaken.Error())
	case errors.Is(err, ErrCredentials):
		return huma.Error401Unauthorized(ErrCredentials.Error())
	case errors.Is(err, ErrRefreshToken):
		return huma.Error401Unauthorized(ErrRefreshToken.Error())
	case errors.Is(err, ErrUnknownUser):
		return huma.Error401Unauthorized("the account is gone")
	default:
		return err
	}
}

type userKey struct{}

// UserID returns the user whom RequireUser let in.
func UserID(ctx context.Context) string {
	id, _ := ctx.Value(userKey{}).(string)
	return id
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
		user, err := s.Authenticate(token)
		if err != nil {
			ctx.SetHeader("WWW-Authenticate", `Bearer error="invalid_token"`)
			_ = huma.WriteErr(api, ctx, http.StatusUnauthorized, "the access token is not valid or has ended")
			return
		}
		next(huma.WithValue(ctx, userKey{}, user))
	}
}
