package signin_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/signin"
)

type begun struct{ URL string }

// link begins to link at the provider and returns where the provider sends the browser back to.
func (b *browser) link(t testing.TB, token string) string {
	t.Helper()
	var begun begun
	b.want(t, 200, "POST", "/api/v1/me/identities", token, object{"provider": "idp"}).decode(t, &begun)
	return b.walk(t, begun.URL)
}

func (b *browser) identities(t testing.TB, token, query string) (list api.List[signin.Identity]) {
	t.Helper()
	b.want(t, 200, "GET", "/api/v1/me/identities"+query, token, nil).decode(t, &list)
	return list
}

func testLinksAndUnlinks(t *testing.T, w *world, p *provider) {
	_, token := w.user(t, "ada@example.org")
	b := w.browser(t)
	var identity signin.Identity
	b.want(t, 200, "GET", b.link(t, token), "", nil).decode(t, &identity)
	if identity.Provider != "idp" || identity.Issuer != p.URL || identity.Email != "ada@example.org" || identity.UsedAt != nil {
		t.Errorf("identity: %+v", identity)
	}
	b.want(t, 200, "GET", b.link(t, token), "", nil) // again changes nothing
	b.login(t, "idp")
	if c := w.count(t); c != (count{1, 2, 1}) {
		t.Errorf("%+v", c)
	}
	p.set(func() { p.person["sub"] = "ada2" })
	b.want(t, 200, "GET", b.link(t, token), "", nil)
	first := b.identities(t, token, "?limit=1")
	second := b.identities(t, token, "?limit=1&cursor="+first.NextCursor)
	if len(first.Items) != 1 || first.Items[0].ID != identity.ID || first.Items[0].UsedAt == nil || len(second.Items) != 1 || second.NextCursor != "" {
		t.Errorf("%+v %+v", first, second)
	}
	b.want(t, 422, "GET", "/api/v1/me/identities?cursor=x", token, nil)
	b.want(t, 204, "DELETE", "/api/v1/me/identities/"+identity.ID, token, nil)
	b.want(t, 404, "DELETE", "/api/v1/me/identities/"+identity.ID, token, nil)
	b.want(t, 422, "DELETE", "/api/v1/me/identities/x", token, nil)
	b.want(t, 204, "DELETE", "/api/v1/me/identities/"+second.Items[0].ID, token, nil)
	b.want(t, 409, "GET", b.toCallback(t, "idp"), "", nil) // unlinked is unknown
	log := b.want(t, 200, "GET", "/api/v1/me/audit", token, nil).text
	for what, times := range map[string]int{
		`"action":"identity-linked"`: 2, `"action":"identity-unlinked"`: 2, `"action":"login"`: 2, `"provider":"idp"`: 5, identity.ID: 1,
	} {
		if n := strings.Count(log, what); n != times {
			t.Errorf("%s is %d times in the audit log, want %d: %s", what, n, times, log)
		}
	}
	b.want(t, 404, "POST", "/api/v1/me/identities", token, object{"provider": "nobody"})

	p.set(func() { p.person = jwt.MapClaims{"sub": "bob", "email": "bob@example.org", "email_verified": true} })
	bob := b.login(t, "idp").AccessToken
	only := b.identities(t, bob, "").Items[0].ID
	if r := b.want(t, 409, "DELETE", "/api/v1/me/identities/"+only, bob, nil); !strings.Contains(r.text, "password") {
		t.Errorf("it does not say what to do: %s", r.text)
	}
	p.set(func() { p.person["sub"] = "bob2" })
	b.want(t, 200, "GET", b.link(t, bob), "", nil)
	b.want(t, 204, "DELETE", "/api/v1/me/identities/"+only, bob, nil)
	b.want(t, 409, "DELETE", "/api/v1/me/identities/"+b.identities(t, bob, "").Items[0].ID, bob, nil)
}

