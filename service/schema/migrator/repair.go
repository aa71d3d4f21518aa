package migrator

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/schema"
)

// repair drops the INVALID indexes that an interrupted attempt at this migration left. CREATE INDEX … IF NOT EXISTS would
// find such an index, say nothing, and leave it as it is: kept up to date by every write, used by no query.
//
// The runner's lock is held here, so no other attempt is still building one.
func (m *Migrator) repair(ctx context.Context, migration schema.Migration, event schema.Event) error {
	invalid, err := invalidIndexes(ctx, m.db)
	if err != nil {
		return err
	}
	for _, index := range migration.Indexes() {
		if !slices.Contains(invalid, index) {
			continue
		}
		event.Event, event.Attempt = schema.Repair, 0
		event.Detail = fmt.Sprintf("index %s is INVALID: an earlier attempt was interrupted; it is dropped and made anew", index)
		m.options.Report(event)
		if _, err := m.db.ExecContext(ctx, `DROP INDEX CONCURRENTLY IF EXISTS `+pgx.Identifier{index}.Sanitize()); err != nil {
			return fmt.Errorf("drop the invalid index %s: %w", index, err)
		}
	}
	return nil
}

// invalidIndexes names the INVALID indexes of the schema that unqualified names are made in.
func invalidIndexes(ctx context.Context, db schema.Queryer) ([]string, error) {
	rows, err := db.QueryContext(ctx, `
		SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::text::regnamespace ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("look for invalid indexes: %w", err)
	}
	defer rows.Close()
	names := []string{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("look for invalid indexes: %w", err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look for invalid indexes: %w", err)
	}
	return names, nil
}

// blocker names the transaction that has been open for longest: the likely one that a lock timeout ran into. It is a hint
// for people, so that not being able to tell it is no failure.
func (m *Migrator) blocker(ctx context.Context, cause error) string {
	var oldest string
	err := m.db.QueryRowContext(ctx, `
		SELECT format('the oldest open transaction is backend %s (%s, %s), open for %s s', pid, usename,
			coalesce(nullif(application_name, ''), 'no name'), extract(epoch FROM now() - xact_start)::bigint)
		FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1`).Scan(&oldest)
	if err != nil {
		return cause.Error()
	}
	return cause.Error() + "; " + oldest
}
