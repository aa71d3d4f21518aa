package signin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/smart-assistant/platform/service/account"
)

func testLogsIn(t *testing.T, w *world, p *provider) {
	b := w.browser(t)
	start := b.want(t, 303, "GET", "/api/v1/oauth/idp/login", "", nil)
	query := map[string]string{
		"response_type": "code", "client_id": "assistd", "scope": "openid email profile", "code_challenge_method": "S256",
		"redirect_uri": w.url + "/api/v1/oauth/idp/callback",
	}
	for name, want := range query {
		if got := parameter(t, start.Header.Get("Location"), name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(parameter(t, start.Header.Get("Location"), name)) != 43 {
			t.Errorf("%s has no 256 bits", name)
		}
	}
	cookie := start.Header.Get("Set-Cookie")
	for _, part := range []string{"oauth_browser=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=660"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("the cookie has no %s", part)
		}
	}
	done := b.want(t, 200, "GET", b.walk(t, start.Header.Get("Location")), "", nil)
	if done.Header.Get("Cache-Control") != "no-store" {
		t.Error("tokens may be stored")
	}
	var tokens account.Tokens
	done.decode(t, &tokens)
	var profile account.Profile
	b.want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil).decode(t, &profile)
	if profile.Email != "ada@example.org" || profile.DisplayName != "Ada" {
		t.Errorf("profile: %+v", profile)
	}
	var verified bool
	if err := w.pool.QueryRow(t.Context(), `SELECT verified_at IS NOT NULL FROM users`).Scan(&verified); err != nil || !verified {
		t.Errorf("verified: %v %v", verified, err)
	}
	p.set(func() { p.person["email"] = "countess@example.org" }) // a new address is no new person
	w.browser(t).login(t, "idp")
	if c := w.count(t); c != (count{1, 2, 1}) {
		t.Errorf("%+v", c)
	}
	p.set(func() { p.person = jwt.MapClaims{"sub": "bob", "email": "bob@example.org", "email_verified": "false"} })
	other := w.browser(t)
	if r := other.want(t, 403, "GET", other.toCallback(t, "idp"), "", nil); !strings.Contains(r.text, "prove it there") {
		t.Errorf("an address that the provider does not vouch for: %s", r.text)
	}
	if c := w.count(t); c != (count{1, 2, 1}) {
		t.Errorf("it left %+v", c)
	}
	b.want(t, 404, "GET", "/api/v1/oauth/nobody/login", "", nil)
	b.want(t, 404, "GET", "/api/v1/oauth/nobody/callback?state=x&code=y", "", nil)
}

// testFlowIsBoundAndGoodOnce: the state is of one browser, of one provider, good once and not for long.
func testFlowIsBoundAndGoodOnce(t *testing.T, w *world, p *provider) {
	refuse := func(name string, b *browser, callback string) {
		t.Helper()
		if r := b.call(t, "GET", callback, "", nil); r.StatusCode != http.StatusBadRequest || !strings.Contains(r.text, "begin again") {
			t.Errorf("%s: %s %s", name, r.Status, r.text)
		}
	}
	b := w.browser(t)
	callback := b.toCallback(t, "idp")
	refuse("unknown state", b, set(t, callback, "state", strings.Repeat("x", 43)))
	refuse("no state", b, set(t, callback, "state", ""))
	refuse("short state", b, set(t, callback, "state", "x"))
	refuse("no cookie", w.browser(t), callback)
	refuse("after another browser came with it", b, callback)
	other := w.browser(t)
	other.toCallback(t, "idp") // has a cookie of its own
	refuse("the cookie of another browser", other, b.toCallback(t, "idp"))
	late := b.toCallback(t, "idp")
	w.pass(10 * time.Minute)
	refuse("too late", b, late)
	refuse("another provider's callback", b, strings.Replace(b.toCallback(t, "idp"), "/idp/", "/gmail/", 1))
	if c := w.count(t); c != (count{}) || p.grants != 0 {
		t.Errorf("%+v, %d codes were exchanged", c, p.grants)
	}
	callback = b.toCallback(t, "idp")
	b.want(t, 200, "GET", callback, "", nil)
	refuse("replayed", b, callback)
	if c := w.count(t); c != (count{1, 1, 1}) || p.grants != 1 {
		t.Errorf("after a replay: %+v, %d codes were exchanged", c, p.grants)
	}
	first, second := b.toCallback(t, "idp"), b.toCallback(t, "idp") // two tabs
	b.want(t, 200, "GET", first, "", nil)
	b.want(t, 200, "GET", second, "", nil)
	r := b.want(t, 422, "GET", b.toCallback(t, "idp")+"&state=twice", "", nil)
	if strings.Contains(r.text, "twice\",\"location\":\"query.state\",\"value") {
		t.Errorf("the answer repeats what was sent: %s", r.text)
	}
}

