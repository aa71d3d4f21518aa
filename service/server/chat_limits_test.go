package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/smart-assistant/platform/service/server"
)

const chatKey, chatUserKey = "connection-key-0123456789-0123456789", "user-token-key-0123456789-0123456789"

// withChatKeys lets Open WebUI in.
func withChatKeys(c *server.Config) { c.ChatKey, c.ChatUserKey = chatKey, chatUserKey }

// forUser signs a request as Open WebUI does.
func forUser(t *testing.T, key, email string) func(*http.Request) {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "7", "email": email, "iss": "open-webui", "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
	}).SignedString([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return func(r *http.Request) { r.Header.Set("X-OpenWebUI-User-Jwt", token) }
}

// testOpenWebUIUsers: Open WebUI asks for many users from one address, and each has the limit for himself. Who cannot prove to
// be Open WebUI has the address's, however often the name changes.
func testOpenWebUIUsers(t *testing.T, w *world) {
	r := w.start(t, counted, withChatKeys)
	send := func(path, key, userKey, email, address string) answer {
		t.Helper()
		a, err := try(t.Context(), "POST", r.url+path, key, say("help"), forUser(t, userKey, email), func(request *http.Request) {
			request.Header.Set("X-Forwarded-For", address)
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	passed := func(path, key, userKey, address string, names ...string) (n int) {
		for i := range 30 {
			a := send(path, key, userKey, names[i%len(names)]+"@example.com", address)
			if a.StatusCode != http.StatusTooManyRequests {
				n++
				continue
			}
			if strings.HasPrefix(path, "/v1/") != strings.HasPrefix(a.text, `{"error":{`) || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s is refused by %v %s", path, a.Header, a.text)
			}
		}
		return n
	}
	for name, test := range map[string]struct {
		path, key, userKey, address string
		names                       []string
		least, most                 int
	}{
		"three users":                  {"/v1/chat/completions", chatKey, chatUserKey, "203.0.113.1", []string{"ada", "bob", "eve"}, 30, 30},
		"three users of tools":         {"/tools/list_jobs", chatKey, chatUserKey, "203.0.113.1", []string{"ann", "ben", "eva"}, 30, 30},
		"one user":                     {"/v1/chat/completions", chatKey, chatUserKey, "203.0.113.1", []string{"max"}, 20, 25},
		"one user of tools":            {"/tools/list_jobs", chatKey, chatUserKey, "203.0.113.1", []string{"mia"}, 20, 25},
		"guessed keys":                 {"/v1/chat/completions", "guess-0123456789-0123456789-0123456789", chatUserKey, "203.0.113.2", []string{"a", "b", "c"}, 20, 25},
		"guessed keys of tokens":       {"/tools/list_jobs", chatKey, "guess-0123456789-0123456789-0123456789", "203.0.113.3", []string{"a", "b", "c"}, 20, 25},
		"elsewhere the names are moot": {"/api/v1/me", chatKey, chatUserKey, "203.0.113.4", []string{"a", "b", "c"}, 20, 25},
	} {
		if n := passed(test.path, test.key, test.userKey, test.address, test.names...); n < test.least || n > test.most {
			t.Errorf("%s: %d of 30 passed, want %d to %d", name, n, test.least, test.most)
		}
	}
}

// testErrorsAsExpected: what no route of /v1 sees is refused as OpenAI's clients expect it, and everything else by problem details.
func testErrorsAsExpected(t *testing.T, w *world) {
	r := w.start(t, func(c *server.Config) { c.Access.Hosts = []string{"api.example.org"} })
	for path, want := range map[string]string{
		"/v1/models": "application/json", "/v1/chat/completions": "application/json", "/v1": "application/json",
		"/tools/list_jobs": "application/problem+json", "/api/v1/me": "application/problem+json", "/v1x": "application/problem+json",
	} {
		a, err := try(t.Context(), "GET", r.url+path, "", nil, func(request *http.Request) { request.Host = "evil.example" })
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Header.Get("Content-Type"); a.StatusCode != http.StatusMisdirectedRequest || got != want || strings.HasPrefix(a.text, `{"error":{"message":`) != (want == "application/json") {
			t.Errorf("%s: %s, %s %s", path, a.Status, got, a.text)
		}
	}
	if a := r.call(t, "GET", "/v1/models?limit=%00", "", nil); a.StatusCode != http.StatusBadRequest || !strings.HasPrefix(a.text, `{"error":{`) {
		t.Errorf("%s %s", a.Status, a.text)
	}
}

// testToolsDoOnce: a tool that writes, called again with its idempotency key or, as Open WebUI does, without any, is done once.
func testToolsDoOnce(t *testing.T, w *world) {
	r := w.start(t)
	ada, bob := r.user(t, "ada@example.com").AccessToken, r.user(t, "bob@example.com").AccessToken
	add := func(status int, token, key, company, title string) answer {
		t.Helper()
		a, err := try(t.Context(), "POST", r.url+"/tools/add_application", token, object{"company": company, "title": title}, func(request *http.Request) {
			if key != "" {
				request.Header.Set("Idempotency-Key", key)
			}
		})
		if err != nil || a.StatusCode != status {
			t.Fatalf("%v: %s %s, want %d", err, a.Status, a.text, status)
		}
		return a
	}
	first := add(http.StatusOK, ada, "k", "ACME", "Engineer")
	w.pass(2 * time.Minute)
	if again := add(http.StatusOK, ada, "k", "ACME", "Engineer"); again.text != first.text || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s, and then %v %s", first.text, again.Header, again.text)
	}
	add(http.StatusUnprocessableEntity, ada, "k", "ACME", "Tester")
	add(http.StatusUnprocessableEntity, ada, strings.Repeat("k", 201), "ACME", "Tester")
	if other := add(http.StatusOK, bob, "k", "ACME", "Engineer"); other.text == first.text {
		t.Errorf("bob is answered %s", other.text)
	}
	ada = r.login(t, "ada@example.com").AccessToken
	without := add(http.StatusOK, ada, "", "Initech", "Tester")
	if again := add(http.StatusOK, ada, "", "initech", "Tester "); again.text != without.text {
		t.Errorf("%s, and then %s", without.text, again.text)
	}
	if other := add(http.StatusOK, ada, "", "Initech", "Lead"); other.text == without.text {
		t.Error("another title is taken for the same")
	}
	w.pass(2 * time.Minute)
	if later := add(http.StatusOK, ada, "", "Initech", "Tester"); later.text == without.text {
		t.Error("minutes later nothing can be added again")
	}
	list := r.want(t, http.StatusOK, "POST", "/tools/list_applications", ada, object{})
	if n := strings.Count(list.text, `"id":`); n != 4 {
		t.Errorf("%d applications: %s", n, list.text)
	}
}
