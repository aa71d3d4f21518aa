package signin

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/api"
)

// cookies are those of a request. Which of them counts, the service knows.
type cookies struct{ sent []*http.Cookie }

// Resolve reads them.
func (c *cookies) Resolve(ctx huma.Context) []error {
	c.sent = huma.ReadCookies(ctx)
	return nil
}

type loginStart struct {
	cookies
	Provider string `path:"provider" maxLength:"50" doc:"Name of a provider that the operator configured" example:"google"`
	ReturnTo string `query:"return_to" maxLength:"2000" doc:"Page to send the browser to in the end, with a one-time code; of an origin that the operator listed"`
}

// Callback is what a provider sends a browser back with. It has a public name because huma looks into embedded structs of such only.
type Callback struct {
	cookies
	State string `query:"state" maxLength:"200" doc:"What the service sent the browser away with: RFC 6749, section 4.1.2"`
	Code  string `query:"code" maxLength:"4000" doc:"To exchange for tokens"`
	Error string `query:"error" maxLength:"200" doc:"Why there is no code: RFC 6749, section 4.1.2.1"`
	Iss   string `query:"iss" maxLength:"500" doc:"Who answers: RFC 9207"`
}

// Resolve refuses a parameter that is there twice: RFC 6749, section 3.1.
func (c *Callback) Resolve(ctx huma.Context) []error {
	url := ctx.URL()
	for name, values := range url.Query() {
		if len(values) > 1 {
			return []error{&huma.ErrorDetail{Message: "a parameter is there twice", Location: "query." + errorCode(name)}}
		}
	}
	return c.cookies.Resolve(ctx)
}

type loginCallback struct {
	Callback
	Provider string `path:"provider" maxLength:"50" doc:"Name of the provider that the log-in began with"`
}

type redirect struct {
	Location     string      `header:"Location"`
	SetCookie    http.Cookie `header:"Set-Cookie"`
	CacheControl string      `header:"Cache-Control"`
}

type begun struct {
	SetCookie    http.Cookie `header:"Set-Cookie"`
	CacheControl string      `header:"Cache-Control"`
	Body         struct {
		URL string `json:"url" format:"uri" doc:"Where to send this browser"`
	}
}

type linkStart struct {
	cookies
	Body struct {
		Provider string `json:"provider" maxLength:"50" doc:"Name of a provider that the operator configured" example:"google"`
		ReturnTo string `json:"return_to,omitempty" maxLength:"2000" doc:"Page to send the browser to in the end; of an origin that the operator listed"`
	}
}

type connectStart struct {
	cookies
	Body *struct {
		ReturnTo string `json:"return_to,omitempty" maxLength:"2000" doc:"Page to send the browser to in the end; of an origin that the operator listed"`
	}
}

func (c *connectStart) returnTo() string {
	if c.Body == nil {
		return ""
	}
	return c.Body.ReturnTo
}

type codeExchange struct {
	cookies
	Body struct {
		Code string `json:"code" maxLength:"200" doc:"The code that the page was called with"`
	}
}

type granted struct {
	CacheControl string `header:"Cache-Control"` // RFC 6749, section 5.1: no-store
	Body         account.Tokens
}

type (
	identityList struct{ Body api.List[Identity] }
	identityID   struct {
		ID string `path:"id" format:"uuid" doc:"Of an identity"`
	}
)

var errNoProvider = refuse(http.StatusNotFound, "not_found", "the service knows no provider of this name")

