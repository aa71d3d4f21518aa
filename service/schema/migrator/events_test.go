package migrator_test

import (
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/schema"
)

const expand = "-- phase: expand\n"

const concurrentIndex = expand + "-- +goose NO TRANSACTION\n-- +goose Up\n" +
	"CREATE INDEX CONCURRENTLY IF NOT EXISTS \"Odd name\" ON a (x);\n-- +goose Down\nDROP INDEX CONCURRENTLY IF EXISTS \"Odd name\";\n"

var tables = map[string]string{
	"00001_a.sql": expand + "-- +goose Up\nCREATE TABLE a ();\n-- +goose Down\nDROP TABLE a;\n",
	"00002_b.sql": expand + "-- +goose Up\nCREATE TABLE b ();\n-- +goose Down\nDROP TABLE b;\n",
	"00003_c.sql": expand + "-- +goose Up\nCREATE TABLE c ();\n-- +goose Down\nDROP TABLE c;\n",
}

func threeTables(t *testing.T) schema.Set { t.Helper(); return load(t, tables) }

func load(t *testing.T, files map[string]string) schema.Set {
	t.Helper()
	dir := fstest.MapFS{}
	for name, text := range files {
		dir[name] = &fstest.MapFile{Data: []byte(text), Mode: fs.ModePerm}
	}
	set, err := schema.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// recorder keeps events and shows them as "<event> <version>".
type recorder struct {
	mu     sync.Mutex
	events []schema.Event
}

func (r *recorder) report(e schema.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var words []string
	for _, e := range r.events {
		word := string(e.Event)
		if e.Version != 0 {
			word += fmt.Sprint(" ", e.Version)
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func (r *recorder) first(kind schema.EventKind) schema.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Event == kind {
			return e
		}
	}
	return schema.Event{}
}

func waiting(t *testing.T, conn *pgx.Conn, locktype string) bool {
	t.Helper()
	var found bool
	err := conn.QueryRow(t.Context(), `
		SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
		               WHERE locktype = $1 AND NOT granted AND datname = current_database())`, locktype).Scan(&found)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
