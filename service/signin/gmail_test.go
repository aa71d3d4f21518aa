package signin_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/signin"
)

// connect begins to connect Gmail and returns where Google sends the browser back to.
func (b *browser) connect(t testing.TB, token string) string {
	t.Helper()
	var begun begun
	b.want(t, 200, "POST", "/api/v1/connections/gmail", token, nil).decode(t, &begun)
	return b.walk(t, begun.URL)
}

func testConnectsGmail(t *testing.T, w *world, p *provider) {
	id, token := w.user(t, "ada@example.org")
	b := w.browser(t)
	callback := b.connect(t, token)
	for name, want := range map[string]string{
		"scope": "https://www.googleapis.com/auth/gmail.readonly", "access_type": "offline", "prompt": "consent", "code_challenge_method": "S256",
		"redirect_uri": w.url + "/api/v1/oauth/gmail/callback",
	} {
		if got := p.asked.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	var mailbox signin.Mailbox
	b.want(t, 200, "GET", callback, "", nil).decode(t, &mailbox)
	if mailbox.Account != "ada@gmail.com" || w.mail.userID != id || w.mail.address != "ada@gmail.com" || w.mail.token.RefreshToken != "refresh-token-of-ada" {
		t.Errorf("%+v, handed over: %+v", mailbox, &w.mail)
	}
	b.want(t, 400, "GET", callback, "", nil) // once
	b.want(t, 401, "POST", "/api/v1/connections/gmail", "", nil)
	var begun begun
	b.want(t, 200, "POST", "/api/v1/connections/gmail", token, object{"return_to": "https://app.example.org/mail"}).decode(t, &begun)
	if r := b.want(t, 303, "GET", b.walk(t, begun.URL), "", nil); r.Header.Get("Location") != "https://app.example.org/mail?connected=gmail" {
		t.Errorf("it goes to %s", r.Header.Get("Location"))
	}
	b.want(t, 422, "POST", "/api/v1/connections/gmail", token, object{"return_to": "https://evil.example"})
	if c := w.count(t); c != (count{1, 1, 0}) {
		t.Errorf("a consent is no log-in: %+v", c)
	}
}

func testGmailIsRefused(t *testing.T, w *world, p *provider) {
	_, token := w.user(t, "ada@example.org")
	for name, test := range map[string]struct {
		answer func(url.Values)
		tokens func(map[string]any)
		status int
		says   string
	}{
		"denied":             {answer: func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }, status: 403, says: "denied"},
		"garbled code":       {answer: func(q url.Values) { q.Set("code", "x") }, status: 400, says: "code"},
		"another scope":      {tokens: func(a map[string]any) { a["scope"] = "openid email" }, status: 403, says: "box ticked"},
		"no scope":           {tokens: func(a map[string]any) { a["scope"] = "" }, status: 403, says: "box ticked"},
		"a scope like it":    {tokens: func(a map[string]any) { a["scope"] = "https://www.googleapis.com/auth/gmail.readonly.x" }, status: 403, says: "box ticked"},
		"no refresh token":   {tokens: func(a map[string]any) { delete(a, "refresh_token") }, status: 403, says: "an hour"},
		"a token that fails": {tokens: func(a map[string]any) { a["access_token"] = "other" }, status: 502, says: "try again"},
		"no token":           {tokens: func(a map[string]any) { delete(a, "access_token") }, status: 502, says: "try again"},
	} {
		t.Run(name, func(t *testing.T) {
			p.set(func() { p.answer, p.tokens = test.answer, test.tokens })
			b := w.browser(t)
			if r := b.want(t, test.status, "GET", b.connect(t, token), "", nil); !strings.Contains(r.text, test.says) {
				t.Errorf("it says %s", r.text)
			}
			if w.mail.token != nil {
				t.Error("a token was handed over")
			}
		})
	}
	p.set(func() { p.answer, p.tokens = nil, nil })
	victim := w.browser(t)
	victim.toCallback(t, "idp")                                         // has a cookie
	victim.want(t, 400, "GET", w.browser(t).connect(t, token), "", nil) // whose mail would flow into a stranger's account
	callback := victim.connect(t, token)
	victim.want(t, 400, "GET", strings.Replace(callback, "/gmail/", "/idp/", 1), "", nil)
	if w.mail.token != nil {
		t.Error("a token was handed over")
	}
}