func testTamperedTokensAreRefused(t *testing.T, w *world, p *provider) {
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(name string, value any) func() {
		return func() { p.lie = func(c jwt.MapClaims) { c[name] = value } }
	}
	w.browser(t).login(t, "idp") // the provider's keys are known
	before := w.count(t)
	for name, tamper := range map[string]func(){
		"another nonce":      claim("nonce", "another"),
		"no nonce":           claim("nonce", nil),
		"another audience":   claim("aud", "somebody"),
		"no audience":        claim("aud", nil),
		"several, no azp":    claim("aud", []string{"assistd", "somebody"}),
		"another azp":        claim("azp", "somebody"),
		"another issuer":     claim("iss", "https://accounts.google.com"),
		"expired":            claim("exp", time.Now().Add(-time.Second).Unix()),
		"no expiry":          claim("exp", nil),
		"not yet":            claim("nbf", time.Now().Add(time.Hour).Unix()),
		"another at_hash":    claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"no subject":         claim("sub", nil),
		"a long subject":     claim("sub", strings.Repeat("x", 256)),
		"a subject with NUL": claim("sub", "a\x00b"),
		"a foreign key": func() {
			p.sign = func(c jwt.MapClaims) string { return sign(jwt.SigningMethodES256, foreign, "one", c) }
		},
		"an unknown key": func() {
			p.sign = func(c jwt.MapClaims) string { return sign(jwt.SigningMethodES256, foreign, "two", c) }
		},
		"a key of its own": func() {
			p.sign = func(c jwt.MapClaims) string {
				token := jwt.NewWithClaims(jwt.SigningMethodES256, c)
				token.Header["jwk"], token.Header["jku"] = publish(t, foreign, "one"), p.URL+"/jwks"
				text, _ := token.SignedString(foreign)
				return text
			}
		},
		"alg none": func() {
			p.sign = func(c jwt.MapClaims) string {
				return sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "one", c)
			}
		},
		"HS256 with the client's secret": func() {
			p.sign = func(c jwt.MapClaims) string {
				return sign(jwt.SigningMethodHS256, []byte("client-secret-of-idp"), "one", c)
			}
		},
		"HS256 with the public key": func() {
			p.sign = func(c jwt.MapClaims) string { return sign(jwt.SigningMethodHS256, []byte(p.published[0].X), "one", c) }
		},
		"another algorithm of the key's": func() {
			p.sign = func(c jwt.MapClaims) string {
				return strings.Replace(sign(jwt.SigningMethodES256, p.key, "one", c), "eyJ", "eyI", 1)
			}
		},
		"no ID token":      func() { p.tokens = func(a map[string]any) { delete(a, "id_token") } },
		"half an ID token": func() { p.tokens = func(a map[string]any) { a["id_token"] = a["id_token"].(string)[:100] } },
		"a number":         func() { p.tokens = func(a map[string]any) { a["id_token"] = 5 } },
	} {
		t.Run(name, func(t *testing.T) {
			p.set(func() { p.lie, p.sign, p.tokens = nil, nil, nil; tamper() })
			b := w.browser(t)
			b.want(t, 401, "GET", b.toCallback(t, "idp"), "", nil)
			if c := w.count(t); c != before {
				t.Errorf("before %+v, after %+v", before, c)
			}
		})
	}
	p.set(func() {
		p.lie, p.sign, p.tokens = nil, nil, nil
		p.lie = func(c jwt.MapClaims) { c["aud"], c["azp"] = []string{"assistd", "x"}, "assistd" }
	})
	w.browser(t).login(t, "idp")

	// What the service keeps of a flow is what counts: a nonce that stands there in another's place belongs to no ID token.
	p.set(func() { p.lie = nil })
	b := w.browser(t)
	callback := b.toCallback(t, "idp")
	w.resealNonce(t, parameter(t, callback, "state"))
	b.want(t, 401, "GET", callback, "", nil)
}

func testTamperedAnswersAreRefused(t *testing.T, w *world, p *provider) {
	for name, test := range map[string]struct {
		change func(query url.Values)
		status int
		says   string
	}{
		"garbled code":         {func(q url.Values) { q.Set("code", q.Get("code")+"x") }, 400, "code"},
		"no code":              {func(q url.Values) { q.Del("code") }, 400, "neither a code nor an error"},
		"denied":               {func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }, 403, "denied"},
		"provider's trouble":   {func(q url.Values) { q.Del("code"); q.Set("error", "server_error") }, 400, "server_error"},
		"an error to show":     {func(q url.Values) { q.Set("error", "<script>"); q.Set("error_description", "<b>") }, 400, "unknown"},
		"another issuer":       {func(q url.Values) { q.Set("iss", "https://evil.example") }, 400, "provider that was asked"},
		"no issuer":            {func(q url.Values) { q.Del("iss") }, 400, "provider that was asked"},
		"another issuer's NUL": {func(q url.Values) { q.Set("iss", p.URL+"\x00") }, 400, "provider that was asked"},
	} {
		t.Run(name, func(t *testing.T) {
			p.set(func() { p.answer = test.change })
			b := w.browser(t)
			r := b.want(t, test.status, "GET", b.toCallback(t, "idp"), "", nil)
			if !strings.Contains(r.text, test.says) || strings.Contains(r.text, "script") {
				t.Errorf("it says %s", r.text)
			}
		})
	}
	p.set(func() { p.answer = nil })
	b := w.browser(t)
	mine := b.toCallback(t, "idp")
	theirs := w.browser(t).toCallback(t, "idp") // a code of another browser: its challenge is another
	b.want(t, 400, "GET", set(t, mine, "code", parameter(t, theirs, "code")), "", nil)

	weak := b.want(t, 303, "GET", "/api/v1/oauth/idp/login", "", nil).Header.Get("Location")
	for _, change := range []string{"", "plain"} { // a downgrade on the way there leads to a code that the verifier does not fit
		b.want(t, 400, "GET", b.walk(t, set(t, weak, "code_challenge_method", change)), "", nil)
		weak = b.want(t, 303, "GET", "/api/v1/oauth/idp/login", "", nil).Header.Get("Location")
	}
	if c := w.count(t); c != (count{}) || p.grants != 0 {
		t.Errorf("%+v, %d codes were exchanged", c, p.grants)
	}
}

