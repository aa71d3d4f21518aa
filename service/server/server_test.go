package server_test

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
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/schema/migrator"
	"github.com/smart-assistant/platform/service/server"
	"github.com/smart-assistant/platform/service/telemetry"
)

// TestService runs every test below against replicas on one PostgreSQL server, each test with a database of its own.
func TestService(t *testing.T) {
	postgres := postgrestest.Start(t)
	migrate(t, postgres.URL("postgres")) // new databases are copies of it
	for name, test := range map[string]func(*testing.T, *world){
		"Account":                testAccount,
		"EmailIsTaken":           testEmailIsTaken,
		"PasswordLength":         testPasswordLength,
		"UnknownUserLooksKnown":  testUnknownUserLooksKnown,
		"InvalidInput":           testInvalidInput,
		"UsersAreApart":          testUsersAreApart,
		"TenantMatrix":           testTenantMatrix,
		"NobodyIsLetIn":          testNobodyIsLetIn,
		"ForeignIDs":             testForeignIDs,
		"DeletedUserIsOut":       testDeletedUserIsOut,
		"ExportIsEverything":     testExportIsEverything,
		"TokenTheft":             testTokenTheft,
		"TheftWithinTheGrace":    testTheftWithinTheGrace,
		"RefreshTwiceAtOnce":     testRefreshTwiceAtOnce,
		"SessionEnds":            testSessionEnds,
		"Sweep":                  testSweep,
		"AccessTokenAttacks":     testAccessTokenAttacks,
		"KeyRotation":            testKeyRotation,
		"OutAtOnce":              testOutAtOnce,
		"Sessions":               testSessions,
		"PasswordChange":         testPasswordChange,
		"Lockout":                testLockout,
		"CommonPasswords":        testCommonPasswords,
		"KeysRotate":             testKeysRotate,
		"KeysRevoked":            testKeysRevoked,
		"Forgeries":              testForgeries,
		"DeletionAsks":           testDeletionAsks,
		"AdminOnly":              testAdminOnly,
		"Export":                 testExport,
		"MailProvesAddresses":    testMailProvesAddresses,
		"RegisteredBeforeMe":     testRegisteredBeforeMe,
		"FirstProof":             testFirstProof,
		"NoMail":                 testNoMail,
		"Enumeration":            testEnumeration,
		"BriefingSchedule":       testBriefingSchedule,
		"NoSecretsInLogs":        testNoSecretsInLogs,
		"SecretsStaySecret":      testSecretsStaySecret,
		"SealedBelongs":          testSealedBelongs,
		"MovedDoesNotOpen":       testMovedDoesNotOpen,
		"RequestIDs":             testRequestIDs,
		"Limits":                 testLimits,
		"OpenAPI":                testOpenAPI,
		"Spectral":               testSpectral,
		"OperationsAreDescribed": testOperationsAreDescribed,
		"DocsPage":               testDocsPage,
		"Metrics":                testMetrics,
		"MetricsFormat":          testMetricsFormat,
		"ReadyFollowsTheSchema":  testReadyFollowsTheSchema,
		"DrainDropsNothing":      testDrainDropsNothing,
		"DrainFinishesRequests":  testDrainFinishesRequests,
		"Allow":                  testAllow,
		"Head":                   testHead,
		"PrivatePort":            testPrivatePort,
		"Traces":                 testTraces,
		"PasswordsAreNotKept":    testPasswordsAreNotKept,
		"SecurityHeaders":        testSecurityHeaders,
		"TrustedHosts":           testTrustedHosts,
		"CrossOrigin":            testCrossOrigin,
		"RateLimitPerAddress":    testRateLimitPerAddress,
		"UndeclaredProxy":        testUndeclaredProxy,
		"WellFormed":             testWellFormed,
		"ForwardedIsNotBelieved": testForwardedIsNotBelieved,
		"RateLimitsHoldTogether": testRateLimitsHoldTogether,
		"Chat":                   testChat,
		"ChatSearches":           testChatSearches,
		"ToolsDoOnce":            testToolsDoOnce,
		"OpenWebUIUsers":         testOpenWebUIUsers,
		"ErrorsAsExpected":       testErrorsAsExpected,
		"ChatOutlivesTheTimeout": testChatOutlivesTheTimeout,
		"PortIsTaken":            testPortIsTaken,
		"DatabaseNeedNotBeThere": testDatabaseNeedNotBeThere,
	} {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, postgres)) })
	}
}

