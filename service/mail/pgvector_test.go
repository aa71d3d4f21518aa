package mail_test

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/test/npm"
)

// testPgvector: pgvector and the way without it find the same neighbours, in the same order.
func testPgvector(t *testing.T, w *world) {
	user, other := w.user(t), w.user(t)
	with, err := pgx.Connect(t.Context(), startPglite(t))
	if err != nil {
		t.Fatal(err)
	}
	defer with.Close(context.WithoutCancel(t.Context()))
	if _, err := with.Exec(t.Context(), `CREATE TABLE emails (id uuid, user_id uuid, fingerprint bytea, received_at timestamptz, size bigint, category text,
		score real, reason text, classifier integer, snippet bytea, body bytea, search tsvector, created_at timestamptz)`); err != nil {
		t.Fatal(err)
	}
	if _, err := with.Exec(t.Context(), "CREATE TABLE embeddings (item_id uuid, model text, user_id uuid, kind text, vector real[], created_at timestamptz)"); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	const insert = "INSERT INTO embeddings (item_id, model, user_id, kind, vector, created_at) VALUES ($1, $2, $3, $4, $5, now())"
	const email = `INSERT INTO emails (id, user_id, fingerprint, received_at, size, category, score, reason, classifier, snippet, body, search, created_at)
		VALUES ($1::uuid, $2, sha256($1::uuid::text::bytea), now(), 1, 'other', 1, '', 1, '', '', '', now())`
	add := func(id uuid.UUID, user, kind, model string, vector []float32) {
		for _, exec := range []func(context.Context, string, ...any) error{
			func(ctx context.Context, sql string, args ...any) error {
				_, err := with.Exec(ctx, sql, args...)
				return err
			},
			func(ctx context.Context, sql string, args ...any) error {
				_, err := w.pool.Exec(ctx, sql, args...)
				return err
			},
		} {
			if err := exec(t.Context(), email, id, user); err != nil {
				t.Fatal(err)
			}
			if err := exec(t.Context(), insert, id, model, user, kind, vector); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 300 {
		id := uuid.UUID{0: byte(i >> 8), 1: byte(i), 6: 0x70, 8: 0x80}
		add(id, []string{user, user, user, other}[i%4], "email", "m", direction(random, 16))
		if i%10 == 0 {
			add(uuid.New(), user, "posting", "m", direction(random, 16))
			add(uuid.New(), user, "email", "another", direction(random, 16))
			add(uuid.New(), user, "email", "m", direction(random, 8))
		}
	}
	for range 20 {
		query := direction(random, 16)
		a, as, byVector, err := mail.Nearest(t.Context(), with, user, "m", query, 25)
		if err != nil || !byVector {
			t.Fatalf("with pgvector: %t %v", byVector, err)
		}
		b, bs, byVector, err := mail.Nearest(t.Context(), w.pool, user, "m", query, 25)
		if err != nil || byVector {
			t.Fatalf("without: %t %v", byVector, err)
		}
		if len(a) != 25 || !slices.Equal(a, b) || !slices.EqualFunc(as, bs, func(x, y float64) bool { return math.Abs(x-y) < 1e-5 }) {
			t.Fatalf("with    %v %v\nwithout %v %v", a, as, b, bs)
		}
	}
}

// direction is a vector of length 1.
func direction(random *rand.Rand, n int) []float32 {
	vector, square := make([]float32, n), 0.0
	for i := range vector {
		vector[i] = float32(random.NormFloat64())
		square += float64(vector[i]) * float64(vector[i])
	}
	for i := range vector {
		vector[i] = float32(float64(vector[i]) / math.Sqrt(square))
	}
	return vector
}

// startPglite starts a PostgreSQL with pgvector, which Debian does not have for every version, and returns its URL.
func startPglite(t *testing.T) string {
	t.Helper()
	server := exec.CommandContext(t.Context(), "node", "serve.mjs")
	server.Dir, server.Stderr = npm.Install(t, "testdata/pgvector"), os.Stderr
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = server.Wait() })
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("PGlite did not start: %v", err)
	}
	return fmt.Sprintf("postgres://postgres:postgres@127.0.0.1:%s/postgres?sslmode=disable", strings.TrimSpace(port))
}
