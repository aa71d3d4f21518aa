package server_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/server"
	"github.com/smart-assistant/platform/test/valkey"
)

// head is an answer without its body.
type head struct {
	StatusCode int
	Header     http.Header
}

// ask sends a request with headers; Host is the request's own.
func (r *replica) ask(t *testing.T, method, path string, headers map[string]string) head {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		if request.Header.Set(name, value); name == "Host" {
			request.Host = value
		}
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return head{response.StatusCode, response.Header}
}

func testSecurityHeaders(t *testing.T, w *world) {
	r := w.start(t)
	for _, path := range []string{"/health", "/api/v1/me", "/openapi.json", "/docs", "/no/such/route"} {
		h := r.ask(t, "GET", path, nil).Header
		for name, want := range map[string]string{
			"Strict-Transport-Security": "max-age=", "Content-Security-Policy": "default-src 'none'", "X-Frame-Options": "DENY",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		} {
			if !strings.HasPrefix(h.Get(name), want) {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
	}
}

func testTrustedHosts(t *testing.T, w *world) {
	r := w.start(t, func(c *server.Config) { c.Access.Hosts = []string{"api.example.org"} })
	for host, status := range map[string]int{
		"api.example.org": 200, "API.example.org:8080": 200, "api.example.org.": 200, "evil.example": 421, "127.0.0.1": 200, "127.0.0.2": 421, "[::1]": 421, "api.example.org.evil.example": 421,
	} {
		if got := r.ask(t, "GET", "/version", map[string]string{"Host": host}).StatusCode; got != status {
			t.Errorf("host %s: %d, want %d", host, got, status)
		}
	}
	if got := r.ask(t, "GET", "/ready", nil).StatusCode; got != 200 {
		t.Errorf("a probe: %d", got)
	}
}

func testCrossOrigin(t *testing.T, w *world) {
	r := w.start(t, func(c *server.Config) { c.Access.Origins = []string{"https://app.example.org"} })
	for origin, allowed := range map[string]string{
		"https://app.example.org": "https://app.example.org", "https://evil.example": "", "http://app.example.org": "",
		"https://app.example.org.evil.example": "", "null": "",
	} {
		response := r.ask(t, "OPTIONS", "/api/v1/me", map[string]string{
			"Origin": origin, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type",
		})
		if got := response.Header.Get("Access-Control-Allow-Origin"); got != allowed {
			t.Errorf("%s: allowed %q", origin, got)
		}
		if response.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s may send cookies", origin)
		}
		// The browser that begins a log-in elsewhere is known again by a cookie, so there the listed origins may send it.
		response = r.ask(t, "OPTIONS", "/api/v1/oauth/exchange", map[string]string{"Origin": origin, "Access-Control-Request-Method": "POST"})
		if got := response.Header.Get("Access-Control-Allow-Credentials") == "true"; got != (allowed != "") {
			t.Errorf("%s may send the cookie of a log-in: %t", origin, got)
		}
	}
	if h := w.start(t).ask(t, "GET", "/version", map[string]string{"Origin": "https://app.example.org"}).Header; h.Get("Access-Control-Allow-Origin") != "" {
		t.Error("without a list every origin is let in")
	}
}

// counted are limits that a test can reach; nobody is exempt.
func counted(c *server.Config) {
	c.Access = server.Access{PerAddress: 20, AuthPerAddress: 5, Unlimited: []netip.Prefix{}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
}

func testRateLimitPerAddress(t *testing.T, w *world) {
	r := w.start(t, counted)
	passed := func(method, path string, forwarded func(i int) string) (n int) {
		for i := range 30 {
			response := r.ask(t, method, path, map[string]string{"X-Forwarded-For": forwarded(i)})
			switch {
			case response.StatusCode != http.StatusTooManyRequests:
				n++
			case response.Header.Get("Retry-After") == "":
				t.Error("refused without Retry-After")
			}
		}
		return n
	}
	is := func(address string) func(int) string { return func(int) string { return address } }
	// The limit regains while the test runs: 20 a minute is one in 3 s.
	for name, test := range map[string]struct {
		method, path string
		forwarded    func(int) string
		least, most  int
	}{
		"one address":                       {"GET", "/version", is("203.0.113.1"), 20, 25},
		"invented addresses before it":      {"GET", "/version", func(i int) string { return fmt.Sprintf("10.0.0.%d, 203.0.113.2", i) }, 20, 25},
		"one IPv6 network":                  {"GET", "/version", func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, 20, 25},
		"thirty addresses":                  {"GET", "/version", func(i int) string { return fmt.Sprintf("198.51.100.%d", i) }, 30, 30},
		"log-ins":                           {"POST", "/api/v1/auth/login", is("203.0.113.3"), 5, 8},
		"a client that has a port":          {"GET", "/version", func(i int) string { return fmt.Sprintf("203.0.113.4:%d", 1000+i) }, 20, 25},
		"what is no address counts as peer": {"GET", "/version", is("for=unknown"), 20, 25},
	} {
		if n := passed(test.method, test.path, test.forwarded); n < test.least || n > test.most {
			t.Errorf("%s: %d of 30 passed, want %d to %d", name, n, test.least, test.most)
		}
	}
	for range 40 {
		if status := r.ask(t, "GET", "/ready", nil).StatusCode; status != 200 {
			t.Fatalf("a probe is refused: %d", status)
		}
	}
}

// testUndeclaredProxy: this machine is not limited, but whoever it asks for is, even where nobody said that it is a proxy.
func testUndeclaredProxy(t *testing.T, w *world) {
	r := w.start(t, counted, func(c *server.Config) { c.Access.TrustedProxies, c.Access.Unlimited = nil, nil })
	for from, limited := range map[string]bool{"": false, "127.0.0.1": false, "203.0.113.1": true, "127.0.0.1, 203.0.113.1:80": true} {
		headers := map[string]string{}
		if from != "" {
			headers["X-Forwarded-For"] = from
		}
		refused := false
		for range 30 {
			refused = refused || r.ask(t, "GET", "/version", headers).StatusCode == http.StatusTooManyRequests
		}
		if refused != limited {
			t.Errorf("X-Forwarded-For %q: limited %t, want %t", from, refused, limited)
		}
	}
}

// testWellFormed sends text that PostgreSQL could not store.
func testWellFormed(t *testing.T, w *world) {
	r := w.start(t)
	token := r.user(t, "bytes@example.org").AccessToken
	for _, one := range []struct{ method, path, key string }{
		{"GET", "/api/v1/emails/search?q=%ff", ""},
		{"GET", "/api/v1/emails/search?q=%00", ""},
		{"GET", "/api/v1/emails/%ff", ""},
		{"GET", "/api/v1/admin/users?email_prefix=%ff", ""},
		{"GET", "/api/v1/oauth/any/login?return_to=https://app.example.org/%ff", ""},
		{"GET", "/version?%ff=1", ""},
		{"POST", "/api/v1/job-sources", "a\xffb"},
	} {
		headers := map[string]string{"Authorization": "Bearer " + token}
		if one.key != "" {
			headers["Idempotency-Key"] = one.key
		}
		answer := r.ask(t, one.method, one.path, headers)
		if answer.StatusCode != http.StatusBadRequest || answer.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s with the key %q: %d", one.method, one.path, one.key, answer.StatusCode)
		}
	}
}

// testForwardedIsNotBelieved: without a trusted proxy the header is whatever the client likes.
func testForwardedIsNotBelieved(t *testing.T, w *world) {
	r := w.start(t, counted, func(c *server.Config) { c.Access.TrustedProxies = nil })
	refused := 0
	for i := range 30 {
		if r.ask(t, "GET", "/version", map[string]string{"X-Forwarded-For": fmt.Sprintf("198.51.100.%d", i)}).StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 {
		t.Error("a client escapes its limit by a header")
	}
}

func testRateLimitsHoldTogether(t *testing.T, w *world) {
	cache := valkey.Start(t)
	shared := func(c *server.Config) { c.ValkeyURL, c.ValkeyPatience, c.Access.PerUser = cache.URL(), time.Minute, 30 }
	one, two := w.start(t, shared), w.start(t, shared)
	token := one.user(t, "many@example.org").AccessToken
	passed := func() (n int) {
		for i := range 60 {
			a := []*replica{one, two}[i%2].call(t, "GET", "/api/v1/me", token, nil)
			switch a.StatusCode {
			case http.StatusOK:
				n++
			case http.StatusTooManyRequests:
			default:
				t.Errorf("%s %s", a.Status, a.text)
			}
		}
		return n
	}
	if n := passed(); n < 30 || n > 40 {
		t.Errorf("two replicas let %d requests of 30 a minute through", n)
	}
	cache.Stop(t)
	if n := passed(); n < 55 {
		t.Errorf("without Valkey %d of 60 passed; each replica alone allows 30", n)
	}
	cache.Again(t)
	w.pass(2e9)
	if n := passed(); n < 30 || n > 40 {
		t.Errorf("Valkey is back: %d of 60 passed", n)
	}
}
