package account

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Register's body. Passwords carry no length in their schema: huma would answer a violation by its own words and before the
// package's rule is asked.
type registration struct {
	Body struct {
		Email       string `json:"email" format:"email" maxLength:"254"`
		Password    string `json:"password" format:"password" doc:"8 characters to 72 bytes, and none of the common ones"`
		DisplayName string `json:"display_name,omitempty" maxLength:"200"`
	}
}

type registered struct {
	Body struct {
		ID    string `json:"id,omitempty" format:"uuid" doc:"Absent where a mail follows: the answer is then the same for an address that has an account"`
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

type addressee struct {
	Body struct {
		Email string `json:"email" maxLength:"254"`
	}
}

type proof struct {
	Body struct {
		Token string `json:"token" maxLength:"200" doc:"The one in the mail"`
	}
}

type newPassword struct {
	Body struct {
		Token    string `json:"token" maxLength:"200" doc:"The one in the mail"`
		Password string `json:"password" format:"password" doc:"8 characters to 72 bytes, and none of the common ones"`
	}
}

type jwks struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Keys []JWK `json:"keys"`
	}
}

type nothing struct{}

// Routes adds the routes that need no log-in to public and those that do to private, which must use RequireUser.
func (s *Service) Routes(public, private huma.API) {
	s.sessionRoutes(public)
	s.mailRoutes(public)
	s.meRoutes(private)
	s.meSessionRoutes(private)
	s.adminRoutes(private)
	pageRoutes(public)
}

func (s *Service) sessionRoutes(public huma.API) {
	huma.Register(public, huma.Operation{
		OperationID: "register", Method: http.MethodPost, Path: "/api/v1/auth/register", DefaultStatus: http.StatusCreated,
		Summary: "Make an account", Tags: []string{"auth"}, Errors: []int{http.StatusConflict},
		Description: "Where the service sends mail, the account can be used once its address is proved by the mail that follows, and the answer is " +
			"the same for an address that has an account already. Where it does not, the account can be used at once and a taken address is answered with 409. " +
			"It takes no Idempotency-Key: an address has one account however often this is sent. After an answer that got lost, log in with the password.",
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
		Summary: "Open a session", Tags: []string{"auth"}, Errors: []int{http.StatusUnauthorized, http.StatusForbidden},
		Description: "A wrong password, an unknown address, one that is not proved yet, and an account that too many wrong passwords have locked " +
			"for a while are all answered alike with 401; an account that is disabled with 403, to who knows its password.",
	}, func(ctx context.Context, in *credentials) (*granted, error) {
		tokens, err := s.Login(ctx, in.Body.Email, in.Body.Password)
		return &granted{"no-store", tokens}, problem(err)
	})
	huma.Register(public, huma.Operation{
		OperationID: "refresh", Method: http.MethodPost, Path: "/api/v1/auth/refresh",
		Summary: "Exchange a refresh token for new tokens", Tags: []string{"auth"}, Errors: []int{http.StatusUnauthorized},
		Description: "A refresh token is good once. One that comes back later than a few seconds after its use was stolen: its session ends for everybody.",
	}, func(ctx context.Context, in *refresh) (*granted, error) {
		tokens, err := s.Refresh(ctx, in.Body.RefreshToken)
		return &granted{"no-store", tokens}, problem(err)
	})
	huma.Register(public, huma.Operation{
		OperationID: "logout", Method: http.MethodPost, Path: "/api/v1/auth/logout",
		Summary: "End the session of a refresh token", Tags: []string{"auth"},
		Description: "Its access tokens end at once as well. An unknown token is no error: there is nothing left to end.",
	}, func(ctx context.Context, in *refresh) (*nothing, error) {
		return nil, problem(s.Logout(ctx, in.Body.RefreshToken))
	})
	huma.Register(public, huma.Operation{
		OperationID: "jwks", Method: http.MethodGet, Path: "/.well-known/jwks.json",
		Summary: "Keys that check access tokens", Tags: []string{"auth"},
		Description: "As RFC 7517 has it. A new key is published here before it signs.",
	}, func(context.Context, *struct{}) (*jwks, error) {
		out := &jwks{CacheControl: "public, max-age=300"} // jwksMaxAge
		out.Body.Keys = s.keys.published(s.config.Now())
		return out, nil
	})
}

