package server_test

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/server"
)

func testAccount(t *testing.T, w *world) {
	r := w.start(t)
	tokens := r.user(t, "Ada@Example.org")
	if tokens.TokenType != "Bearer" || tokens.ExpiresIn != 300 {
		t.Errorf("tokens: %+v", tokens)
	}
	var profile account.Profile
	r.want(t, 200, "PATCH", "/api/v1/me", tokens.AccessToken, object{"display_name": "Ada", "about": "ü\n\"'"}).decode(t, &profile)
	r.want(t, 200, "PATCH", "/api/v1/me", tokens.AccessToken, object{"display_name": "Ada L."}).decode(t, &profile)
	r.want(t, 200, "GET", "/api/v1/me", tokens.AccessToken, nil).decode(t, &profile)
	if profile.Email != "Ada@Example.org" || profile.DisplayName != "Ada L." || profile.About != "ü\n\"'" || profile.ID == "" {
		t.Errorf("profile: %+v", profile)
	}
	r.login(t, "ada@example.ORG")
	r.want(t, 401, "GET", "/api/v1/me", "", nil)
	r.want(t, 204, "DELETE", "/api/v1/me", tokens.AccessToken, nil)
	r.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": "ada@example.org", "password": password})
}

func testEmailIsTaken(t *testing.T, w *world) {
	r := w.start(t)
	var created, taken atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			email := []string{"bob@example.org", "BOB@example.org"}[i%2]
			a, err := try(t.Context(), "POST", r.url+"/api/v1/auth/register", "", object{"email": email, "password": password})
			switch {
			case err != nil:
				t.Error(err)
			case a.StatusCode == http.StatusCreated:
				created.Add(1)
			case a.StatusCode == http.StatusConflict:
				taken.Add(1)
			default:
				t.Errorf("%s %s", a.Status, a.text)
			}
		})
	}
	all.Wait()
	if created.Load() != 1 || taken.Load() != 7 {
		t.Errorf("%d created, %d refused", created.Load(), taken.Load())
	}
}

// testPasswordLength: bcrypt compares 72 bytes, so a 73rd must neither be accepted nor ignored.
func testPasswordLength(t *testing.T, w *world) {
	r := w.start(t)
	most := strings.Repeat("x", 72)
	for email, test := range map[string]struct {
		password string
		status   int
	}{
		"a@example.org": {most, 201},
		"b@example.org": {most + "x", 422},
		"c@example.org": {strings.Repeat("€", 24), 201}, // 72 bytes
		"d@example.org": {strings.Repeat("€", 25), 422},
		"e@example.org": {"seven77", 422},
		"f@example.org": {"ääääääää", 201}, // 8 characters
		"g@example.org": {"", 422},
	} {
		r.want(t, test.status, "POST", "/api/v1/auth/register", "", object{"email": email, "password": test.password})
	}
	r.want(t, 200, "POST", "/api/v1/auth/login", "", object{"email": "a@example.org", "password": most})
	for _, email := range []string{"a@example.org", "nobody@example.org"} {
		r.want(t, 422, "POST", "/api/v1/auth/login", "", object{"email": email, "password": most + "y"})
	}
}

func testUnknownUserLooksKnown(t *testing.T, w *world) {
	r := w.start(t)
	r.user(t, "known@example.org")
	known := r.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": "known@example.org", "password": "wrong password"})
	for _, email := range []string{"unknown@example.org", "no address", "", "a@b\x00"} {
		unknown := r.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": email, "password": "wrong password"})
		if unknown.text != known.text {
			t.Errorf("%q: %s, a known user: %s", email, unknown.text, known.text)
		}
	}
}

func testInvalidInput(t *testing.T, w *world) {
	r := w.start(t)
	token := r.user(t, "a@example.org").AccessToken
	for _, test := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"POST", "/api/v1/auth/register", object{"email": "no address", "password": password}, 422},
		{"POST", "/api/v1/auth/register", object{"email": "Bob <bob@example.org>", "password": password}, 422},
		{"POST", "/api/v1/auth/register", object{"email": strings.Repeat("x", 250) + "@example.org", "password": password}, 422},
		{"POST", "/api/v1/auth/register", object{"email": "x@example.org", "password": password, "admin": true}, 422},
		{"POST", "/api/v1/auth/register", object{"email": "x@example.org", "password": password, "display_name": "a\x00b"}, 422},
		{"POST", "/api/v1/auth/register", "{", 400},
		{"POST", "/api/v1/auth/login", "", 400},
		{"POST", "/api/v1/auth/refresh", object{"refresh_token": "a\x00"}, 401},
		{"PATCH", "/api/v1/me", object{"display_name": "a\x00b"}, 422},
		{"PATCH", "/api/v1/me", object{"display_name": strings.Repeat("ü", 201)}, 422},
		{"PATCH", "/api/v1/me", object{"display_name": strings.Repeat("ü", 200)}, 200},
		{"PATCH", "/api/v1/me", object{"about": strings.Repeat("x", 4001)}, 422},
		{"PATCH", "/api/v1/me", object{"email": "new@example.org"}, 422},
		{"PATCH", "/api/v1/me", object{}, 200},
		{"PUT", "/api/v1/me", object{}, 405},
		{"GET", "/api/v1/nothing", nil, 404},
	} {
		if a := r.call(t, test.method, test.path, token, test.body); a.StatusCode != test.status {
			t.Errorf("%s %s %v: %s, want %d: %s", test.method, test.path, test.body, a.Status, test.status, a.text)
		} else if a.StatusCode >= 400 && a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s is %s", test.method, test.path, a.Status, a.Header.Get("Content-Type"))
		}
	}
}