// testKeysRotate: a new key comes with a new id; a key that comes under another's id is not believed.
func testKeysRotate(t *testing.T, w *world, p *provider) {
	w.browser(t).login(t, "idp")
	w.pass(time.Minute)
	p.set(func() { p.rotate(t, "two") })
	w.browser(t).login(t, "idp")
	for range 3 {
		w.pass(2 * time.Minute)
		p.set(func() { p.rotate(t, "two") })
		b := w.browser(t)
		b.want(t, 401, "GET", b.toCallback(t, "idp"), "", nil)
	}
	w.pass(40 * time.Minute) // together less than the ID tokens' hour, of the service's clock
	p.set(func() { p.rotate(t, "three") })
	w.browser(t).login(t, "idp")
}

// testEmailAloneMergesNothing: somebody whose provider says that they have my address does not get into my account.
func testEmailAloneMergesNothing(t *testing.T, w *world, p *provider) {
	id, _ := w.user(t, "Ada@Example.org")
	for verified, status := range map[any]int{true: 409, "true": 409, false: 403, nil: 403} {
		p.set(func() { p.person["email_verified"] = verified })
		b := w.browser(t)
		r := b.want(t, status, "GET", b.toCallback(t, "idp"), "", nil)
		if !strings.Contains(r.text, "password") || !strings.Contains(r.text, "link") {
			t.Errorf("it does not say what to do: %s", r.text)
		}
	}
	p.set(func() { p.person["email"], p.person["email_verified"] = "eve@example.org", true })
	w.browser(t).login(t, "idp")
	p.set(func() { p.person["email"] = "ada@example.org" }) // Eve's address at the provider changes
	tokens := w.browser(t).login(t, "idp")
	var profile account.Profile
	w.browser(t).want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil).decode(t, &profile)
	if profile.ID == id || profile.Email != "eve@example.org" {
		t.Errorf("she is %+v", profile)
	}
	if c := w.count(t); c != (count{2, 3, 1}) {
		t.Errorf("%+v", c)
	}
	for name, email := range map[string]any{"no address": nil, "no real address": "ada", "an address with a name": "Ada <new@example.org>"} {
		p.set(func() {
			p.person = jwt.MapClaims{"sub": name, "email": email, "email_verified": true}
			p.userinfo = map[string]any{"sub": name}
		})
		b := w.browser(t)
		b.want(t, 403, "GET", b.toCallback(t, "idp"), "", nil)
	}
}

func testSamePersonTwiceAtOnce(t *testing.T, w *world, _ *provider) {
	var all sync.WaitGroup
	for range 8 {
		b := w.browser(t)
		callback := b.toCallback(t, "idp")
		all.Go(func() {
			if r := b.call(t, "GET", callback, "", nil); r.StatusCode != http.StatusOK {
				t.Errorf("%s %s", r.Status, r.text)
			}
		})
	}
	all.Wait()
	if c := w.count(t); c != (count{1, 8, 1}) {
		t.Errorf("%+v", c)
	}
}

// testUserInfoCompletes: some providers say the address at the UserInfo endpoint only, and it counts only for the same subject.
func testUserInfoCompletes(t *testing.T, w *world, p *provider) {
	p.set(func() {
		p.userinfo = maps.Clone(p.person)
		p.userinfo["sub"] = "eve"
		p.person = jwt.MapClaims{"sub": "ada"}
	})
	b := w.browser(t)
	b.want(t, 401, "GET", b.toCallback(t, "idp"), "", nil)
	p.set(func() { p.userinfo["sub"] = "ada" })
	tokens := b.login(t, "idp")
	var profile account.Profile
	b.want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil).decode(t, &profile)
	if profile.Email != "ada@example.org" || profile.DisplayName != "Ada" {
		t.Errorf("profile: %+v", profile)
	}
}

func testProviderIsDown(t *testing.T, w *world, p *provider) {
	b := w.browser(t)
	p.set(func() { p.down = true })
	b.want(t, 502, "GET", "/api/v1/oauth/idp/login", "", nil)
	p.set(func() { p.down = false })
	callback := b.toCallback(t, "idp")
	p.set(func() { p.down = true })
	b.want(t, 502, "GET", callback, "", nil)
	p.set(func() { p.down = false })
	b.login(t, "idp")
}
