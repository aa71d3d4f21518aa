package signin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"github.com/smart-assistant/platform/service/signin"
)

// provider is an identity provider that does as it is told, and lies when it is told to. It is Google's consent and Gmail as well.
type provider struct {
	*httptest.Server
	mu    sync.Mutex
	codes map[string]url.Values // what the browser asked for

	key       *ecdsa.PrivateKey
	kid       string
	published []jwk
	person    jwt.MapClaims                     // whom it vouches for
	lie       func(claims jwt.MapClaims)        // changes the ID token's claims
	sign      func(claims jwt.MapClaims) string // default: ES256 with key
	answer    func(query url.Values)            // changes what the browser is sent back with
	tokens    func(answer map[string]any)       // changes the token endpoint's answer
	userinfo  map[string]any                    // the UserInfo endpoint's
	metadata  map[string]any                    // added to the configuration
	down      bool                              // answers 503 to all
	grants    int                               // codes that were exchanged
	asked     url.Values                        // the last authorization request
	sent      url.Values                        // the last token request
}

type jwk struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	KeyID     string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
}

func newProvider(t testing.TB) *provider {
	t.Helper()
	p := &provider{
		codes: map[string]url.Values{}, metadata: map[string]any{},
		person: jwt.MapClaims{"sub": "ada", "email": "ada@example.org", "email_verified": true, "name": "Ada"},
	}
	p.rotate(t, "one")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		says := map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/jwks",
			"userinfo_endpoint": p.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
			"authorization_response_iss_parameter_supported": true,
		}
		maps.Copy(says, p.metadata)
		write(w, http.StatusOK, says)
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, map[string]any{"keys": p.published})
	})
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, p.userinfo) })
	mux.HandleFunc("GET /gmail/v1/users/me/profile", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access-token-of-ada" {
			write(w, http.StatusUnauthorized, map[string]any{})
			return
		}
		write(w, http.StatusOK, map[string]any{"emailAddress": "ada@gmail.com", "historyId": "1"})
	})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.down {
			write(w, http.StatusServiceUnavailable, map[string]any{})
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// configure makes the service know the provider, as idp and as Google's consent.
func (p *provider) configure(c *signin.Config) {
	c.Providers = append(c.Providers, signin.Provider{Name: "idp", Issuer: p.URL, ClientID: "assistd", ClientSecret: "client-secret-of-idp"})
	c.Gmail = &oauth2.Config{ClientID: "assistd", ClientSecret: "client-secret-of-idp", Endpoint: oauth2.Endpoint{
		AuthURL: p.URL + "/authorize", TokenURL: p.URL + "/token", AuthStyle: oauth2.AuthStyleInParams,
	}}
	c.GmailURL = p.URL
}

// now changes the provider between requests.
func (p *provider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// rotate makes a new key, which alone is published.
func (p *provider) rotate(t testing.TB, kid string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p.key, p.kid, p.published = key, kid, []jwk{publish(t, key, kid)}
}

func publish(t testing.TB, key *ecdsa.PrivateKey, kid string) jwk {
	t.Helper()
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return jwk{"EC", "P-256", encode(point[1:33]), encode(point[33:]), kid, "sig", "ES256"}
}

// authorize logs the person in without asking.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	p.asked = r.URL.Query()
	code := rand.Text()
	p.codes[code] = p.asked
	query := url.Values{"code": {code}, "state": {p.asked.Get("state")}}
	if p.asked.Get("access_type") == "" { // Google's consent does not tell its name
		query.Set("iss", p.URL)
	}
	if p.answer != nil {
		p.answer(query)
	}
	http.Redirect(w, r, p.asked.Get("redirect_uri")+"?"+query.Encode(), http.StatusSeeOther)
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.sent = r.PostForm
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	asked, known := p.codes[r.PostForm.Get("code")]
	delete(p.codes, r.PostForm.Get("code"))
	challenge := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case id != "assistd" || secret != "client-secret-of-idp":
		write(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	case !known, asked.Get("code_challenge_method") != "S256", asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]):
		write(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "code " + r.PostForm.Get("code")})
		return
	}
	p.grants++
	answer := map[string]any{"access_token": "access-token-of-ada", "token_type": "Bearer", "expires_in": 3600, "scope": asked.Get("scope")}
	if asked.Get("access_type") == "offline" {
		answer["refresh_token"] = "refresh-token-of-ada"
	} else {
		answer["id_token"] = p.idToken(asked.Get("nonce"))
	}
	if p.tokens != nil {
		p.tokens(answer)
	}
	write(w, http.StatusOK, answer)
}

func (p *provider) idToken(nonce string) string {
	claims := jwt.MapClaims{
		"iss": p.URL, "aud": "assistd", "nonce": nonce, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(claims, p.person)
	if p.lie != nil {
		p.lie(claims)
	}
	if p.sign != nil {
		return p.sign(claims)
	}
	return sign(jwt.SigningMethodES256, p.key, p.kid, claims)
}

func sign(method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = kid
	text, err := token.SignedString(key)
	if err != nil {
		panic(err)
	}
	return text
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