// mailRoutes are those that follow from or lead to a mail.
func (s *Service) mailRoutes(public huma.API) {
	huma.Register(public, huma.Operation{
		OperationID: "verify", Method: http.MethodPost, Path: "/api/v1/auth/verify", Summary: "Prove an e-mail address",
		Description: "With the token from the mail that followed the registration. It is good once and for two days.", Tags: []string{"auth"},
	}, func(ctx context.Context, in *proof) (*nothing, error) {
		return nil, problem(s.Verify(ctx, in.Body.Token))
	})
	huma.Register(public, huma.Operation{
		OperationID: "send-verification", Method: http.MethodPost, Path: "/api/v1/auth/verification", DefaultStatus: http.StatusAccepted,
		Summary: "Send the mail that proves an address again", Tags: []string{"auth"}, Errors: []int{http.StatusConflict},
		Description: "The answer is the same whether the address has an account or not. 409 where the service sends no mail.",
	}, func(ctx context.Context, in *addressee) (*nothing, error) {
		return nil, problem(s.AskVerification(ctx, in.Body.Email))
	})
	huma.Register(public, huma.Operation{
		OperationID: "forgot-password", Method: http.MethodPost, Path: "/api/v1/auth/password/forgot", DefaultStatus: http.StatusAccepted,
		Summary: "Send a mail to set a new password", Tags: []string{"auth"}, Errors: []int{http.StatusConflict},
		Description: "The answer is the same whether the address has an account or not. 409 where the service sends no mail.",
	}, func(ctx context.Context, in *addressee) (*nothing, error) {
		return nil, problem(s.ForgotPassword(ctx, in.Body.Email))
	})
	huma.Register(public, huma.Operation{
		OperationID: "reset-password", Method: http.MethodPost, Path: "/api/v1/auth/password/reset", Summary: "Set a new password",
		Description: "With the token from the mail, which is good once and for an hour. All sessions of the account end.", Tags: []string{"auth"},
	}, func(ctx context.Context, in *newPassword) (*nothing, error) {
		return nil, problem(s.ResetPassword(ctx, in.Body.Token, in.Body.Password))
	})
}

// problem turns what the package says into what HTTP says. An error that it does not know stays as it is: the server
// answers 500 and logs it.
func problem(err error) error {
	if err == nil {
		return nil
	}
	if invalid, is := errors.AsType[*InvalidError](err); is {
		return huma.Error422UnprocessableEntity(invalid.Error(), &huma.ErrorDetail{Message: invalid.Problem, Location: "body." + invalid.Field})
	}
	if locked, is := errors.AsType[*LockedError](err); is {
		return huma.ErrorWithHeaders(huma.Error429TooManyRequests(locked.Error()),
			http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(locked.In.Seconds())))}})
	}
	for _, known := range []struct {
		err    error
		answer func(string, ...error) huma.StatusError
		text   string
	}{
		{ErrEmailTaken, huma.Error409Conflict, ""},
		{ErrNoMail, huma.Error409Conflict, ""},
		{ErrNoPassword, huma.Error409Conflict, ""},
		{ErrYourself, huma.Error409Conflict, ""},
		{ErrCredentials, huma.Error401Unauthorized, ""},
		{ErrRefreshToken, huma.Error401Unauthorized, ""},
		{ErrUnknownUser, huma.Error401Unauthorized, "the account is gone"},
		{ErrDisabled, huma.Error403Forbidden, ""},
		{ErrPassword, huma.Error403Forbidden, ""},
		{ErrOneTimeToken, huma.Error422UnprocessableEntity, ""},
		{ErrNoSession, huma.Error404NotFound, ""},
	} {
		if !errors.Is(err, known.err) {
			continue
		}
		if known.text == "" {
			known.text = known.err.Error()
		}
		return known.answer(known.text)
	}
	return err
}
