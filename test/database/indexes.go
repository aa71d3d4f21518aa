package database

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// parameter is how sqlc writes one.
var parameter = regexp.MustCompile(`sqlc\.narg\(['a-z_]+\)|@[a-z_]+`)

// WantIndexes checks that each query of a file for sqlc finds its rows by an index: with sequential scans priced out, no plan for
// whatever parameters has one.
func WantIndexes(t *testing.T, pool *pgxpool.Pool, file string) {
	t.Helper()
	text, err := os.ReadFile(file) //nolint:gosec // the test names the file
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"); err != nil {
		t.Fatal(err)
	}
	queries := strings.Split(string(text), "-- name: ")[1:]
	if len(queries) == 0 {
		t.Errorf("%s has no queries", file)
	}
	for _, query := range queries {
		heading, sql, _ := strings.Cut(query, "\n")
		name, _, _ := strings.Cut(heading, " ")
		plan, err := explain(t, conn.Conn(), name, sql)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s:\n%s", name, plan)
		}
	}
}

func explain(t *testing.T, conn *pgx.Conn, name, sql string) (string, error) {
	t.Helper()
	numbers := map[string]int{}
	sql = parameter.ReplaceAllStringFunc(sql, func(p string) string {
		p = strings.Trim(strings.TrimPrefix(p, "sqlc.narg"), "@()'")
		if numbers[p] == 0 {
			numbers[p] = len(numbers) + 1
		}
		return "$" + strconv.Itoa(numbers[p])
	})
	if _, err := conn.Exec(t.Context(), "PREPARE "+name+" AS "+sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return "", err
	}
	execute := "EXPLAIN EXECUTE " + name
	if len(numbers) > 0 {
		execute += "(NULL" + strings.Repeat(", NULL", len(numbers)-1) + ")"
	}
	rows, err := conn.Query(t.Context(), execute, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return "", err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(lines, "\n"), err
}
