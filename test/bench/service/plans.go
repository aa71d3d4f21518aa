package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// plans is what the planner makes of the service's queries on the filled tables.
type plans struct {
	checked  int
	inParts  []string // statements that are put together at run time, and cannot be planned here
	failures []string // queries that read a table of users' data from end to end, and references without an index
}

// few are tables of a handful of rows, whatever the number of users.
var few = regexp.MustCompile(`Seq Scan on (signing_keys|schema_history|goose_db_version|river_\w+|pg_\w+)\b`)

// checkPlans takes each SQL statement in the service's source, sqlc's output included, and has it planned seven times, as a connection
// that runs it often does: PostgreSQL may go over to a plan for any parameters at the sixth (manual, PREPARE).
func checkPlans(ctx context.Context, url string) (plans, error) {
	statements, err := statementsBelow("service")
	if err != nil {
		return plans{}, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return plans{}, err
	}
	defer conn.Close(ctx)
	var p plans
	for _, s := range statements {
		if s.part || inParts.MatchString(s.sql) || strings.Contains(s.sql, "::vector") { // or for pgvector, which may not be there
			p.inParts = append(p.inParts, s.name)
			continue
		}
		found, err := plansOf(ctx, conn, s.sql)
		if err != nil {
			return p, fmt.Errorf("plan %s: %w", s.name, err)
		}
		p.checked++
		for _, plan := range found {
			if strings.Contains(few.ReplaceAllString(plan, ""), "Seq Scan") {
				p.failures = append(p.failures, s.name+":\n"+plan)
				break
			}
		}
	}
	references, err := referencesWithoutIndex(ctx, conn)
	p.failures = append(p.failures, references...)
	return p, err
}

type statement struct {
	name, sql string
	part      bool // of a longer one
}

var (
	isStatement = regexp.MustCompile(`^\s*(?:--[^\n]*\n\s*)*(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\s`)
	inParts     = regexp.MustCompile(`%(\[\d\])?[sqdv]`) // put together by fmt
	named       = regexp.MustCompile(`-- name: (\w+)`)
)

// statementsBelow finds the statements among the string literals of Go files.
func statementsBelow(dir string) (found []statement, err error) {
	files := token.NewFileSet()
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "service/schema/") {
			return err
		}
		parsed, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		parts := map[ast.Node]bool{}
		ast.Inspect(parsed, func(node ast.Node) bool {
			if sum, is := node.(*ast.BinaryExpr); is {
				parts[sum.X], parts[sum.Y] = true, true
			}
			literal, is := node.(*ast.BasicLit)
			if !is || literal.Kind != token.STRING {
				return true
			}
			text, _ := strconv.Unquote(literal.Value)
			if isStatement.MatchString(text) {
				name := files.Position(literal.Pos()).String()
				if match := named.FindStringSubmatch(text); match != nil {
					name = filepath.Base(filepath.Dir(path)) + "." + match[1]
				}
				found = append(found, statement{name, text, parts[literal]})
			}
			return true
		})
		return nil
	})
	return found, err
}

// samples are parameters by type. The uuid is that of one user of many, who has some of everything.
var samples = map[string]string{
	"uuid": "'" + otherUser(1) + "'", "uuid[]": "ARRAY['" + otherUser(1) + "']::uuid[]", "text": "'" + otherUser(1) + "'", "text[]": "'{a}'",
	"bytea": `'\x00'`, "bytea[]": `ARRAY['\x00'::bytea]`, "timestamp with time zone": "now() - interval '1 hour'", "date": "'2026-01-01'",
	"integer": "50", "bigint": "50", "real": "0.5", "boolean": "true", "jsonb": "'{}'", "real[]": "'{1}'",
}

// plansOf has a statement planned several times and returns the different plans.
func plansOf(ctx context.Context, conn *pgx.Conn, sql string) (found []string, err error) {
	exec := func(sql string) error {
		_, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		return err
	}
	if err := exec("PREPARE looked_at AS " + sql); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, exec("DEALLOCATE looked_at")) }()
	var types []string
	if err := conn.QueryRow(ctx, "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'looked_at'").Scan(&types); err != nil {
		return nil, err
	}
	values := make([]string, len(types))
	for i, name := range types {
		value, known := samples[name]
		if !known {
			return nil, fmt.Errorf("no sample of type %s", name)
		}
		values[i] = value
	}
	execute := "EXPLAIN (COSTS OFF) EXECUTE looked_at"
	if len(values) > 0 {
		execute += "(" + strings.Join(values, ", ") + ")"
	}
	for range 7 {
		rows, err := conn.Query(ctx, execute, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return nil, err
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		if plan := strings.Join(lines, "\n"); !slices.Contains(found, plan) {
			found = append(found, plan)
		}
	}
	return found, nil
}

// referencesWithoutIndex names foreign keys whose rows PostgreSQL would look for from end to end when what they refer to is deleted.
func referencesWithoutIndex(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT 'no index for ' || conname || ' of ' || conrelid::regclass FROM pg_constraint c
		WHERE contype = 'f' AND confdeltype <> 'a' AND NOT EXISTS (
			SELECT FROM pg_index x WHERE x.indrelid = c.conrelid AND x.indpred IS NULL AND x.indkey[0] = c.conkey[1])`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (p plans) summary() string {
	said := fmt.Sprintf("%d statements were planned, %d are put together at run time or need pgvector and were not (%s); ", p.checked, len(p.inParts),
		strings.Join(p.inParts, ", "))
	if len(p.failures) == 0 {
		return said + "all use an index"
	}
	names := make([]string, len(p.failures))
	for i, failure := range p.failures {
		names[i], _, _ = strings.Cut(failure, ":\n")
	}
	return said + "no index: " + strings.Join(names, ", ")
}

func (p plans) err() error {
	if len(p.failures) == 0 {
		return nil
	}
	return fmt.Errorf("these do not use an index:\n%s", strings.Join(p.failures, "\n"))
}