// Routes adds the routes that need no log-in to public and the others to private.
func (s *Service) Routes(public, private huma.API) {
	huma.Register(public, huma.Operation{
		OperationID: "login-elsewhere", Method: http.MethodGet, Path: "/api/v1/oauth/{provider}/login", DefaultStatus: http.StatusSeeOther,
		Summary: "Log in with a provider", Tags: []string{"oauth"}, Errors: []int{http.StatusNotFound, http.StatusBadGateway},
		Description: "Sends the browser to an OpenID provider. The provider sends it back to the callback, and only this browser: it gets a cookie.",
	}, s.startLogin)
	s.callbackRoutes(public)
	huma.Register(public, huma.Operation{
		OperationID: "exchange-login-code", Method: http.MethodPost, Path: "/api/v1/oauth/exchange",
		Summary: "Exchange the code of a log-in for tokens", Tags: []string{"oauth"}, Errors: []int{http.StatusBadRequest, http.StatusForbidden},
		Description: "A log-in with return_to ends at that page, with a code in its query. The code is good once, for a minute, and in the " +
			"browser that logged in: send the request with its cookies.",
	}, func(ctx context.Context, in *codeExchange) (*granted, error) {
		tokens, err := s.exchangeCode(ctx, in.Body.Code, s.readBrowser(in.sent))
		return &granted{"no-store", tokens}, s.problem(ctx, "", err)
	})
	s.identityRoutes(private)
	huma.Register(private, api.NotKept(huma.Operation{
		OperationID: "connect-gmail", Method: http.MethodPost, Path: "/api/v1/connections/gmail",
		Summary: "Begin to connect a Gmail mailbox", Tags: []string{"connections"}, Errors: []int{http.StatusNotFound},
		Description: "Answers with Google's page that asks for leave to read mail, and for nothing else. Send this browser there: it got a cookie.",
	}), func(ctx context.Context, in *connectStart) (*begun, error) {
		if s.config.Gmail == nil {
			return nil, huma.Error404NotFound("this service is not configured to read Gmail; ask its operator, or connect the mailbox by IMAP")
		}
		f := flow{provider: gmail, purpose: purposeConnect, userID: s.config.Caller(ctx), returnTo: in.returnTo()}
		return s.start(ctx, f, in.sent, func(state string, secrets secrets) string { return s.consentURL(state, secrets) })
	})
}

func (s *Service) callbackRoutes(public huma.API) {
	errors := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusBadGateway}
	schemas := public.OpenAPI().Components.Schemas
	tokens, identity := schemas.Schema(reflect.TypeFor[account.Tokens](), true, ""), schemas.Schema(reflect.TypeFor[Identity](), true, "")
	huma.Register(public, huma.Operation{
		OperationID: "finish-login-elsewhere", Method: http.MethodGet, Path: "/api/v1/oauth/{provider}/callback",
		Summary: "Come back from a provider", Tags: []string{"oauth"}, Errors: errors,
		Description: "Where an OpenID provider sends the browser. Without return_to it answers a log-in with tokens and a linking with the identity.",
		Responses:   endings(&huma.Schema{OneOf: []*huma.Schema{tokens, identity}}),
	}, func(ctx context.Context, in *loginCallback) (*huma.StreamResponse, error) {
		if s.providers[in.Provider] == nil {
			return nil, s.problem(ctx, "", errNoProvider)
		}
		return s.callback(ctx, public, in.Provider, &in.Callback)
	})
	huma.Register(public, huma.Operation{
		OperationID: "finish-gmail", Method: http.MethodGet, Path: "/api/v1/oauth/gmail/callback",
		Summary: "Come back from Google's consent", Tags: []string{"oauth"}, Errors: errors,
		Description: "Where Google sends the browser. Without return_to it answers with the mailbox that is connected now.",
		Responses:   endings(schemas.Schema(reflect.TypeFor[Mailbox](), true, "")),
	}, func(ctx context.Context, in *Callback) (*huma.StreamResponse, error) {
		return s.callback(ctx, public, gmail, in)
	})
}

// endings are the two ways in which a callback succeeds.
func endings(document *huma.Schema) map[string]*huma.Response {
	return map[string]*huma.Response{
		"200": {Description: "Done", Content: map[string]*huma.MediaType{"application/json": {Schema: document}}},
		"303": {Description: "Done, or refused: the browser goes to return_to, with one of the parameters code, linked, connected and error"},
	}
}

// callback ends a flow with a document, or with a redirect and its cookie.
func (s *Service) callback(ctx context.Context, public huma.API, provider string, in *Callback) (*huma.StreamResponse, error) {
	browser := s.readBrowser(in.sent)
	end, err := s.arrive(ctx, answer{provider: provider, state: in.State, code: in.Code, err: in.Error, issuer: in.Iss, browser: browser})
	if err != nil {
		return nil, s.problem(ctx, provider, err)
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Cache-Control", "no-store")
		if end.goTo != "" {
			cookie := s.browserCookie(browser) // it has to live as long as the code
			ctx.SetHeader("Set-Cookie", cookie.String())
			ctx.SetHeader("Location", end.goTo)
			ctx.SetStatus(http.StatusSeeOther)
			return
		}
		ctx.SetHeader("Content-Type", "application/json")
		ctx.SetStatus(http.StatusOK)
		_ = public.Marshal(ctx.BodyWriter(), "application/json", end.body()) // an error here is a client that left
	}}, nil
}

