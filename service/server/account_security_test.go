package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/server"
)

// admin is a user who became an administrator by the operator's hand.
func (r *replica) admin(t *testing.T, w *world, email string) account.Tokens {
	t.Helper()
	tokens := r.user(t, email)
	if err := account.SetRole(t.Context(), connect(t, w.url), email, account.RoleAdmin, w.now()); err != nil {
		t.Fatal(err)
	}
	return tokens
}

func (r *replica) id(t *testing.T, tokens account.Tokens) string {
	t.Helper()
	var profile account.Profile
	r.want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil).decode(t, &profile)
	return profile.ID
}

// out waits until a replica lets nobody in with a token: what one replica did, another hears a moment later.
func (r *replica) out(t *testing.T, token string) {
	t.Helper()
	eventually(t, "the token is refused", func() bool {
		return r.call(t, "GET", "/api/v1/me", token, nil).StatusCode == http.StatusUnauthorized
	})
}

// testOutAtOnce: whoever ends a session, disables or deletes a user, their access tokens are good on no replica any more; also while
// the replicas cannot hear of it.
func testOutAtOnce(t *testing.T, w *world) {
	a, b := w.start(t), w.start(t)
	admin := a.admin(t, w, "admin@example.org")
	for name, end := range map[string]func(tokens account.Tokens, id string){
		"disabled": func(_ account.Tokens, id string) {
			a.want(t, 200, "POST", "/api/v1/admin/users/"+id+"/disable", admin.AccessToken, nil)
		},
		"deleted": func(tokens account.Tokens, _ string) { a.want(t, 204, "DELETE", "/api/v1/me", tokens.AccessToken, nil) },
		"everywhere": func(tokens account.Tokens, _ string) {
			a.want(t, 204, "POST", "/api/v1/me/logout-everywhere", tokens.AccessToken, nil)
		},
		"logout": func(tokens account.Tokens, _ string) {
			a.want(t, 204, "POST", "/api/v1/auth/logout", "", object{"refresh_token": tokens.RefreshToken})
		},
	} {
		for _, cut := range []bool{false, true} {
			tokens := a.user(t, fmt.Sprintf("%s-%v@example.org", name, cut))
			id := a.id(t, tokens)
			b.want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil)
			if cut {
				exec(t, connect(t, w.url), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
					WHERE datname = current_database() AND pid <> pg_backend_pid() AND (query LIKE 'LISTEN%' OR query = '-- ping')`)
			}
			end(tokens, id)
			a.want(t, 401, "GET", "/api/v1/me", tokens.AccessToken, nil) // the one that did it knows at once
			b.out(t, tokens.AccessToken)
			b.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": tokens.RefreshToken})
			w.start(t).want(t, 401, "GET", "/api/v1/me", tokens.AccessToken, nil) // one that began later
		}
	}
	a.want(t, 403, "POST", "/api/v1/auth/login", "", object{"email": "disabled-false@example.org", "password": password})
	a.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": "disabled-false@example.org", "password": "another password"})
}

func testSessions(t *testing.T, w *world) {
	r, other := w.start(t), w.start(t)
	here, there := r.user(t, "a@example.org"), r.login(t, "a@example.org")
	stranger := r.user(t, "b@example.org")
	var list struct {
		Items []account.Session `json:"items"`
		Next  string            `json:"next_cursor"`
	}
	r.want(t, 200, "GET", "/api/v1/me/sessions?limit=1", here.AccessToken, nil).decode(t, &list)
	if len(list.Items) != 1 || list.Items[0].Current || list.Next == "" || !strings.HasPrefix(list.Items[0].UserAgent, "Go-http-client") {
		t.Fatalf("first page: %+v", list)
	}
	path := "/api/v1/me/sessions/" + list.Items[0].ID
	r.want(t, 404, "DELETE", path, stranger.AccessToken, nil)
	r.want(t, 422, "DELETE", "/api/v1/me/sessions/x", here.AccessToken, nil)
	next := list.Next
	list.Next = ""
	r.want(t, 200, "GET", "/api/v1/me/sessions?limit=1&cursor="+next, here.AccessToken, nil).decode(t, &list)
	if len(list.Items) != 1 || !list.Items[0].Current || list.Next != "" {
		t.Errorf("second page: %+v", list)
	}
	r.want(t, 204, "DELETE", path, here.AccessToken, nil)
	r.want(t, 404, "DELETE", path, here.AccessToken, nil)
	r.want(t, 401, "GET", "/api/v1/me", there.AccessToken, nil)
	other.out(t, there.AccessToken)
	other.want(t, 200, "GET", "/api/v1/me", here.AccessToken, nil)
}

// testPasswordChange asks for the present password and leaves only the session that changed it.
func testPasswordChange(t *testing.T, w *world) {
	r := w.start(t)
	here, there := r.user(t, "a@example.org"), r.login(t, "a@example.org")
	change := func(present, next string) object { return object{"current_password": present, "new_password": next} }
	next := "four other words here"
	r.want(t, 403, "POST", "/api/v1/me/password", here.AccessToken, change("wrong password", next))
	r.want(t, 422, "POST", "/api/v1/me/password", here.AccessToken, change(password, "password123"))
	r.want(t, 422, "POST", "/api/v1/me/password", here.AccessToken, change(password, strings.Repeat("x", 73)))
	r.want(t, 204, "POST", "/api/v1/me/password", here.AccessToken, change(password, next))
	r.want(t, 200, "GET", "/api/v1/me", here.AccessToken, nil)
	r.want(t, 401, "GET", "/api/v1/me", there.AccessToken, nil)
	r.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": there.RefreshToken})
	r.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": "a@example.org", "password": password})
	r.want(t, 200, "POST", "/api/v1/auth/login", "", object{"email": "a@example.org", "password": next})
}

// testLockout: five wrong passwords lock, nobody is told, the right password does not help, and the lock ends by itself or by an
// administrator.
func testLockout(t *testing.T, w *world) {
	r := w.start(t)
	admin := r.admin(t, w, "admin@example.org")
	id := r.id(t, r.user(t, "a@example.org"))
	try := func(password string) answer {
		return r.call(t, "POST", "/api/v1/auth/login", "", object{"email": "a@example.org", "password": password})
	}
	guess := func() {
		t.Helper()
		for range 5 {
			try("wrong password")
		}
		if locked, unknown := try(password), r.call(t, "POST", "/api/v1/auth/login", "", object{"email": "x@example.org", "password": password}); locked.StatusCode != http.StatusUnauthorized || locked.text != unknown.text {
			t.Errorf("a locked account: %s %s, an unknown one: %s", locked.Status, locked.text, unknown.text)
		}
	}
	guess()
	w.pass(61 * time.Second)
	if a := try(password); a.StatusCode != http.StatusOK {
		t.Errorf("after the lock: %s %s", a.Status, a.text)
	}
	guess()
	r.want(t, 200, "POST", "/api/v1/admin/users/"+id+"/unlock", admin.AccessToken, nil)
	if a := try(password); a.StatusCode != http.StatusOK {
		t.Errorf("after an administrator unlocked it: %s %s", a.Status, a.text)
	}
	log := r.want(t, 200, "GET", "/api/v1/admin/audit?user_id="+id, admin.AccessToken, nil).text
	for _, action := range []string{"register", "login", "login-failed", "locked", "unlocked"} {
		if !strings.Contains(log, `"action":"`+action+`"`) {
			t.Errorf("no %s in the audit log: %s", action, log)
		}
	}
}

func testCommonPasswords(t *testing.T, w *world) {
	r := w.start(t)
	for password, status := range map[string]int{
		"password": 422, "PassWord": 422, "12345678": 422, "qwertyuiop": 422, "iloveyou": 422, "trustno1": 422, "baseball": 422,
		"christine.miller": 422, "Christine.Miller1!": 422, "christine.miller@example.org": 422, "assistd!2026": 422, "SmartAssistant1": 422,
		"correct horse battery": 201,
	} {
		if a := r.call(t, "POST", "/api/v1/auth/register", "", object{"email": "christine.miller@example.org", "password": password}); a.StatusCode != status {
			t.Errorf("%s: %s %s", password, a.Status, a.text)
		}
	}
}

// testKeysRotate: two replicas, a new key that is published before it signs, and nobody logged out.
func testKeysRotate(t *testing.T, w *world) {
	a, b := w.start(t), w.start(t)
	admin := a.admin(t, w, "admin@example.org")
	before := a.user(t, "a@example.org")
	published := func(r *replica) []account.JWK {
		var set struct {
			Keys []account.JWK `json:"keys"`
		}
		r.want(t, 200, "GET", "/.well-known/jwks.json", "", nil).decode(t, &set)
		return set.Keys
	}
	var key account.SigningKey
	a.want(t, 201, "POST", "/api/v1/admin/signing-keys", admin.AccessToken, nil).decode(t, &key)
	eventually(t, "both replicas publish it", func() bool { return len(published(a)) == 2 && len(published(b)) == 2 })
	if early := b.login(t, "a@example.org"); kid(t, early.AccessToken) == key.KeyID {
		t.Error("it signs before everybody can know it")
	}
	w.pass(key.ActivatesAt.Sub(w.now()) - time.Minute)
	last := b.login(t, "a@example.org") // a minute before the new key signs
	w.pass(2 * time.Minute)
	first := a.login(t, "a@example.org")
	if kid(t, first.AccessToken) != key.KeyID || kid(t, b.login(t, "a@example.org").AccessToken) != key.KeyID {
		t.Error("the new key does not sign")
	}
	for _, r := range []*replica{a, b, w.start(t)} {
		r.want(t, 200, "GET", "/api/v1/me", last.AccessToken, nil)
		r.want(t, 200, "GET", "/api/v1/me", first.AccessToken, nil)
	}
	b.want(t, 200, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": before.RefreshToken})
	a.want(t, 401, "POST", "/api/v1/admin/signing-keys", before.AccessToken, nil) // it has expired by now
}

// testAdminOnly: every route of administrators refuses users, and counts a role that was taken away at once.
func testAdminOnly(t *testing.T, w *world) {
	r := w.start(t)
	admin, user := r.admin(t, w, "admin@example.org"), r.user(t, "Zoe_x@example.org")
	id := r.id(t, user)
	routes := map[string]string{
		"/api/v1/admin/users": "GET", "/api/v1/admin/users/" + id: "GET", "/api/v1/admin/users/" + id + "/disable": "POST",
		"/api/v1/admin/users/" + id + "/enable": "POST", "/api/v1/admin/users/" + id + "/unlock": "POST",
		"/api/v1/admin/users/" + id + "/verify": "POST", "/api/v1/admin/signing-keys": "GET", "/api/v1/admin/audit": "GET",
	}
	for path, method := range routes {
		r.want(t, 403, method, path, user.AccessToken, nil)
	}
	for path, method := range routes {
		r.want(t, 200, method, path, admin.AccessToken, nil)
	}
	for prefix, want := range map[string]int{"zoe_": 1, "ZOE": 1, "zoe%25": 0, "": 2, "admin@example.org": 1, "admin@example.orgx": 0} {
		var list struct{ Items []account.User }
		r.want(t, 200, "GET", "/api/v1/admin/users?email_prefix="+prefix, admin.AccessToken, nil).decode(t, &list)
		if len(list.Items) != want {
			t.Errorf("%q: %+v", prefix, list.Items)
		}
	}
	verified := func(email string) bool {
		var list struct{ Items []account.User }
		r.want(t, 200, "GET", "/api/v1/admin/users?email_prefix="+email, admin.AccessToken, nil).decode(t, &list)
		return list.Items[0].VerifiedAt != nil
	}
	if !verified("zoe_x@example.org") || verified("admin@example.org") {
		t.Error("verify proved no address, or another")
	}
	if err := account.VerifyEmail(t.Context(), connect(t, w.url), " ADMIN@example.org", w.now()); err != nil || !verified("admin@example.org") {
		t.Errorf("verified on the database: %v %v", verified("admin@example.org"), err)
	}
	if err := account.VerifyEmail(t.Context(), connect(t, w.url), "nobody@example.org", w.now()); !errors.Is(err, account.ErrUnknownUser) {
		t.Errorf("nobody is verified: %v", err)
	}
	if log := r.want(t, 200, "GET", "/api/v1/admin/audit", admin.AccessToken, nil).text; strings.Count(log, `"action":"verified"`) != 2 {
		t.Errorf("the audit log does not say who was verified: %s", log)
	}
	r.want(t, 404, "POST", "/api/v1/admin/users/00000000-0000-0000-0000-000000000001/verify", admin.AccessToken, nil)
	r.want(t, 404, "POST", "/api/v1/admin/users/00000000-0000-0000-0000-000000000001/disable", admin.AccessToken, nil)
	r.want(t, 409, "POST", "/api/v1/admin/users/"+r.id(t, admin)+"/disable", admin.AccessToken, nil)
	if err := account.SetRole(t.Context(), connect(t, w.url), "ADMIN@example.org", account.RoleUser, w.now()); err != nil {
		t.Fatal(err)
	}
	r.want(t, 403, "GET", "/api/v1/admin/users", admin.AccessToken, nil)
}

func testExport(t *testing.T, w *world) {
	r := w.start(t, func(c *server.Config) { c.RequestTimeout = time.Minute })
	tokens := r.user(t, "a@example.org")
	r.want(t, 200, "PATCH", "/api/v1/me", tokens.AccessToken, object{"about": `"quoted" ü`})
	r.user(t, "b@example.org")
	a := r.want(t, 200, "GET", "/api/v1/me/export", tokens.AccessToken, nil)
	var export struct {
		User     []account.User
		Profile  []account.Profile
		Sessions []account.Session
		Audit    []account.AuditEvent
	}
	a.decode(t, &export)
	if len(export.User) != 1 || len(export.Profile) != 1 || export.Profile[0].About != `"quoted" ü` || len(export.Sessions) != 1 || len(export.Audit) < 3 {
		t.Errorf("export: %s", a.text)
	}
	if strings.Contains(a.text, "b@example.org") || strings.Contains(a.text, "$2a$") {
		t.Errorf("the export says too much: %s", a.text)
	}
}
