package signin_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/oauth2"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/signin"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/test/database"
)

const password = "correct horse battery"

// TestSignIn runs every test below on one PostgreSQL server, each with a database and a provider of its own.
func TestSignIn(t *testing.T) {
	server := database.Start(t)
	for name, test := range map[string]func(*testing.T, *world, *provider){
		"LogsIn":                    testLogsIn,
		"FlowIsBoundAndGoodOnce":    testFlowIsBoundAndGoodOnce,
		"TamperedTokensAreRefused":  testTamperedTokensAreRefused,
		"TamperedAnswersAreRefused": testTamperedAnswersAreRefused,
		"KeysRotate":                testKeysRotate,
		"EmailAloneMergesNothing":   testEmailAloneMergesNothing,
		"SamePersonTwiceAtOnce":     testSamePersonTwiceAtOnce,
		"UserInfoCompletes":         testUserInfoCompletes,
		"ReturnsWithACode":          testReturnsWithACode,
		"ReturnsNowhereElse":        testReturnsNowhereElse,
		"LinksAndUnlinks":           testLinksAndUnlinks,
		"LinkIsTheUsersOwn":         testLinkIsTheUsersOwn,
		"ConnectsGmail":             testConnectsGmail,
		"GmailIsRefused":            testGmailIsRefused,
		"ProviderIsDown":            testProviderIsDown,
		"Sweeps":                    testSweeps,
		"SecretsAreSealedAndUnsaid": testSecretsAreSealedAndUnsaid,
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			test(t, newWorld(t, server, p.configure), p)
		})
	}
}

// TestHTTPSCookie: where users come by https, no other host of the domain can plant the cookie.
func TestHTTPSCookie(t *testing.T) {
	p := newProvider(t)
	w := newWorld(t, database.Start(t), p.configure, func(c *signin.Config) { c.PublicURL = "https://api.example.org" })
	cookies := w.browser(t).want(t, 303, "GET", "/api/v1/oauth/idp/login", "", nil).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies", len(cookies))
	}
	c := cookies[0]
	if c.Name != "__Host-oauth_browser" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("%+v", c)
	}
}

// world is one test's service, on a database of its own.
type world struct {
	url      string
	pool     *pgxpool.Pool
	keyring  *encryption.Keyring
	accounts *account.Service
	service  *signin.Service
	mail     mailboxes
	log      buffer
	ahead    atomic.Int64 // nanoseconds that the service's clock is ahead of ours
}

func (w *world) now() time.Time       { return time.Now().Add(time.Duration(w.ahead.Load())) }
func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

