package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/test/database"
)

type userKey struct{}

// shop is a service with one creating call, whose user is whoever the header User says.
type shop struct {
	http.Handler
	pool  *pgxpool.Pool
	idem  *api.Idempotency
	now   time.Time
	done  atomic.Int64
	fails atomic.Bool
	gate  chan struct{} // when set, a call waits in it
}

// newShop opens it under master keys, which letters stand for.
func newShop(t *testing.T, pool *pgxpool.Pool, masters string) *shop {
	t.Helper()
	var file strings.Builder
	for _, letter := range masters {
		fmt.Fprintln(&file, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(letter)}, 32)))
	}
	keyring, err := encryption.Parse([]byte(file.String()), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{pool: pool, now: time.Now()}
	caller := func(ctx context.Context) string { return ctx.Value(userKey{}).(string) }
	s.idem = api.NewIdempotency(pool, keyring, func() time.Time { return s.now }, caller, 1000)
	router := chi.NewRouter()
	root := humachi.New(router, huma.DefaultConfig("shop", "1"))
	group := huma.NewGroup(root)
	group.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		next(huma.WithValue(ctx, userKey{}, ctx.Header("User")))
	}, s.idem.Middleware(root))
	type order struct{ Body struct{ Item string } }
	type made struct {
		Location string `header:"Location"`
		Body     struct {
			Number int64
			For    string
		}
	}
	huma.Register(group, huma.Operation{OperationID: "order", Method: "POST", Path: "/orders", DefaultStatus: 201}, func(ctx context.Context, in *order) (*made, error) {
		if s.gate != nil {
			<-s.gate
		}
		n := s.done.Add(1)
		if s.fails.Load() {
			return nil, errors.New("out of paper")
		}
		out := &made{Location: fmt.Sprint("/orders/", n)}
		out.Body.Number, out.Body.For = n, caller(ctx)
		return out, nil
	})
	huma.Register(group, api.NotKept(huma.Operation{OperationID: "whisper", Method: "POST", Path: "/whispers"}), func(context.Context, *order) (*struct{}, error) {
		s.done.Add(1)
		return nil, nil
	})
	s.Handler = router
	return s
}

func (s *shop) user(t *testing.T) string {
	t.Helper()
	var id string
	if err := s.pool.QueryRow(t.Context(), `INSERT INTO users (email, password_hash, created_at) VALUES (gen_random_uuid() || '@example.org', '', now()) RETURNING id`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

func (s *shop) order(user, key, body string) *httptest.ResponseRecorder {
	return s.post("/orders", user, key, body)
}

func (s *shop) post(path, user, key, body string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	request.Header.Set("User", user)
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set(api.IdempotencyHeader, key)
	}
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, request)
	return answer
}

const pen = `{"Item":"pen"}`

func TestIdempotency(t *testing.T) {
	server := database.Start(t)
	for name, test := range map[string]func(*testing.T, *shop){
		"SecondCallGetsTheFirstAnswer": testSecondCall,
		"WithoutAKeyEachCallCounts":    testWithoutKey,
		"UsersAndKeysAreApart":         testApart,
		"AnotherBodyIsRefused":         testAnotherBody,
		"AtOnceItIsDoneOnce":           testAtOnce,
		"OurFailureIsForgotten":        testOurFailure,
		"ADeadCallIsTakenOver":         testTakenOver,
		"KeptSealedAndForADay":         testKeptForADay,
		"RequestsCannotBeGuessed":      testCannotBeGuessed,
		"AfterAChangeOfMasterKeys":     testAfterAChangeOfMasterKeys,
		"NotKept":                      testNotKept,
	} {
		t.Run(name, func(t *testing.T) { test(t, newShop(t, server.Pool(t), "a")) })
	}
}

func testSecondCall(t *testing.T, s *shop) {
	user := s.user(t)
	first, second := s.order(user, "k", pen), s.order(user, "k", pen)
	if first.Code != 201 || second.Code != 201 || first.Body.String() != second.Body.String() || s.done.Load() != 1 {
		t.Errorf("%d %s, then %d %s; done %d times", first.Code, first.Body, second.Code, second.Body, s.done.Load())
	}
	if second.Header().Get("Location") != first.Header().Get("Location") || second.Header().Get("Idempotency-Replayed") != "true" || first.Header().Get("Idempotency-Replayed") != "" {
		t.Errorf("headers: %v, then %v", first.Header(), second.Header())
	}
	if !strings.Contains(first.Body.String(), user) {
		t.Errorf("the handler does not know who calls: %s", first.Body)
	}
}

func testWithoutKey(t *testing.T, s *shop) {
	user := s.user(t)
	s.order(user, "", pen)
	s.order(user, "", pen)
	if s.done.Load() != 2 {
		t.Errorf("done %d times", s.done.Load())
	}
}

func testApart(t *testing.T, s *shop) {
	one, two := s.user(t), s.user(t)
	s.order(one, "k", pen)
	s.order(two, "k", pen)
	s.order(one, "other", pen)
	if s.done.Load() != 3 {
		t.Errorf("done %d times", s.done.Load())
	}
}

