package job_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/work"
	"github.com/smart-assistant/platform/test/database"
)

func TestJobs(t *testing.T) {
	server := database.Start(t)
	for name, test := range map[string]func(*testing.T, *world){
		"disabled":                   testDisabled,
		"sources":                    testSources,
		"sources that cannot be":     testBadSources,
		"one job of two sources":     testDeduplication,
		"a changed title":            testChangedTitle,
		"titles that move on":        testTitlesMoveOn,
		"long names":                 testLongNames,
		"not modified":               testConditional,
		"failures":                   testFailures,
		"two replicas":               testTwoReplicas,
		"postings":                   testPostings,
		"applications":               testApplications,
		"versions":                   testVersions,
		"bad input":                  testBadInput,
		"suggestions":                testSuggestions,
		"accept once":                testAcceptOnce,
		"confirmed twice":            testConfirmedTwice,
		"mail that was there before": testLookBack,
		"mail that gives orders":     testHostileMail,
		"tenants":                    testTenants,
		"what is kept":               testExportAndSealed,
		"what changed":               testChanges,
		"queries use their indexes":  testIndexes,
	} {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, server.Pool(t))) })
	}
}

// world is a service on a database of the test's own, behind HTTP. Its clock stands still until the test moves it.
type world struct {
	pool    *pgxpool.Pool
	jobs    *job.Service
	queue   *work.Queue
	metrics *telemetry.Metrics
	url     string
	ring    *encryption.Keyring
	clock   *clock
	mail    *mailbox
	started sync.Once
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type callerKey struct{}

func newWorld(t *testing.T, pool *pgxpool.Pool) *world {
	t.Helper()
	ring, err := encryption.Parse([]byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), strings.NewReader(strings.Repeat("random", 100_000)))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{pool: pool, ring: ring, clock: &clock{now: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}, mail: &mailbox{}, metrics: telemetry.NewMetrics("test", "")}
	w.jobs, w.queue = w.replica(t, w.metrics)
	router := chi.NewRouter()
	router.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), callerKey{}, r.Header.Get("X-User"))))
		})
	})
	config := huma.DefaultConfig("test", "1")
	config.CreateHooks = nil
	w.jobs.Routes(humachi.New(router, config))
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// replica makes another service on the same database.
func (w *world) replica(t *testing.T, metrics *telemetry.Metrics) (*job.Service, *work.Queue) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	queue := work.New(work.Config{Pool: w.pool, Log: log})
	jobs, err := job.New(job.Config{
		Pool: w.pool, Keyring: w.ring, Queue: queue, Mail: w.mail, Outbound: outbound.New(netip.MustParsePrefix("127.0.0.1/32")), Metrics: metrics,
		Log: log, Now: w.clock.Now, Caller: func(ctx context.Context) string { id, _ := ctx.Value(callerKey{}).(string); return id },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Build(); err != nil {
		t.Fatal(err)
	}
	return jobs, queue
}

// user makes one.
func (w *world) user(t *testing.T) string {
	t.Helper()
	var id string
	err := w.pool.QueryRow(t.Context(), `INSERT INTO users (email, password_hash, created_at) VALUES ($1, '', now()) RETURNING id`,
		uuid.NewString()+"@example.org").Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// email stores a message as package mail does and tells the service of it in the same transaction.
func (w *world) email(t *testing.T, userID string, summary mail.Summary) string {
	t.Helper()
	summary.ID = uuid.Must(uuid.NewV7()).String()
	if summary.ReceivedAt.IsZero() {
		summary.ReceivedAt = w.clock.Now()
	}
	w.mail.add(userID, summary)
	err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO emails (id, user_id, fingerprint, received_at, size, category, score, reason, classifier, snippet, body, search, created_at)
			VALUES ($1, $2, sha256($3), now(), 1, $4, $5, '', 1, '', '', '', now())`, summary.ID, userID, []byte(summary.ID), string(summary.Category), summary.Score)
		if err != nil {
			return err
		}
		return w.jobs.EmailStored(t.Context(), tx, userID, summary)
	})
	if err != nil {
		t.Fatal(err)
	}
	return summary.ID
}

type (
	object  = map[string]any
	headers map[string]string
)

type response struct {
	*http.Response
	text string
}

func (r response) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.text), into); err != nil {
		t.Fatalf("%v in %s", err, r.text)
	}
}

func (w *world) call(t *testing.T, user, method, path string, body any, extra ...headers) response {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if raw, is := body.(string); is {
		text = []byte(raw)
	}
	if body == nil {
		text = nil
	}
	request, err := http.NewRequestWithContext(t.Context(), method, w.url+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-User", user)
	request.Header.Set("Content-Type", "application/json")
	for _, header := range extra {
		for name, value := range header {
			request.Header.Set(name, value)
		}
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{answer, string(got)}
}

// want calls and fails the test on another status.
func (w *world) want(t *testing.T, status int, user, method, path string, body any, extra ...headers) response {
	t.Helper()
	answer := w.call(t, user, method, path, body, extra...)
	if answer.StatusCode != status {
		t.Fatalf("%s %s: want %d, got %s %s", method, path, status, answer.Status, answer.text)
	}
	return answer
}

func get[T any](t *testing.T, w *world, user, path string) T {
	t.Helper()
	var got T
	w.want(t, http.StatusOK, user, http.MethodGet, path, nil).decode(t, &got)
	return got
}

func post[T any](t *testing.T, w *world, status int, user, path string, body any) T {
	t.Helper()
	var got T
	w.want(t, status, user, http.MethodPost, path, body).decode(t, &got)
	return got
}

type page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}

func (w *world) scan(t *testing.T, into any, query string, args ...any) {
	t.Helper()
	if err := w.pool.QueryRow(t.Context(), query, args...).Scan(into); err != nil {
		t.Fatal(err)
	}
}