// newWorld starts a service that knows the provider.
func newWorld(t testing.TB, server *database.Server, change ...func(*signin.Config)) *world {
	t.Helper()
	w := &world{pool: server.Pool(t)}
	log := telemetry.NewLogger(&w.log, slog.LevelDebug)
	var err error
	if w.keyring, err = encryption.Parse([]byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if w.accounts, err = account.New(account.Config{
		Pool: w.pool, Keyring: w.keyring, Keys: signingKeys(t), Issuer: "assistd", Audience: "assistd", Log: log, Now: w.now, Rand: rand.Reader, BcryptCost: 4,
	}); err != nil {
		t.Fatal(err)
	}
	router := chi.NewRouter()
	listening := httptest.NewServer(router)
	t.Cleanup(listening.Close)
	w.url = listening.URL
	config := signin.Config{
		Pool: w.pool, Keyring: w.keyring, Accounts: w.accounts, Mail: &w.mail, Caller: account.UserID, Log: log, Now: w.now, Rand: rand.Reader,
		PublicURL: w.url, ReturnTo: []string{"https://app.example.org"},
	}
	for _, c := range change {
		c(&config)
	}
	if w.service, err = signin.New(config); err != nil {
		t.Fatal(err)
	}
	w.accounts.OnDelete(w.service.Forget)
	w.serve(t, router, w.service)
	return w
}

// serve adds the routes of accounts and of a service to a router.
func (w *world) serve(t testing.TB, router chi.Router, service *signin.Service) {
	t.Helper()
	api := humachi.New(router, huma.DefaultConfig("test", "1"))
	private := huma.NewGroup(api)
	private.UseMiddleware(w.accounts.RequireUser(api))
	w.accounts.Routes(api, private)
	service.Routes(api, private)
}

func signingKeys(t testing.TB) account.Keys {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := account.ParseKeys(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// count is how many rows there are of what a log-in may create.
type count struct{ Users, Sessions, Identities int }

func (w *world) count(t testing.TB) (c count) {
	t.Helper()
	if err := w.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM sessions), (SELECT count(*) FROM identities)`).
		Scan(&c.Users, &c.Sessions, &c.Identities); err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := w.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// user makes an account with a password and logs it in.
func (w *world) user(t testing.TB, email string) (id, token string) {
	t.Helper()
	b := w.browser(t)
	var made struct{ ID string }
	b.want(t, 201, "POST", "/api/v1/auth/register", "", object{"email": email, "password": password}).decode(t, &made)
	var tokens account.Tokens
	b.want(t, 200, "POST", "/api/v1/auth/login", "", object{"email": email, "password": password}).decode(t, &tokens)
	return made.ID, tokens.AccessToken
}

type object map[string]any

// browser keeps cookies and follows no redirect by itself.
type browser struct {
	w      *world
	client *http.Client
}

func (w *world) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{w, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type response struct {
	*http.Response
	text string
}

func (r response) decode(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.text), into); err != nil {
		t.Fatalf("%s: %v", r.text, err)
	}
}

// call asks a route of the service, or a whole URL.
func (b *browser) call(t testing.TB, method, target, token string, body any) response {
	t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.w.url + target
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, target, content)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := b.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response{answer, string(text)}
}

func (b *browser) want(t testing.TB, status int, method, target, token string, body any) response {
	t.Helper()
	r := b.call(t, method, target, token, body)
	if r.StatusCode != status {
		t.Fatalf("%s %s: want %d, got %s: %s", method, withoutQuery(target), status, r.Status, r.text)
	}
	return r
}

func withoutQuery(target string) string { path, _, _ := strings.Cut(target, "?"); return path }

// walk follows redirects, and the forms of nobody, until the next one would lead to the service's callback, and returns that URL.
func (b *browser) walk(t testing.TB, target string) string {
	t.Helper()
	for range 20 {
		if strings.HasPrefix(target, b.w.url+"/api/v1/oauth/") && strings.Contains(target, "/callback?") {
			return target
		}
		r := b.call(t, "GET", target, "", nil)
		location := r.Header.Get("Location")
		if r.StatusCode/100 != 3 || location == "" {
			t.Fatalf("on the way to the callback: %s: %s %s", withoutQuery(target), r.Status, r.text)
		}
		base, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		next, err := base.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		target = next.String()
	}
	t.Fatal("the provider does not send the browser back")
	return ""
}

// toCallback logs in at the provider and returns where the provider sends the browser back to.
func (b *browser) toCallback(t testing.TB, provider string) string {
	t.Helper()
	return b.walk(t, b.w.url+"/api/v1/oauth/"+provider+"/login")
}

// login goes the whole way.
func (b *browser) login(t testing.TB, provider string) account.Tokens {
	t.Helper()
	var tokens account.Tokens
	b.want(t, 200, "GET", b.toCallback(t, provider), "", nil).decode(t, &tokens)
	if tokens.AccessToken == "" || tokens.RefreshToken == "" {
		t.Fatalf("no tokens: %+v", tokens)
	}
	return tokens
}

// set is the URL with a parameter changed; an empty value takes it away.
func set(t testing.TB, target, name, value string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Del(name)
	if value != "" {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

func parameter(t testing.TB, target, name string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

// mailboxes stands for package mail and keeps what it is given.
type mailboxes struct {
	userID, address string
	token           *oauth2.Token
}

func (m *mailboxes) ConnectGmail(_ context.Context, userID, address string, token *oauth2.Token) (string, error) {
	m.userID, m.address, m.token = userID, address, token
	return "0198f0a0-0000-7000-8000-000000000001", nil
}

// buffer is a log that may be written by many.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