func testAnotherBody(t *testing.T, s *shop) {
	user := s.user(t)
	s.order(user, "k", pen)
	if answer := s.order(user, "k", `{"Item":"ink"}`); answer.Code != 422 || s.done.Load() != 1 {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if answer := s.order(user, strings.Repeat("k", 201), pen); answer.Code != 422 {
		t.Errorf("a long key: %d", answer.Code)
	}
	if answer := s.order(user, "big", `{"Item":"`+strings.Repeat("x", 2000)+`"}`); answer.Code != 201 {
		t.Errorf("a body above the limit does not reach the operation whole: %d %s", answer.Code, answer.Body)
	}
}

func testAtOnce(t *testing.T, s *shop) {
	user := s.user(t)
	s.gate = make(chan struct{})
	codes := make(chan int, 8)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { codes <- s.order(user, "k", pen).Code })
	}
	for range 7 {
		if code := <-codes; code != 409 {
			t.Errorf("while the first is under way: %d", code)
		}
	}
	close(s.gate)
	all.Wait()
	if code := <-codes; code != 201 || s.done.Load() != 1 {
		t.Errorf("%d, done %d times", code, s.done.Load())
	}
}

func testOurFailure(t *testing.T, s *shop) {
	user := s.user(t)
	s.fails.Store(true)
	if answer := s.order(user, "k", pen); answer.Code != 500 {
		t.Fatalf("%d", answer.Code)
	}
	s.fails.Store(false)
	if answer := s.order(user, "k", pen); answer.Code != 201 {
		t.Errorf("tried again: %d %s", answer.Code, answer.Body)
	}
}

func testTakenOver(t *testing.T, s *shop) {
	user := s.user(t)
	s.order(user, "k", pen)
	if _, err := s.pool.Exec(t.Context(), "UPDATE idempotency_keys SET status = NULL, answer = NULL"); err != nil { // as kill -9 leaves it
		t.Fatal(err)
	}
	if answer := s.order(user, "k", pen); answer.Code != 409 || answer.Header().Get("Retry-After") == "" {
		t.Errorf("at once: %d", answer.Code)
	}
	s.now = s.now.Add(2 * time.Minute)
	if answer := s.order(user, "k", pen); answer.Code != 201 {
		t.Errorf("two minutes on: %d %s", answer.Code, answer.Body)
	}
}

func testKeptForADay(t *testing.T, s *shop) {
	user := s.user(t)
	s.order(user, "k", pen)
	var kept []byte
	if err := s.pool.QueryRow(t.Context(), "SELECT answer FROM idempotency_keys").Scan(&kept); err != nil || bytes.Contains(kept, []byte("Number")) {
		t.Errorf("%v: %q", err, kept)
	}
	if n, err := s.idem.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("swept %d early, %v", n, err)
	}
	s.now = s.now.Add(25 * time.Hour)
	if n, err := s.idem.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
}

// testCannotBeGuessed: what tells requests apart cannot be computed without the master key, so that nobody tries out what was in them.
func testCannotBeGuessed(t *testing.T, s *shop) {
	user := s.user(t)
	kept := func(s *shop) (hash []byte) {
		s.order(user, "k", pen)
		if err := s.pool.QueryRow(t.Context(), "DELETE FROM idempotency_keys RETURNING request_hash").Scan(&hash); err != nil {
			t.Fatal(err)
		}
		return hash
	}
	if first := kept(s); !bytes.Equal(first, kept(s)) || bytes.Equal(first, kept(newShop(t, s.pool, "b"))) {
		t.Error("the same request has two hashes under one master key, or one under two")
	}
}

// testAfterAChangeOfMasterKeys: a call is known again while the old key is still there, also one that was left without an answer.
func testAfterAChangeOfMasterKeys(t *testing.T, s *shop) {
	user := s.user(t)
	s.order(user, "k", pen)
	later := newShop(t, s.pool, "ba")
	if answer := later.order(user, "k", pen); answer.Code != 201 || answer.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("answered: %d %s", answer.Code, answer.Body)
	}
	if _, err := s.pool.Exec(t.Context(), "UPDATE idempotency_keys SET status = NULL, answer = NULL"); err != nil {
		t.Fatal(err)
	}
	later.now = later.now.Add(2 * time.Minute)
	if answer := later.order(user, "k", pen); answer.Code != 201 || later.done.Load() != 1 {
		t.Errorf("left: %d %s", answer.Code, answer.Body)
	}
	if answer := newShop(t, s.pool, "b").order(user, "k", pen); answer.Code != 201 || answer.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("taken over, it is not kept under the new key: %d %s", answer.Code, answer.Body)
	}
}

func testNotKept(t *testing.T, s *shop) {
	user := s.user(t)
	s.post("/whispers", user, "k", pen)
	s.post("/whispers", user, "k", pen)
	var rows int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM idempotency_keys").Scan(&rows); err != nil || rows != 0 || s.done.Load() != 2 {
		t.Errorf("%d rows, done %d times, %v", rows, s.done.Load(), err)
	}
}