func testUsersAreApart(t *testing.T, w *world) {
	r := w.start(t)
	a, b := r.user(t, "a@example.org").AccessToken, r.user(t, "b@example.org").AccessToken
	r.want(t, 200, "PATCH", "/api/v1/me", a, object{"about": "a's"})
	r.want(t, 200, "PUT", "/api/v1/me/briefing-schedule", a, object{"enabled": true, "time_zone": "Asia/Tokyo", "at": "06:00"})
	if text := r.want(t, 200, "GET", "/api/v1/me", b, nil).text; strings.Contains(text, "a's") {
		t.Errorf("b sees %s", text)
	}
	if text := r.want(t, 200, "GET", "/api/v1/me/briefing-schedule", b, nil).text; strings.Contains(text, "Tokyo") {
		t.Errorf("b sees %s", text)
	}
	r.want(t, 204, "DELETE", "/api/v1/me", b, nil)
	if text := r.want(t, 200, "GET", "/api/v1/me", a, nil).text; !strings.Contains(text, "a's") {
		t.Errorf("after b's deletion a sees %s", text)
	}
}

func testDeletedUserIsOut(t *testing.T, w *world) {
	r := w.start(t)
	tokens := r.user(t, "a@example.org")
	r.want(t, 200, "PUT", "/api/v1/me/briefing-schedule", tokens.AccessToken, object{"enabled": true, "time_zone": "UTC", "at": "06:00"})
	r.want(t, 204, "DELETE", "/api/v1/me", tokens.AccessToken, nil)
	r.want(t, 401, "GET", "/api/v1/me", tokens.AccessToken, nil)
	r.want(t, 401, "PATCH", "/api/v1/me", tokens.AccessToken, object{"about": "x"})
	r.want(t, 401, "DELETE", "/api/v1/me", tokens.AccessToken, nil)
	r.want(t, 401, "PUT", "/api/v1/me/briefing-schedule", tokens.AccessToken, object{"enabled": true, "time_zone": "UTC", "at": "06:00"})
	r.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": tokens.RefreshToken})
	r.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": "a@example.org", "password": password})
	r.user(t, "a@example.org") // the address is free
	db := connect(t, w.url)
	eventually(t, "nothing is left of the one who is deleted", func() bool {
		var rows int
		if err := db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM profiles) + (SELECT count(*) FROM sessions)
			+ (SELECT count(*) FROM refresh_tokens) + (SELECT count(*) FROM briefing_schedules)`).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		return rows == 4 // the new user's
	})
}

func testBriefingSchedule(t *testing.T, w *world) {
	r := w.start(t)
	token := r.user(t, "a@example.org").AccessToken
	path := "/api/v1/me/briefing-schedule"
	r.want(t, 401, "GET", path, "", nil)
	if got := strings.TrimSpace(r.want(t, 200, "GET", path, token, nil).text); got != `{"enabled":false,"time_zone":"UTC","at":"07:00"}` {
		t.Errorf("default: %s", got)
	}
	for _, schedule := range []object{
		{"enabled": true, "time_zone": "Europe/Berlin", "at": "00:00"},
		{"enabled": false, "time_zone": "America/Argentina/Buenos_Aires", "at": "23:59"},
	} {
		r.want(t, 200, "PUT", path, token, schedule)
		var got object
		r.want(t, 200, "GET", path, token, nil).decode(t, &got)
		if !maps.Equal(got, schedule) {
			t.Errorf("wrote %v, read %v", schedule, got)
		}
	}
	for _, wrong := range []object{
		{"enabled": true, "time_zone": "Mars/Olympus", "at": "07:00"},
		{"enabled": true, "time_zone": "", "at": "07:00"},
		{"enabled": true, "time_zone": "Local", "at": "07:00"},
		{"enabled": true, "time_zone": "../../etc/passwd", "at": "07:00"},
		{"enabled": true, "time_zone": "UTC", "at": "24:00"},
		{"enabled": true, "time_zone": "UTC", "at": "7:00"},
		{"enabled": true, "time_zone": "UTC"},
	} {
		r.want(t, 422, "PUT", path, token, wrong)
	}
}

// testNoSecretsInLogs: neither passwords nor tokens are in the log or come back in an error, however wrong the request is.
func testNoSecretsInLogs(t *testing.T, w *world) {
	r := w.start(t, func(c *server.Config) { c.RequestTimeout = time.Minute })
	tokens := r.user(t, "a@example.org")
	secret := "Secret0123456789"
	for _, body := range []any{
		object{"email": "x@example.org", "password": secret + strings.Repeat("y", 60)},
		object{"email": "x@example.org", "password": []string{secret}},
		object{"email": secret, "password": secret},
		object{"password": secret},
		`{"email": "x@example.org", "password": "` + secret + `"`,
		object{"refresh_token": secret},
		object{"email": "x@example.org", "password": "long enough", secret: secret},
	} {
		for _, path := range []string{"register", "login", "refresh", "logout"} {
			if a := r.call(t, "POST", "/api/v1/auth/"+path, "", body); strings.Contains(strings.ReplaceAll(a.text, "body."+secret, ""), secret) {
				t.Errorf("%s answers %v with %s", path, body, a.text)
			}
		}
	}
	r.call(t, "GET", "/api/v1/me", tokens.AccessToken+"x", nil)
	r.want(t, 200, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": tokens.RefreshToken})
	log := w.log.String()
	for name, text := range map[string]string{"password": password, "secret": secret, "access token": tokens.AccessToken, "refresh token": tokens.RefreshToken} {
		if strings.Contains(log, text) {
			t.Errorf("the log holds the %s", name)
		}
	}
	if !strings.Contains(log, `"msg":"request"`) {
		t.Error("the log is empty: the test tests nothing")
	}
}