// world is one test's database, clock, keys and log, shared by the replicas that it starts.
type world struct {
	postgres *postgrestest.Server
	url      string
	key      *ecdsa.PrivateKey
	keys     account.Keys
	keyring  *encryption.Keyring
	ahead    atomic.Int64 // nanoseconds that the replicas' clock is ahead of ours
	log      buffer
	build    server.Build
}

func newWorld(t *testing.T, postgres *postgrestest.Server) *world {
	t.Helper()
	admin := connect(t, postgres.URL("template1"))
	name := "test_" + strings.ToLower(t.Name()[strings.LastIndexByte(t.Name(), '/')+1:])
	exec(t, admin, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE postgres")
	w := &world{postgres: postgres, url: postgres.URL(name), build: server.Build{Version: "v0.0.1", Commit: "abc", Go: "go"}}
	w.key = newKey(t)
	w.keys = parseKeys(t, w.key)
	var err error
	if w.keyring, err = encryption.Parse([]byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))), rand.Reader); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

// replica is a running server.
type replica struct {
	url     string
	metrics string
	stop    func() error // SIGTERM, as far as Run is concerned; returns what Run returned
}

// start runs a replica until the test ends or stop is called.
func (w *world) start(t *testing.T, change ...func(*server.Config)) *replica {
	t.Helper()
	set, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	listening := make(chan [2]net.Addr, 1)
	config := server.Config{
		Build: w.build, DatabaseURL: w.url, Schema: set, Keys: w.keys, Keyring: w.keyring,
		Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
		Listening:  func(api, metrics net.Addr) { listening <- [2]net.Addr{api, metrics} },
		DrainDelay: time.Millisecond, BcryptCost: 4, // the least: tests hash a lot
		Log: telemetry.NewLogger(&w.log, slog.LevelDebug), Now: w.now, Rand: rand.Reader,
	}
	for _, c := range change {
		c(&config)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, config) }()
	r := &replica{stop: sync.OnceValue(func() error { cancel(); return <-done })}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("replica: %v", err)
		}
	})
	select {
	case addresses := <-listening:
		r.url = "http://" + addresses[0].String()
		if addresses[1] != nil {
			r.metrics = "http://" + addresses[1].String()
		}
	case err := <-done:
		done <- err
		t.Fatalf("the replica did not start: %v", err)
	}
	return r
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	text string
}

// try sends a request; body is marshalled unless it is a string. Only a request that could not be sent is an error.
func try(ctx context.Context, method, url, token string, body any, change ...func(*http.Request)) (answer, error) {
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for _, c := range change {
		c(request)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response, string(text)}, err
}

func (r *replica) call(t *testing.T, method, path, token string, body any) answer {
	t.Helper()
	a, err := try(t.Context(), method, r.url+path, token, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// want calls and insists on the status.
func (r *replica) want(t *testing.T, status int, method, path, token string, body any) answer {
	t.Helper()
	a := r.call(t, method, path, token, body)
	if a.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d: %s", method, path, a.Status, status, a.text)
	}
	return a
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.text), into); err != nil {
		t.Fatalf("%v in %s", err, a.text)
	}
}

type object = map[string]any

const password = "correct horse battery"

// user registers and logs in.
func (r *replica) user(t *testing.T, email string) account.Tokens {
	t.Helper()
	r.want(t, http.StatusCreated, "POST", "/api/v1/auth/register", "", object{"email": email, "password": password})
	return r.login(t, email)
}

func (r *replica) login(t *testing.T, email string) account.Tokens {
	t.Helper()
	var tokens account.Tokens
	r.want(t, http.StatusOK, "POST", "/api/v1/auth/login", "", object{"email": email, "password": password}).decode(t, &tokens)
	return tokens
}

func migrate(t *testing.T, url string) {
	t.Helper()
	set, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	m, err := migrator.Open(url, set, migrator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Up(t.Context(), 0), m.Close()); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parseKeys(t *testing.T, keys ...*ecdsa.PrivateKey) account.Keys {
	t.Helper()
	var text []byte
	for _, key := range keys {
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
	}
	parsed, err := account.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// buffer is a log that several goroutines write.
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

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("30 s on, this still does not hold: %s", what)
		}
	}
}