// testLinkIsTheUsersOwn: nobody links to another's account, and nobody is tricked into linking theirs to a stranger's.
func testLinkIsTheUsersOwn(t *testing.T, w *world, p *provider) {
	_, ada := w.user(t, "ada@example.org")
	_, eve := w.user(t, "eve@example.org")
	attacker, victim := w.browser(t), w.browser(t)
	victim.toCallback(t, "idp") // has a cookie
	victim.want(t, 400, "GET", attacker.link(t, eve), "", nil)
	if c := w.count(t); c.Identities != 0 {
		t.Errorf("%+v", c)
	}
	var mine signin.Identity
	victim.want(t, 200, "GET", victim.link(t, ada), "", nil).decode(t, &mine)
	attacker.want(t, 409, "GET", attacker.link(t, eve), "", nil) // it is Ada's
	attacker.want(t, 404, "DELETE", "/api/v1/me/identities/"+mine.ID, eve, nil)
	if list := attacker.identities(t, eve, ""); len(list.Items) != 0 {
		t.Errorf("%+v", list)
	}
	if list := victim.identities(t, ada, ""); len(list.Items) != 1 {
		t.Errorf("%+v", list)
	}
	for _, call := range [][2]string{{"GET", ""}, {"POST", ""}, {"DELETE", "/" + mine.ID}} {
		attacker.want(t, 401, call[0], "/api/v1/me/identities"+call[1], "", nil)
	}
	gone := victim.link(t, ada)
	victim.want(t, 204, "DELETE", "/api/v1/me", ada, nil)
	victim.want(t, 400, "GET", gone, "", nil)
}

func testReturnsWithACode(t *testing.T, w *world, p *provider) {
	const page = "https://app.example.org/done?tab=1"
	login := w.url + "/api/v1/oauth/idp/login?return_to=" + "https%3A%2F%2Fapp.example.org%2Fdone%3Ftab%3D1"
	arrive := func(b *browser) string {
		t.Helper()
		r := b.want(t, 303, "GET", b.walk(t, login), "", nil)
		location := r.Header.Get("Location")
		if !strings.HasPrefix(location, "https://app.example.org/done?") || parameter(t, location, "tab") != "1" || strings.Contains(r.text, "token") {
			t.Fatalf("it goes to %s with %q", withoutQuery(location), r.text)
		}
		return location
	}
	b := w.browser(t)
	code := parameter(t, arrive(b), "code")
	if c := w.count(t); c != (count{1, 0, 1}) {
		t.Errorf("before the exchange: %+v", c)
	}
	exchange := func(b *browser, status int, code string) response {
		t.Helper()
		return b.want(t, status, "POST", "/api/v1/oauth/exchange", "", object{"code": code})
	}
	exchange(b, 400, strings.Repeat("x", 43))
	var tokens account.Tokens
	exchange(b, 200, code).decode(t, &tokens)
	b.want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil)
	exchange(b, 400, code) // once

	stolen := parameter(t, arrive(b), "code")
	exchange(w.browser(t), 400, stolen)
	exchange(b, 400, stolen) // it was shown to somebody else
	late := parameter(t, arrive(b), "code")
	w.pass(time.Minute)
	exchange(b, 400, late)
	b.want(t, 400, "GET", "/api/v1/oauth/idp/callback?code=x&state="+parameter(t, arrive(b), "code"), "", nil) // a code is no state
	exchange(b, 400, parameter(t, b.toCallback(t, "idp"), "state"))                                            // and a state no code
	if c := w.count(t); c != (count{1, 1, 1}) {
		t.Errorf("%+v", c)
	}

	p.set(func() { p.lie = func(c jwt.MapClaims) { c["nonce"] = "another" } })
	if location := arrive(b); parameter(t, location, "error") != "login_failed" || parameter(t, location, "code") != "" {
		t.Error("a refused log-in does not say so to the page")
	}
	p.set(func() { p.lie = nil })
	_, token := w.user(t, "bob@example.org")
	p.set(func() { p.person["sub"] = "bob" })
	var begun begun
	b.want(t, 200, "POST", "/api/v1/me/identities", token, object{"provider": "idp", "return_to": page}).decode(t, &begun)
	if r := b.want(t, 303, "GET", b.walk(t, begun.URL), "", nil); parameter(t, r.Header.Get("Location"), "linked") != "idp" {
		t.Errorf("it goes to %s", r.Header.Get("Location"))
	}
}

