package mail_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/test/database"
)

// TestMail runs every test below on one PostgreSQL server, each with a database of its own.
func TestMail(t *testing.T) {
	server := database.Start(t)
	for name, test := range map[string]func(*testing.T, *world){
		"ListAndRead":         testListAndRead,
		"Filters":             testFilters,
		"BadInput":            testBadInput,
		"Attachments":         testAttachments,
		"CorrectAndDelete":    testCorrectAndDelete,
		"Tenants":             testTenants,
		"Sealed":              testSealed,
		"Search":              testSearch,
		"Similar":             testSimilar,
		"SimilarIsBounded":    testSimilarIsBounded,
		"SimilarInTurns":      testSimilarInTurns,
		"Import":              testImport,
		"ImportFormats":       testImportFormats,
		"ImportIsCutOff":      testImportIsCutOff,
		"ImportTwiceAtOnce":   testImportTwiceAtOnce,
		"ImportIsKilled":      testImportIsKilled,
		"OneImportAUser":      testOneImportAUser,
		"SlowImport":          testSlowImport,
		"ImportComposesFirst": testImportComposesFirst,
		"LargeMessages":       testLargeMessages,
		"TooLargeImport":      testTooLargeImport,
		"Store":               testStore,
		"StoreIsRolledBack":   testStoreIsRolledBack,
		"Observers":           testObservers,
		"Export":              testExport,
		"Reclassify":          testReclassify,
		"EmbeddedByAModel":    testEmbeddedByAModel,
		"QueriesUseIndexes":   testQueriesUseIndexes,
		"SearchIsPlannedAnew": testSearchIsPlannedAnew,
		"HostileMailIsStored": testHostileMailIsStored,
		"Pgvector":            testPgvector,
	} {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, server.New(t))) })
	}
}

// world is a service of mail behind its routes, on a database.
type world struct {
	url     string
	pool    *pgxpool.Pool
	config  mail.Config
	service *mail.Service
	handler http.Handler
}

type callerKey struct{}

func newWorld(t testing.TB, url string, change ...func(*mail.Config)) *world {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	keyring, err := encryption.Parse([]byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{url: url, pool: pool, config: mail.Config{
		Pool: pool, Keyring: keyring, Metrics: telemetry.NewMetrics("v1", "abc"), Log: slog.New(slog.DiscardHandler), Now: telemetry.SystemClock,
		Caller:   func(ctx context.Context) string { return ctx.Value(callerKey{}).(string) },
		IndexKey: indexKey,
	}}
	for _, c := range change {
		c(&w.config)
	}
	if w.service, err = mail.New(w.config); err != nil {
		t.Fatal(err)
	}
	router := chi.NewRouter()
	api := humachi.New(router, huma.DefaultConfig("test", "1"))
	group := huma.NewGroup(api)
	group.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		next(huma.WithValue(ctx, callerKey{}, ctx.Header("X-User")))
	})
	w.service.Routes(group)
	w.handler = router
	return w
}

// indexKey is a key of each user's own.
func indexKey(_ context.Context, _ maildb.DBTX, userID string) ([]byte, error) {
	sum := sha256.Sum256([]byte(userID))
	return sum[:], nil
}

// user makes a user.
func (w *world) user(t testing.TB) (id string) {
	t.Helper()
	err := w.pool.QueryRow(t.Context(), `INSERT INTO users (email, password_hash, created_at) VALUES (gen_random_uuid() || '@example.org', '', now()) RETURNING id`).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// call sends a request as a user.
func (w *world) call(t testing.TB, user, method, path string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, path, body)
	request.Header.Set("X-User", user)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, request)
	return answer
}

// get reads JSON from a route.
func get[T any](t testing.TB, w *world, user, path string) (value T) {
	t.Helper()
	answer := w.call(t, user, http.MethodGet, path, nil)
	if answer.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, answer.Code, answer.Body)
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

type list struct {
	Items      []mail.Summary `json:"items"`
	NextCursor string         `json:"next_cursor"`
}

func (l list) subjects() string {
	var subjects []string
	for _, item := range l.Items {
		subjects = append(subjects, item.Subject)
	}
	return strings.Join(subjects, ", ")
}

// add stores messages for a user.
func (w *world) add(t testing.TB, user string, raws ...string) {
	t.Helper()
	for _, raw := range raws {
		if _, err := w.store(t.Context(), user, mail.Origin{}, raw); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) store(ctx context.Context, user string, origin mail.Origin, raw string) (stored mail.Stored, err error) {
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		all, err := w.service.Store(ctx, tx, user, mail.Incoming{Origin: origin, Raw: []byte(raw)})
		if err == nil {
			stored = all[0]
		}
		return err
	})
	return stored, err
}

// count asks the database for a number.
func (w *world) count(t testing.TB, sql string, args ...any) (n int) {
	t.Helper()
	if err := w.pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// letter writes a message that was sent on a day of March 2026.
func letter(day int, from, subject, text string) string {
	at := time.Date(2026, 3, day, 9, 30, 0, 0, time.UTC)
	return fmt.Sprintf("Message-ID: <%d.%x@test>\nFrom: %s\nTo: me@home.example\nSubject: %s\nDate: %s\n\n%s\n", day, sha256.Sum256([]byte(subject)), from, subject, at.Format(time.RFC1123Z), text)
}

// mbox makes a file of messages.
func mbox(raws ...string) string {
	var file strings.Builder
	for _, raw := range raws {
		file.WriteString("From a@x Mon Mar  2 10:00:00 2026\n" + raw + "\n")
	}
	return file.String()
}

// letters makes n different messages.
func letters(n int) []string {
	raws := make([]string, n)
	for i := range raws {
		raws[i] = letter(1+i%28, "Ann <ann@acme.example>", fmt.Sprintf("Number %d", i), fmt.Sprintf("This is message number %d of the pile.", i))
	}
	return raws
}
