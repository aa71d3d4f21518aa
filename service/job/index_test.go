package job_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Each query finds its rows by an index: with sequential scans priced out, no plan has one. A benchmark on a million rows says how
// fast that is.
func testIndexes(t *testing.T, w *world) {
	file, err := os.ReadFile("queries.sql")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := w.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"); err != nil {
		t.Fatal(err)
	}
	parameter, checked := regexp.MustCompile(`@[a-z_]+`), 0
	for query := range strings.SplitSeq(string(file), "-- name: ") {
		name, sql, _ := strings.Cut(query, "\n")
		if name, _, _ = strings.Cut(name, " "); name == "" || name == "--" || strings.Contains(sql, "INSERT") || strings.Contains(sql, "advisory") {
			continue
		}
		numbers := map[string]int{}
		sql = parameter.ReplaceAllStringFunc(sql, func(p string) string {
			if numbers[p] == 0 {
				numbers[p] = len(numbers) + 1
			}
			return "$" + strconv.Itoa(numbers[p])
		})
		sql, _, _ = strings.Cut(sql, ";")
		if _, err := conn.Exec(t.Context(), "PREPARE "+name+" AS "+sql); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		nulls := strings.TrimPrefix(strings.Repeat(", NULL", len(numbers)), ", ")
		rows, err := conn.Query(t.Context(), "EXPLAIN EXECUTE "+name+"("+nulls+")", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan") || !strings.Contains(text, "Index") {
			t.Errorf("%s:\n%s", name, text)
		}
		checked++
	}
	if checked < 20 {
		t.Errorf("only %d queries were checked", checked)
	}
}
