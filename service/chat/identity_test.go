package chat_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/smart-assistant/platform/service/chat"
)

// TestUserTokens: who comes with the connection's key is the user of a good token, and nobody else.
func TestUserTokens(t *testing.T) {
	w := start(t)
	hs256, key := jwt.SigningMethodHS256, []byte(userTokenKey)
	good := userToken(t, hs256, key, nil)
	for name, test := range map[string]struct {
		bearer, token string
		status        int
		code          string
	}{
		"good":                     {connectionKey, good, http.StatusOK, ""},
		"address in capitals":      {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"email": "ADA@example.com"}), http.StatusOK, ""},
		"no token":                 {connectionKey, "", http.StatusUnauthorized, "invalid_user_token"},
		"no connection's key":      {"", good, http.StatusUnauthorized, "invalid_api_key"},
		"token as the key":         {good, good, http.StatusUnauthorized, "invalid_api_key"},
		"another connection's key": {connectionKey + "x", good, http.StatusUnauthorized, "invalid_api_key"},
		"token key as the key":     {userTokenKey, good, http.StatusUnauthorized, "invalid_api_key"},
		"alg none":                 {connectionKey, userToken(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), http.StatusUnauthorized, "invalid_user_token"},
		"HS512":                    {connectionKey, userToken(t, jwt.SigningMethodHS512, key, nil), http.StatusUnauthorized, "invalid_user_token"},
		"HS384":                    {connectionKey, userToken(t, jwt.SigningMethodHS384, key, nil), http.StatusUnauthorized, "invalid_user_token"},
		"signed by the connection": {connectionKey, userToken(t, hs256, []byte(connectionKey), nil), http.StatusUnauthorized, "invalid_user_token"},
		"signed by nothing":        {connectionKey, userToken(t, hs256, []byte{}, nil), http.StatusUnauthorized, "invalid_user_token"},
		"wrong issuer":             {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"iss": "assistd"}), http.StatusUnauthorized, "invalid_user_token"},
		"no issuer":                {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"iss": nil}), http.StatusUnauthorized, "invalid_user_token"},
		"ended":                    {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}), http.StatusUnauthorized, "invalid_user_token"},
		"without an end":           {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"exp": nil}), http.StatusUnauthorized, "invalid_user_token"},
		"from the future":          {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"iat": time.Now().Add(time.Hour).Unix()}), http.StatusUnauthorized, "invalid_user_token"},
		"not yet":                  {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}), http.StatusUnauthorized, "invalid_user_token"},
		"no address":               {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"email": nil}), http.StatusUnauthorized, "invalid_user_token"},
		"a list of addresses":      {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"email": []string{"ada@example.com"}}), http.StatusUnauthorized, "invalid_user_token"},
		"another's address":        {connectionKey, userToken(t, hs256, key, jwt.MapClaims{"email": "bob@example.com"}), http.StatusForbidden, "no_account"},
		"changed afterwards":       {connectionKey, good[:len(good)-4] + "AAAA", http.StatusUnauthorized, "invalid_user_token"},
		"nonsense":                 {connectionKey, "a.b.c", http.StatusUnauthorized, "invalid_user_token"},
		"our own access token":     {"ada-token", "", http.StatusOK, ""},
		"somebody's access token":  {"bob-token", "", http.StatusUnauthorized, "invalid_api_key"},
	} {
		header := []string{"Authorization", "Bearer " + test.bearer}
		if test.token != "" {
			header = append(header, "X-OpenWebUI-User-Jwt", test.token)
		}
		header = append(header, "X-OpenWebUI-User-Email", "ada@example.com", "X-OpenWebUI-User-Id", "ada", "X-OpenWebUI-User-Role", "admin")
		for _, path := range []string{chat.CompletionsPath, "/v1/embeddings"} {
			r := w.send(t, "POST", path, `{"model": "smart-assistant", "input": "hello", "messages": [{"role": "user", "content": "help"}]}`, header...)
			if r.StatusCode != test.status {
				t.Errorf("%s, %s: %s %s, want %d", name, path, r.Status, r.text, test.status)
			} else if test.status != http.StatusOK && r.errorCode(t) != test.code {
				t.Errorf("%s, %s: %s", name, path, r.text)
			}
		}
		if r := w.send(t, "POST", "/tools/list_applications", `{}`, header...); r.StatusCode != test.status {
			t.Errorf("%s, a tool: %s %s, want %d", name, r.Status, r.text, test.status)
		}
	}
}

func TestTwoUserTokens(t *testing.T) {
	w := start(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/tools/list_applications", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+connectionKey)
	for range 2 {
		request.Header.Add("X-OpenWebUI-User-Jwt", userToken(t, jwt.SigningMethodHS256, []byte(userTokenKey), nil))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("two tokens: %s", response.Status)
	}
}

func TestWithoutKeys(t *testing.T) {
	w := start(t, func(c *chat.Config) { c.ConnectionKey, c.UserTokenKey = "", "" })
	for _, bearer := range []string{"Bearer ", "Bearer", "", connectionKey, "Basic YTpi"} {
		r := w.send(t, "GET", "/v1/models", "", "Authorization", bearer, "X-OpenWebUI-User-Jwt", userToken(t, jwt.SigningMethodHS256, []byte{}, nil))
		if r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %s", bearer, r.Status)
		}
	}
}

func TestKeysThatWillNotDo(t *testing.T) {
	for _, keys := range [][2]string{{connectionKey, ""}, {"", userTokenKey}, {connectionKey, connectionKey}, {"short", userTokenKey}, {connectionKey, "short"}} {
		if _, err := chat.New(chat.Config{Now: time.Now, ConnectionKey: keys[0], UserTokenKey: keys[1]}); err == nil {
			t.Errorf("%q was taken", keys)
		}
	}
}

func TestTooManyRequests(t *testing.T) {
	w := start(t, func(c *chat.Config) {
		c.Allow = func(_ context.Context, user string) (time.Duration, bool) {
			return 1500 * time.Millisecond, user != "ada"
		}
	})
	r := w.send(t, "POST", chat.CompletionsPath, `{}`)
	if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") != "2" || r.errorCode(t) != "rate_limit_exceeded" {
		t.Errorf("%s %v %s", r.Status, r.Header, r.text)
	}
}
