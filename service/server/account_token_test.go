package server_test

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/smart-assistant/platform/service/account"
)

// signES256 makes a token of whatever text it is given.
func signES256(t *testing.T, header, payload string, key *ecdsa.PrivateKey) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(header)) + "." + encode([]byte(payload))
	signature, err := jwt.SigningMethodES256.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

// testForgeries: what others sign lets nobody in, whatever its headers say of keys, and no address in a header is ever asked.
func testForgeries(t *testing.T, w *world) {
	r := w.start(t)
	evil := newKey(t)
	set := parseKeys(t, evil)
	asked := make(chan string, 100)
	trap := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
		asked <- request.URL.Path
		_ = json.NewEncoder(rw).Encode(object{"keys": set})
	}))
	defer trap.Close()
	good := r.user(t, "a@example.org").AccessToken
	text := func(part int) string {
		decoded, err := base64.RawURLEncoding.DecodeString(strings.Split(good, ".")[part])
		if err != nil {
			t.Fatal(err)
		}
		return string(decoded)
	}
	header, payload := text(0), text(1)
	with := func(more string) string { return strings.TrimSuffix(header, "}") + "," + more + "}" }
	kid := func(kid string) string {
		named, err := json.Marshal(object{"alg": "ES256", "typ": "at+jwt", "kid": kid})
		if err != nil {
			t.Fatal(err)
		}
		return string(named)
	}
	if a := r.call(t, "GET", "/api/v1/me", signES256(t, header, payload, w.key), nil); a.StatusCode != http.StatusOK {
		t.Fatalf("the test tests nothing: %s %s", a.Status, a.text)
	}
	ours := func(header string) string { return signES256(t, header, payload, w.key) }
	theirs := func(header string) string { return signES256(t, header, payload, evil) }
	for name, token := range map[string]string{
		"duplicated alg":            theirs(`{"alg":"none",` + header[1:]),
		"duplicated alg, none last": theirs(with(`"alg":"none"`)),
		"duplicated kid":            theirs(`{"kid":"x",` + header[1:]),
		"duplicated claim":          signES256(t, header, `{"sub":"x",`+payload[1:], evil),
		"jku":                       theirs(with(`"jku":"` + trap.URL + `/jwks.json"`)),
		"x5u":                       theirs(with(`"x5u":"` + trap.URL + `/chain.pem"`)),
		"kid is an address":         theirs(kid(trap.URL + "/kid")),
		"kid is a path":             theirs(kid("../../../../dev/null")),
		"kid is SQL":                theirs(kid("' OR 1=1 --")),
		"kid with NUL":              theirs(kid("a\x00b")),
		"kid is long":               theirs(kid(strings.Repeat("k", 2500))),
		"crit, signed by us":        ours(with(`"crit":["exp"],"exp":1`)),
		"empty crit, signed by us":  ours(with(`"crit":[]`)),
		"crit b64, signed by us":    ours(with(`"crit":["b64"],"b64":false`)),
		"type of an ID token":       ours(strings.Replace(header, "at+jwt", "JWT", 1)),
		"longer than any of ours":   signES256(t, header, payload[:len(payload)-1]+`,"x":"`+strings.Repeat("x", 5000)+`"}`, w.key),
		"very long":                 good + strings.Repeat("A", 500_000),
		"very many parts":           strings.Repeat(".", 100_000),
	} {
		a := r.call(t, "GET", "/api/v1/me", token, nil)
		if tooLong := len(token) > 50_000 && a.StatusCode == http.StatusRequestHeaderFieldsTooLarge; a.StatusCode != http.StatusUnauthorized && !tooLong {
			t.Errorf("%s: %s %s", name, a.Status, a.text)
		}
	}
	if len(asked) > 0 {
		t.Errorf("a header made the service ask for %s", <-asked)
	}
}

// testKeysRevoked: a key of the database that leaked checks no more on any replica, also on one that cannot hear of it, while sessions
// go on by their refresh tokens.
func testKeysRevoked(t *testing.T, w *world) {
	a, b := w.start(t), w.start(t)
	admin := a.admin(t, w, "admin@example.org")
	a.user(t, "a@example.org")
	var leaked account.Rotation
	a.want(t, 201, "POST", "/api/v1/admin/signing-keys", admin.AccessToken, nil).decode(t, &leaked)
	if leaked.Revoked != nil || leaked.FileKeys != nil {
		t.Errorf("nothing was asked to be revoked: %+v", leaked)
	}
	for _, cut := range []bool{false, true} {
		w.pass(leaked.ActivatesAt.Sub(w.now()) + time.Second)
		eventually(t, "the new key signs", func() bool { return kid(t, b.login(t, "a@example.org").AccessToken) == leaked.KeyID })
		admin = a.login(t, "admin@example.org")
		tokens := b.login(t, "a@example.org")
		for _, r := range []*replica{a, b} {
			r.want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil)
		}
		if cut {
			exec(t, connect(t, w.url), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND (query LIKE 'LISTEN%' OR query = '-- ping')`)
		}
		var next account.Rotation
		a.want(t, 201, "POST", "/api/v1/admin/signing-keys", admin.AccessToken, object{"revoke": true}).decode(t, &next)
		if !slices.Equal(next.Revoked, []string{leaked.KeyID}) || len(next.FileKeys) != 1 {
			t.Errorf("revoked %v, kept %v", next.Revoked, next.FileKeys)
		}
		a.want(t, 401, "GET", "/api/v1/me", tokens.AccessToken, nil)
		b.out(t, tokens.AccessToken)
		w.start(t).want(t, 401, "GET", "/api/v1/me", tokens.AccessToken, nil)
		b.want(t, 200, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": tokens.RefreshToken}).decode(t, &tokens)
		if kid(t, tokens.AccessToken) != next.FileKeys[0] {
			t.Error("until the new key signs, the file's does: everybody knows it")
		}
		for _, r := range []*replica{a, b} {
			r.want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil)
		}
		leaked = next
	}
	admin = a.login(t, "admin@example.org")
	log := a.want(t, 200, "GET", "/api/v1/admin/audit", admin.AccessToken, nil).text
	if strings.Count(log, `"action":"keys-revoked"`) != 2 || strings.Count(log, `"action":"keys-rotated"`) != 1 {
		t.Errorf("audit log: %s", log)
	}
	if a := a.call(t, "POST", "/api/v1/admin/signing-keys", admin.AccessToken, object{"revoke": "yes"}); a.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a word for a truth value: %s", a.Status)
	}
}

// testDeletionAsks: the password that an application asks for once more has to be right; without one, the access token is enough.
func testDeletionAsks(t *testing.T, w *world) {
	r := w.start(t)
	for i, last := range []any{nil, object{}, object{"password": password}} {
		tokens := r.user(t, fmt.Sprintf("user%d@example.org", i))
		r.want(t, 403, "DELETE", "/api/v1/me", tokens.AccessToken, object{"password": "wrong password"})
		r.want(t, 422, "DELETE", "/api/v1/me", tokens.AccessToken, object{"passwort": password})
		r.want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil)
		r.want(t, 204, "DELETE", "/api/v1/me", tokens.AccessToken, last)
		r.want(t, 401, "GET", "/api/v1/me", tokens.AccessToken, nil)
	}
	external := r.user(t, "external@example.org")
	exec(t, connect(t, w.url), "UPDATE users SET password_hash = '' WHERE email = 'external@example.org'")
	r.want(t, 409, "DELETE", "/api/v1/me", external.AccessToken, object{"password": "some password"})
	r.want(t, 204, "DELETE", "/api/v1/me", external.AccessToken, nil)
}
