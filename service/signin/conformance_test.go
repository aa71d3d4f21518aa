package signin_test

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/signin"
	"github.com/smart-assistant/platform/test/database"
	"github.com/smart-assistant/platform/test/npm"
)

// identityProvider is npm's oidc-provider, run by testdata/identity-provider/provider.mjs.
type identityProvider struct {
	settings identitySettings
	folder   string
	issuer   string
	stop     func()
}

type identitySettings struct {
	Port     int               `json:"port"`
	Issuer   string            `json:"issuer,omitempty"` // that it claims to be; default: the truth
	Secret   string            `json:"secret"`
	Redirect string            `json:"redirect"`
	Alg      string            `json:"alg"`
	Keys     []jose.JSONWebKey `json:"keys"`
	Conform  bool              `json:"conform"`
	Person   object            `json:"person"`
}

// TestIdentityProvider logs in through another's implementation of OpenID Connect, and tampers with what goes by on the way.
func TestIdentityProvider(t *testing.T) {
	folder := npm.Install(t, "testdata/identity-provider")
	server := database.Start(t)
	for name, test := range map[string]func(*testing.T, *world, *identityProvider){
		"LogsIn":     providerLogsIn,
		"State":      providerState,
		"NonceAndID": providerNonce,
		"Code":       providerCode,
		"PKCE":       providerPKCE,
		"Keys":       providerKeys,
		"Expiry":     providerExpiry,
		"Issuer":     providerIssuer,
	} {
		t.Run(name, func(t *testing.T) {
			p := &identityProvider{folder: folder, settings: identitySettings{
				Secret: strings.Repeat("s", 32), Alg: "ES256", Keys: []jose.JSONWebKey{newJWK(t, "ES256", "one")},
				Person: object{"sub": "ada", "email": "ada@example.org", "email_verified": true, "name": "Ada"},
			}}
			test(t, newWorld(t, server, func(c *signin.Config) { p.configure(t, c) }), p)
		})
	}
}

// configure starts the provider and makes the service know it.
func (p *identityProvider) configure(t *testing.T, c *signin.Config) {
	t.Helper()
	p.settings.Redirect = c.PublicURL + "/api/v1/oauth/idp/callback"
	p.start(t)
	c.Providers = append(c.Providers, signin.Provider{Name: "idp", Issuer: p.issuer, ClientID: "assistd", ClientSecret: p.settings.Secret})
}

func (p *identityProvider) start(t *testing.T) {
	t.Helper()
	settings, err := json.Marshal(p.settings)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "node", "provider.mjs", string(settings)) //nolint:gosec // the test's own
	command.Dir = p.folder
	var said strings.Builder
	command.Stderr = &said
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("run the identity provider (node is in Debian's package nodejs): %v", err)
	}
	p.stop = func() { _ = input.Close(); _ = command.Wait() } // its end is what was asked for
	t.Cleanup(func() { p.stop() })
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		p.stop()
		t.Fatalf("the identity provider does not start: %v\n%s", err, &said)
	}
	p.issuer = "http://127.0.0.1:" + strings.TrimSpace(line)
}

// restart gives the provider other settings behind the same URL.
func (p *identityProvider) restart(t *testing.T, change func(*identitySettings)) {
	t.Helper()
	p.stop()
	if _, err := fmt.Sscanf(p.issuer, "http://127.0.0.1:%d", &p.settings.Port); err != nil {
		t.Fatal(err)
	}
	change(&p.settings)
	p.start(t)
}

func newJWK(t *testing.T, algorithm, kid string) jose.JSONWebKey {
	t.Helper()
	var key crypto.PrivateKey
	var err error
	if algorithm == "RS256" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: algorithm, Use: "sig"}
}

// refused goes to the callback and wants it refused, with nothing created.
func (b *browser) refused(t *testing.T, status int, callback string) {
	t.Helper()
	before := b.w.count(t)
	b.want(t, status, "GET", callback, "", nil)
	if after := b.w.count(t); after != before {
		t.Errorf("it left %+v, before there was %+v", after, before)
	}
}

// authorization is where the service sends the browser to.
func (b *browser) authorization(t *testing.T) string {
	t.Helper()
	return b.want(t, 303, "GET", "/api/v1/oauth/idp/login", "", nil).Header.Get("Location")
}

func providerLogsIn(t *testing.T, w *world, p *identityProvider) {
	tokens := w.browser(t).login(t, "idp")
	w.browser(t).login(t, "idp")
	p.restart(t, func(s *identitySettings) { // RSA, and the address at the UserInfo endpoint
		s.Alg, s.Keys, s.Conform = "RS256", []jose.JSONWebKey{newJWK(t, "RS256", "two")}, true
		s.Person = object{"sub": "bob", "email": "bob@example.org", "email_verified": true, "name": "Bob"}
	})
	w.pass(20 * time.Second) // the keys are read again
	for name, token := range map[string]string{"Ada": tokens.AccessToken, "Bob": w.browser(t).login(t, "idp").AccessToken} {
		var profile account.Profile
		w.browser(t).want(t, 200, "GET", "/api/v1/me", token, nil).decode(t, &profile)
		if profile.Email != strings.ToLower(name)+"@example.org" || profile.DisplayName != name {
			t.Errorf("profile: %+v", profile)
		}
	}
	if c := w.count(t); c != (count{2, 3, 2}) {
		t.Errorf("%+v", c)
	}
}