func testReturnsNowhereElse(t *testing.T, w *world, _ *provider) {
	_, token := w.user(t, "ada@example.org")
	for _, target := range []string{
		"https://evil.example", "//evil.example", "/path", "https://app.example.org.evil.example/", "https://app.example.org@evil.example/",
		"https://evil.example\\@app.example.org/", "http://app.example.org/", "https://app.example.org:444/", "javascript:alert(1)", "https://APP.example.org/",
		"https://app.example.org/#x", "https://app.example.org/\x00", "https://app.example.org/" + strings.Repeat("x", 2000), "%zz",
	} {
		r := w.browser(t).call(t, "GET", set(t, w.url+"/api/v1/oauth/idp/login", "return_to", target), "", nil)
		if r.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%q: %s", target, r.Status)
		}
		r = w.browser(t).call(t, "POST", "/api/v1/me/identities", token, object{"provider": "idp", "return_to": target})
		if r.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("link, %q: %s", target, r.Status)
		}
	}
}

func testSweeps(t *testing.T, w *world, _ *provider) {
	b := w.browser(t)
	for range 3 {
		b.toCallback(t, "idp")
	}
	w.pass(5 * time.Minute)
	callback := b.toCallback(t, "idp")
	w.pass(6 * time.Minute)
	if n, err := w.service.Sweep(t.Context()); err != nil || n != 3 {
		t.Errorf("swept %d, %v", n, err)
	}
	b.want(t, 200, "GET", callback, "", nil)
}

// flowCell is where the secrets of a log-in's flow stand.
func flowCell(state string) (hash []byte, cell encryption.Cell) {
	sum := sha256.Sum256([]byte(state))
	return sum[:], encryption.Cell{Table: "oauth_flows", Column: "secrets", Row: `\x` + hex.EncodeToString(sum[:])}
}

// resealNonce puts another nonce into a flow.
func (w *world) resealNonce(t testing.TB, state string) {
	t.Helper()
	hash, cell := flowCell(state)
	var sealed []byte
	if err := w.pool.QueryRow(t.Context(), `SELECT secrets FROM oauth_flows WHERE state_hash = $1`, hash).Scan(&sealed); err != nil {
		t.Fatal(err)
	}
	plain, err := w.keyring.Open(sealed, cell)
	if err != nil {
		t.Fatal(err)
	}
	_, verifier, _ := strings.Cut(string(plain), `"verifier"`)
	if sealed, err = w.keyring.Seal([]byte(`{"nonce":"another","verifier"`+verifier), cell); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `UPDATE oauth_flows SET secrets = $2 WHERE state_hash = $1`, hash, sealed)
}

// testSecretsAreSealedAndUnsaid: neither the database nor the log holds what opens a flow.
func testSecretsAreSealedAndUnsaid(t *testing.T, w *world, p *provider) {
	b := w.browser(t)
	callback := b.toCallback(t, "idp")
	var dump string
	if err := w.pool.QueryRow(t.Context(), `SELECT f::text || ' ' || encode(secrets, 'escape') FROM oauth_flows f`).Scan(&dump); err != nil {
		t.Fatal(err)
	}
	b.want(t, 200, "GET", callback, "", nil)
	secrets := map[string]string{
		"state": parameter(t, callback, "state"), "code": parameter(t, callback, "code"), "nonce": p.asked.Get("nonce"), "verifier": p.sent.Get("code_verifier"),
		"client's secret": "client-secret-of-idp", "access token": "access-token-of-ada",
	}
	p.set(func() { p.lie = func(c jwt.MapClaims) { c["nonce"] = "another" } })
	failed := b.toCallback(t, "idp")
	said := b.want(t, 401, "GET", failed, "", nil).text
	garbled := set(t, b.toCallback(t, "idp"), "code", "garbled-code")
	said += b.want(t, 400, "GET", garbled, "", nil).text
	secrets["failed state"], secrets["failed code"], secrets["garbled code"] = parameter(t, failed, "state"), parameter(t, failed, "code"), "garbled-code"
	for name, secret := range secrets {
		for place, text := range map[string]string{"database": dump, "log": w.log.String(), "answers": said} {
			if len(secret) < 10 || strings.Contains(text, secret) {
				t.Errorf("the %s has the %s", place, name)
			}
		}
	}
	if !strings.Contains(w.log.String(), "another nonce") {
		t.Error("the log does not tell the operator why")
	}
	columns := fmt.Sprint(signin.Sealed())
	if columns != "[{oauth_flows secrets state_hash user_id}]" {
		t.Errorf("sealed: %s", columns)
	}
}
