package server_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/account"
)

// testTokenTheft: whoever comes second with a used refresh token ends the session for both.
func testTokenTheft(t *testing.T, w *world) {
	r, other := w.start(t), w.start(t) // replicas share nothing but the database
	stolen := r.user(t, "a@example.org")
	bystander := r.login(t, "a@example.org")
	var next account.Tokens
	r.want(t, 200, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": stolen.RefreshToken}).decode(t, &next)
	w.pass(11 * time.Second) // the grace is over
	other.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": stolen.RefreshToken})
	r.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": next.RefreshToken})
	r.want(t, 200, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": bystander.RefreshToken})
	var reason string
	if err := connect(t, w.url).QueryRow(t.Context(), `SELECT revoke_reason FROM sessions WHERE revoked_at IS NOT NULL`).Scan(&reason); err != nil || reason != "reuse" {
		t.Errorf("revoked for %q (%v)", reason, err)
	}
	if !strings.Contains(w.log.String(), "session revoked") {
		t.Error("the log does not say so")
	}
}

// testTheftWithinTheGrace: a thief who is as fast as the client gets no tokens of their own. Whoever of the two comes second with any token
// ends the session: at once where the next token was used already, else once the grace is over.
func testTheftWithinTheGrace(t *testing.T, w *world) {
	r := w.start(t)
	refresh := func(status int, token string) (next account.Tokens) {
		t.Helper()
		a := r.want(t, status, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": token})
		if status == 200 {
			a.decode(t, &next)
		}
		return next
	}
	first := r.user(t, "a@example.org").RefreshToken
	client := refresh(200, first).RefreshToken
	if thief := refresh(200, first).RefreshToken; thief != client {
		t.Error("the thief has a line of tokens of their own")
	}
	next := refresh(200, client).RefreshToken
	refresh(401, first) // within the grace, but nothing was lost
	refresh(401, next)

	first = r.login(t, "a@example.org").RefreshToken
	client = refresh(200, first).RefreshToken
	thief := refresh(200, refresh(200, first).RefreshToken).RefreshToken // and uses it before the client does
	w.pass(11 * time.Second)
	refresh(401, client)
	refresh(401, thief)
	if n := strings.Count(w.log.String(), "session revoked"); n != 2 {
		t.Errorf("%d sessions were revoked", n)
	}
}

// testRefreshTwiceAtOnce: parallel refreshes of one client survive, in every order.
func testRefreshTwiceAtOnce(t *testing.T, w *world) {
	r := w.start(t)
	tokens := r.user(t, "a@example.org")
	answers := make([]account.Tokens, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			a, err := try(t.Context(), "POST", r.url+"/api/v1/auth/refresh", "", object{"refresh_token": tokens.RefreshToken})
			if err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("%v %s", err, a.text)
				return
			}
			a.decode(t, &answers[i])
		})
	}
	all.Wait()
	for _, a := range answers {
		r.want(t, 200, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": a.RefreshToken})
		r.want(t, 200, "GET", "/api/v1/me", a.AccessToken, nil)
	}
}

func testSessionEnds(t *testing.T, w *world) {
	r := w.start(t)
	tokens := r.user(t, "a@example.org")
	r.want(t, 204, "POST", "/api/v1/auth/logout", "", object{"refresh_token": tokens.RefreshToken})
	r.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": tokens.RefreshToken})
	r.want(t, 204, "POST", "/api/v1/auth/logout", "", object{"refresh_token": "never seen"})

	tokens = r.login(t, "a@example.org")
	for range 29 { // used every day, and still it ends
		w.pass(24 * time.Hour)
		r.want(t, 200, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": tokens.RefreshToken}).decode(t, &tokens)
	}
	w.pass(25 * time.Hour)
	r.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": tokens.RefreshToken})

	tokens = r.login(t, "a@example.org")
	w.pass(5*time.Minute + 6*time.Second)
	a := r.want(t, 401, "GET", "/api/v1/me", tokens.AccessToken, nil)
	if a.Header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
		t.Errorf("WWW-Authenticate: %s", a.Header.Get("WWW-Authenticate"))
	}
}

// testSweep: ended sessions go, some hundreds at a time; those that live, and those that ended today, stay.
func testSweep(t *testing.T, w *world) {
	live := w.start(t).user(t, "a@example.org")
	exec(t, connect(t, w.url), `INSERT INTO sessions (user_id, created_at, expires_at)
		SELECT id, now(), now() - CASE WHEN n <= 600 THEN interval '2 days' ELSE interval '1 hour' END FROM users, generate_series(1, 601) n`)
	pool, err := pgxpool.New(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	accounts, err := account.New(account.Config{Pool: pool, Keys: w.keys, Now: w.now, Rand: rand.Reader, BcryptCost: 4})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{500, 100, 0} {
		if n, err := accounts.Sweep(t.Context()); err != nil || n != want {
			t.Errorf("swept %d (%v), want %d", n, err, want)
		}
	}
	w.start(t).want(t, 200, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": live.RefreshToken})
}

// testAccessTokenAttacks changes one thing at a time in a token that is otherwise right.
func testAccessTokenAttacks(t *testing.T, w *world) {
	r := w.start(t)
	good := r.user(t, "a@example.org").AccessToken
	var claims jwt.MapClaims
	token, _, err := jwt.NewParser().ParseUnverified(good, &claims)
	if err != nil {
		t.Fatal(err)
	}
	kid := token.Header["kid"]
	forge := func(method jwt.SigningMethod, key any, header, change map[string]any) string {
		forged := jwt.NewWithClaims(method, maps.Clone(claims))
		forged.Header["kid"], forged.Header["typ"] = kid, "at+jwt"
		for name, value := range header {
			forged.Header[name] = value
			if value == nil {
				delete(forged.Header, name)
			}
		}
		for name, value := range change {
			forged.Claims.(jwt.MapClaims)[name] = value
			if value == nil {
				delete(forged.Claims.(jwt.MapClaims), name)
			}
		}
		text, err := forged.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ours := func(header, change map[string]any) string {
		return forge(jwt.SigningMethodES256, w.key, header, change)
	}
	if r.call(t, "GET", "/api/v1/me", ours(nil, nil), nil).StatusCode != http.StatusOK {
		t.Fatal("a token that is right in everything is refused: the test tests nothing")
	}
	der, err := x509.MarshalPKIXPublicKey(&w.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	parts := strings.Split(good, ".")
	now := time.Now().Unix()
	for name, attack := range map[string]string{
		"none":                 forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, nil),
		"signature cut off":    parts[0] + "." + parts[1] + ".",
		"public key as secret": forge(jwt.SigningMethodHS256, public, nil, nil),
		"another key":          forge(jwt.SigningMethodES256, newKey(t), nil, nil),
		"own jku":              forge(jwt.SigningMethodES256, newKey(t), object{"jku": "http://127.0.0.1:1/jwks.json"}, nil),
		"own x5u":              forge(jwt.SigningMethodES256, newKey(t), object{"x5u": "http://127.0.0.1:1/chain.pem"}, nil),
		"critical header":      ours(object{"crit": []string{"b64"}, "b64": false}, nil),
		"no session":           ours(nil, object{"sid": nil}),
		"own jwk":              forge(jwt.SigningMethodES256, newKey(t), object{"jwk": object{"kty": "EC"}}, nil),
		"unknown kid":          ours(object{"kid": "../../etc/passwd"}, nil),
		"kid of another type":  ours(object{"kid": 1}, nil),
		"no kid":               ours(object{"kid": nil}, nil),
		"another type":         ours(object{"typ": "JWT"}, nil),
		"another issuer":       ours(nil, object{"iss": "https://evil.example"}),
		"no issuer":            ours(nil, object{"iss": nil}),
		"another audience":     ours(nil, object{"aud": "other"}),
		"no audience":          ours(nil, object{"aud": nil}),
		"expired":              ours(nil, object{"exp": now - 6}),
		"no expiry":            ours(nil, object{"exp": nil}),
		"issued tomorrow":      ours(nil, object{"iat": now + 86400}),
		"not before tomorrow":  ours(nil, object{"nbf": now + 86400}),
		"no subject":           ours(nil, object{"sub": nil}),
		"another subject":      parts[0] + "." + strings.TrimRight(base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"x"}`)), "=") + "." + parts[2],
		"nothing":              "..",
		"long":                 strings.Repeat("a", 20_000),
	} {
		if a := r.call(t, "GET", "/api/v1/me", attack, nil); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s %s", name, a.Status, a.text)
		}
	}
}

// testKeyRotation: a new key in front of the old one logs nobody out, and both are published.
func testKeyRotation(t *testing.T, w *world) {
	before := w.start(t).user(t, "a@example.org")
	oldKey := w.key
	w.key = newKey(t)
	w.keys = parseKeys(t, w.key, oldKey)
	r := w.start(t)
	r.want(t, 200, "GET", "/api/v1/me", before.AccessToken, nil)
	after := r.login(t, "a@example.org")
	if kid(t, before.AccessToken) == kid(t, after.AccessToken) {
		t.Error("the new key is not used")
	}
	var set struct {
		Keys []account.JWK `json:"keys"`
	}
	r.want(t, 200, "GET", "/.well-known/jwks.json", "", nil).decode(t, &set)
	if len(set.Keys) != 2 || set.Keys[0].KeyID != kid(t, after.AccessToken) || set.Keys[1].KeyID != kid(t, before.AccessToken) {
		t.Errorf("published: %+v", set.Keys)
	}
	for i, key := range []*ecdsa.PrivateKey{w.key, oldKey} {
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if want := base64.RawURLEncoding.EncodeToString(point[1:33]); set.Keys[i].X != want {
			t.Errorf("key %d: x is %s, want %s", i, set.Keys[i].X, want)
		}
	}
	w.keys = parseKeys(t, w.key)
	w.start(t).want(t, 401, "GET", "/api/v1/me", before.AccessToken, nil)
}

func kid(t *testing.T, token string) string {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(parsed.Header["kid"])
}
