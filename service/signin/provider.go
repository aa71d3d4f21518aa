package signin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/smart-assistant/platform/service/telemetry"
)

// provider is a client of one OpenID provider.
type provider struct {
	Provider
	callback string
	http     *http.Client
	now      telemetry.Clock

	mu    sync.Mutex // held while the provider is asked for its configuration, so that it is asked once
	known *discovered
}

// discovered is what a provider says of itself (OpenID Connect Discovery 1.0).
type discovered struct {
	*oidc.Provider
	oauth        oauth2.Config
	verifier     *oidc.IDTokenVerifier
	tellsItsName bool // in the answer: RFC 9207
}

func newProvider(p Provider, callback string, client *http.Client, now telemetry.Clock) *provider {
	return &provider{Provider: p, callback: callback, http: client, now: now}
}

// unreachableError is a provider that does not answer, or not as one.
type unreachableError struct{ err error }

func (e *unreachableError) Error() string { return e.err.Error() }
func (e *unreachableError) Unwrap() error { return e.err }

// discover asks the provider for its configuration when it is first needed, again after a failure, and then no more while this process
// lives.
func (p *provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return p.known, nil
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.http), p.Issuer)
	if err != nil {
		return nil, &unreachableError{fmt.Errorf("discover %s: %w", p.Issuer, err)}
	}
	var says struct {
		Keys         string   `json:"jwks_uri"`
		Methods      []string `json:"token_endpoint_auth_methods_supported"`
		TellsItsName bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&says); err != nil {
		return nil, &unreachableError{fmt.Errorf("read the configuration of %s: %w", p.Issuer, err)}
	}
	endpoint := found.Endpoint()
	endpoint.AuthStyle = authStyle(p.ClientSecret, says.Methods)
	p.known = &discovered{
		Provider: found,
		oauth: oauth2.Config{
			ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: endpoint, RedirectURL: p.callback,
			Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
		},
		verifier: oidc.NewVerifier(p.Issuer, newKeySet(says.Keys, p.http, p.now), &oidc.Config{
			ClientID: p.ClientID, SupportedSigningAlgs: algorithms, Now: p.now,
		}),
		tellsItsName: says.TellsItsName,
	}
	return p.known, nil
}