func providerState(t *testing.T, w *world, _ *identityProvider) {
	b := w.browser(t)
	b.refused(t, 400, set(t, b.toCallback(t, "idp"), "state", strings.Repeat("A", 43)))
	w.browser(t).refused(t, 400, b.toCallback(t, "idp"))
	other := w.browser(t)
	other.authorization(t)
	other.refused(t, 400, b.toCallback(t, "idp"))
	callback := b.toCallback(t, "idp")
	b.want(t, 200, "GET", callback, "", nil)
	b.refused(t, 400, callback)
}

func providerNonce(t *testing.T, w *world, _ *identityProvider) {
	b := w.browser(t)
	b.refused(t, 401, b.walk(t, set(t, b.authorization(t), "nonce", "another")))
	b.refused(t, 401, b.walk(t, set(t, b.authorization(t), "nonce", "")))
	callback := b.toCallback(t, "idp")
	w.resealNonce(t, parameter(t, callback, "state"))
	b.refused(t, 401, callback)
}

func providerCode(t *testing.T, w *world, _ *identityProvider) {
	b := w.browser(t)
	callback := b.toCallback(t, "idp")
	b.refused(t, 400, set(t, callback, "code", parameter(t, callback, "code")+"x"))
	used := b.toCallback(t, "idp")
	b.want(t, 200, "GET", used, "", nil)
	b.refused(t, 400, set(t, b.toCallback(t, "idp"), "code", parameter(t, used, "code")))
	theirs := w.browser(t).toCallback(t, "idp")
	b.refused(t, 400, set(t, b.toCallback(t, "idp"), "code", parameter(t, theirs, "code")))
	b.refused(t, 400, b.walk(t, set(t, b.authorization(t), "client_id", "another"))) // a code for another audience
}

func providerPKCE(t *testing.T, w *world, _ *identityProvider) {
	b := w.browser(t)
	if parameter(t, b.authorization(t), "code_challenge_method") != "S256" {
		t.Error("no S256")
	}
	without := set(t, set(t, b.authorization(t), "code_challenge", ""), "code_challenge_method", "")
	b.refused(t, 400, b.walk(t, without))
	b.refused(t, 400, b.walk(t, set(t, b.authorization(t), "code_challenge_method", "plain")))
	b.refused(t, 400, b.walk(t, set(t, b.authorization(t), "code_challenge", strings.Repeat("A", 43))))
}

// providerKeys: a key under a known id is not replaced, a key under a new one is.
func providerKeys(t *testing.T, w *world, p *identityProvider) {
	w.browser(t).login(t, "idp")
	w.pass(20 * time.Second)
	p.restart(t, func(s *identitySettings) { s.Keys = []jose.JSONWebKey{newJWK(t, "ES256", "one")} })
	b := w.browser(t)
	b.refused(t, 401, b.toCallback(t, "idp"))
	p.restart(t, func(s *identitySettings) { s.Keys = []jose.JSONWebKey{newJWK(t, "ES256", "two")} })
	w.browser(t).login(t, "idp")
	if c := w.count(t); c != (count{1, 2, 1}) {
		t.Errorf("%+v", c)
	}
}

func providerExpiry(t *testing.T, w *world, _ *identityProvider) {
	b := w.browser(t)
	w.browser(t).login(t, "idp")
	callback := b.toCallback(t, "idp")
	w.pass(2 * time.Minute) // the ID token is good for one
	b.refused(t, 401, callback)
}

func providerIssuer(t *testing.T, w *world, p *identityProvider) {
	p.restart(t, func(s *identitySettings) { s.Issuer = "http://127.0.0.1:9" })
	b := w.browser(t)
	b.refused(t, 502, "/api/v1/oauth/idp/login")
	p.restart(t, func(s *identitySettings) { s.Issuer = "" })
	b.refused(t, 400, set(t, b.toCallback(t, "idp"), "iss", "https://accounts.google.com"))
	b.refused(t, 400, set(t, b.toCallback(t, "idp"), "iss", ""))
	callback := b.toCallback(t, "idp")
	p.restart(t, func(s *identitySettings) { s.Issuer = "http://127.0.0.1:9" })
	b.refused(t, 400, callback) // it does not know the code any more
	p.restart(t, func(s *identitySettings) { s.Issuer = "" })
	b.login(t, "idp")
}
