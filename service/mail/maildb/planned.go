// Package maildb is the SQL of package mail: what sqlc makes of queries.sql, and how a search is planned.
package maildb

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Planned has each query planned for the parameters that it is asked with. PostgreSQL goes over to one plan for all parameters once a
// prepared statement has run five times (manual, PREPARE); a search for any word would then walk through the mailbox by date, which is right
// for common words and reads a hundred times too much for rare ones.
func Planned(db DBTX) DBTX { return planned{db} }

type planned struct{ DBTX }

// Query uses an unnamed statement, of which the server keeps no plan.
func (p planned) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return p.DBTX.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}