func (s *Service) identityRoutes(private huma.API) {
	huma.Register(private, huma.Operation{
		OperationID: "list-identities", Method: http.MethodGet, Path: "/api/v1/me/identities",
		Summary: "List my accounts elsewhere", Tags: []string{"me"}, Description: "The accounts at OpenID providers that log in to this account.",
	}, func(ctx context.Context, in *api.Page) (*identityList, error) {
		items, next, err := s.List(ctx, s.config.Caller(ctx), *in)
		return &identityList{api.List[Identity]{Items: items, NextCursor: next}}, err
	})
	huma.Register(private, api.NotKept(huma.Operation{
		OperationID: "link-identity", Method: http.MethodPost, Path: "/api/v1/me/identities",
		Summary: "Begin to link an account elsewhere", Tags: []string{"me"}, Errors: []int{http.StatusNotFound, http.StatusBadGateway},
		Description: "Answers with the provider's page that logs in. Send this browser there: it got a cookie. When it comes back, the account there is linked.",
	}), func(ctx context.Context, in *linkStart) (*begun, error) {
		d, err := s.provider(ctx, in.Body.Provider)
		if err != nil {
			return nil, s.problem(ctx, in.Body.Provider, err)
		}
		f := flow{provider: in.Body.Provider, purpose: purposeLink, userID: s.config.Caller(ctx), returnTo: in.Body.ReturnTo}
		return s.start(ctx, f, in.sent, d.authorizeURL)
	})
	huma.Register(private, huma.Operation{
		OperationID: "unlink-identity", Method: http.MethodDelete, Path: "/api/v1/me/identities/{id}",
		Summary: "Unlink an account elsewhere", Tags: []string{"me"}, Errors: []int{http.StatusNotFound, http.StatusConflict},
		Description: "It logs in no more. Refused where it is the only way to log in.",
	}, func(ctx context.Context, in *identityID) (*struct{}, error) {
		return nil, s.problem(ctx, "", s.unlink(ctx, s.config.Caller(ctx), in.ID))
	})
}

func (s *Service) startLogin(ctx context.Context, in *loginStart) (*redirect, error) {
	d, err := s.provider(ctx, in.Provider)
	if err != nil {
		return nil, s.problem(ctx, in.Provider, err)
	}
	begun, err := s.start(ctx, flow{provider: in.Provider, purpose: purposeLogin, returnTo: in.ReturnTo}, in.sent, d.authorizeURL)
	if err != nil {
		return nil, err
	}
	return &redirect{begun.Body.URL, begun.SetCookie, begun.CacheControl}, nil
}

// provider is a provider that has said where it is.
func (s *Service) provider(ctx context.Context, name string) (*discovered, error) {
	p, known := s.providers[name]
	if !known {
		return nil, errNoProvider
	}
	return p.discover(ctx)
}

// start begins a flow of this browser.
func (s *Service) start(ctx context.Context, f flow, sent []*http.Cookie, url func(string, secrets) string) (*begun, error) {
	if err := s.checkReturn(f.returnTo); err != nil {
		return nil, s.problem(ctx, f.provider, err)
	}
	browser, err := s.browserToken(sent)
	if err != nil {
		return nil, err
	}
	if f.secrets.Verifier, err = s.token(); err != nil {
		return nil, err
	}
	if f.purpose != purposeConnect {
		if f.secrets.Nonce, err = s.token(); err != nil {
			return nil, err
		}
	}
	state, err := s.begin(ctx, f, browser, flowLifetime)
	if err != nil {
		return nil, err
	}
	answer := &begun{SetCookie: s.browserCookie(browser), CacheControl: "no-store"}
	answer.Body.URL = url(state, f.secrets)
	return answer, nil
}

// BindsBrowser says whether a route, called by a page of another origin, has to get and set the cookie that binds a flow to a browser.
func BindsBrowser(path string) bool {
	return path == "/api/v1/oauth/exchange" || path == "/api/v1/connections/gmail" || path == "/api/v1/me/identities"
}