// authStyle is how the client's secret is sent: in the header, which is the default of Discovery, unless the provider knows only the
// other way. It is settled beforehand because trying both would send a code twice.
func authStyle(secret string, methods []string) oauth2.AuthStyle {
	if secret == "" || len(methods) > 0 && !slices.Contains(methods, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// algorithms are those with a public key, whichever of them the provider uses today. With the others whoever knows the client's secret
// could sign or, with none, anybody.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// authorizeURL is where the browser goes to log in.
func (d *discovered) authorizeURL(state string, secrets secrets) string {
	return d.oauth.AuthCodeURL(state, oidc.Nonce(secrets.Nonce), oauth2.S256ChallengeOption(secrets.Verifier))
}

// person is whom a provider vouches for.
type person struct {
	issuer, subject string
	email           string
	verified        bool // the address, says the provider
	name            string
}

// errUntrusted is an answer of a provider that does not prove who logs in.
var errUntrusted = refuse(http.StatusUnauthorized, "login_failed", "the provider's answer does not prove who you are; nothing was changed. Begin again")

// redeem exchanges a code and checks the ID token that it brings (OpenID Connect Core 1.0, section 3.1.3.7).
func (p *provider) redeem(ctx context.Context, code string, secrets secrets) (person, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return person{}, err
	}
	token, err := exchange(ctx, p.http, &d.oauth, code, secrets.Verifier)
	if err != nil {
		return person{}, err
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return person{}, errUntrusted.because(err)
	}
	var claims claims
	if err := id.Claims(&claims); err != nil {
		return person{}, errUntrusted.because(err)
	}
	if err := p.check(id, claims, secrets.Nonce, token.AccessToken); err != nil {
		return person{}, errUntrusted.because(err)
	}
	if claims.Email == "" && d.UserInfoEndpoint() != "" {
		if err := d.complete(ctx, p.http, &claims, id.Subject, token); err != nil {
			return person{}, err
		}
	}
	return person{
		issuer: p.Issuer, subject: id.Subject, email: claims.Email, verified: bool(claims.EmailVerified), name: displayName(claims.Name),
	}, nil
}

// check is what the verifier leaves to its caller.
func (p *provider) check(id *oidc.IDToken, claims claims, nonce, accessToken string) error {
	switch {
	case nonce == "" || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1:
		return errors.New("the ID token has another nonce")
	case claims.AuthorizedParty != "" && claims.AuthorizedParty != p.ClientID, claims.AuthorizedParty == "" && len(id.Audience) > 1:
		return errors.New("the ID token was made for another client")
	case id.Subject == "" || len(id.Subject) > 255 || strings.ContainsRune(id.Subject, 0):
		return errors.New("the ID token has no subject of 1 to 255 characters")
	case id.AccessTokenHash != "":
		return id.VerifyAccessToken(accessToken)
	}
	return nil
}

// claims are those of an ID token, and of the answer of the UserInfo endpoint, that are used.
type claims struct {
	Subject         string `json:"sub"`
	AuthorizedParty string `json:"azp"`
	Email           string `json:"email"`
	EmailVerified   yes    `json:"email_verified"`
	Name            string `json:"name"`
}

// yes is true only where true is said. Some providers say "true".
type yes bool

func (y *yes) UnmarshalJSON(text []byte) error {
	*y = string(text) == "true" || string(text) == `"true"`
	return nil
}

// complete asks the UserInfo endpoint for what the ID token does not say. Its answer counts only for the same subject: OpenID Connect
// Core 1.0, section 5.3.2.
func (d *discovered) complete(ctx context.Context, client *http.Client, claims *claims, subject string, token *oauth2.Token) error {
	info, err := d.UserInfo(oidc.ClientContext(ctx, client), oauth2.StaticTokenSource(token))
	if err != nil {
		return &unreachableError{fmt.Errorf("ask for the user's e-mail address: %w", err)}
	}
	if info.Subject != subject {
		return errUntrusted.because(errors.New("the UserInfo endpoint speaks of another subject"))
	}
	if err := info.Claims(claims); err != nil {
		return errUntrusted.because(err)
	}
	return nil
}

// displayName cuts a name to what a profile takes.
func displayName(name string) string {
	name = strings.ReplaceAll(strings.ToValidUTF8(name, ""), "\x00", "")
	if utf8.RuneCountInString(name) > 200 {
		name = string([]rune(name)[:200])
	}
	return name
}

// exchange turns a code into tokens (RFC 6749, section 4.1.3). What the provider says about a code that it refuses is kept out of
// errors, but for the error's code: it may repeat what it was sent.
func exchange(ctx context.Context, client *http.Client, config *oauth2.Config, code, verifier string) (*oauth2.Token, error) {
	token, err := config.Exchange(context.WithValue(ctx, oauth2.HTTPClient, client), code, oauth2.VerifierOption(verifier))
	answered, refused := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case err == nil:
		return token, nil
	case !refused:
		return nil, &unreachableError{fmt.Errorf("exchange a code: %w", err)}
	case answered.ErrorCode == "invalid_grant":
		return nil, refuse(http.StatusBadRequest, "invalid_grant", "the provider does not know this code, or it was used before: begin again")
	default:
		return nil, &unreachableError{fmt.Errorf("exchange a code: %s with error %q", answered.Response.Status, errorCode(answered.ErrorCode))}
	}
}

// errorCode is an error code as RFC 6749, section 4.1.2.1, has them; anything else is not repeated.
func errorCode(text string) string {
	if text == "" || len(text) > 64 || strings.Trim(text, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "unknown"
	}
	return text
}
