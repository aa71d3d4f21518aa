package encryption

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// batch is how many rows are read and re-wrapped in one transaction.
const batch = 200

// Progress is how far the re-wrapping of a column got.
type Progress struct {
	Column    Column `json:"column"`
	Read      int64  `json:"read"`      // values looked at
	Rewrapped int64  `json:"rewrapped"` // of them sealed under another key, and now under the current one
}

// Rewrap seals every value of a column under the current master key that was sealed under another. It can be interrupted anywhere and
// begun again, and run while the service writes: a row that changes in between is sealed under the current key by whoever changed it.
func Rewrap(ctx context.Context, pool *pgxpool.Pool, keyring *Keyring, column Column, report func(Progress)) (Progress, error) {
	done := Progress{Column: column}
	for last := ""; ; {
		next, err := rewrapBatch(ctx, pool, keyring, column, last, &done)
		if err != nil {
			return done, fmt.Errorf("re-wrap %s.%s: %w", column.Table, column.Name, err)
		}
		if report != nil {
			report(done)
		}
		if next == "" {
			return done, nil
		}
		last = next
	}
}

// row is a value and where it stands.
type row struct {
	key, owner string
	value      []byte
}

// rewrapBatch does the rows that follow the key last and returns the last one's key, "" when there was none. Rows are walked in the order
// of their primary key, which has an index.
func rewrapBatch(ctx context.Context, pool *pgxpool.Pool, keyring *Keyring, c Column, last string, done *Progress) (next string, err error) {
	name := func(s string) string { return pgx.Identifier{s}.Sanitize() }
	owner := "''"
	if c.Owner != "" {
		owner = "coalesce(" + name(c.Owner) + "::text, '')" // NULL: the row is nobody's
	}
	where := ""
	args := []any{batch}
	if last != "" {
		where = "WHERE " + name(c.Key) + " > $2"
		args = append(args, last)
	}
	read := fmt.Sprintf("SELECT %s::text, %s, %s FROM %s %s ORDER BY %s LIMIT $1 FOR NO KEY UPDATE",
		name(c.Key), owner, name(c.Name), name(c.Table), where, name(c.Key))
	write := fmt.Sprintf("UPDATE %s SET %s = $1 WHERE %s = $2", name(c.Table), name(c.Name), name(c.Key))

	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, read, args...)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (row, error) {
			var v row
			return v, r.Scan(&v.key, &v.owner, &v.value)
		})
		if err != nil || len(found) == 0 {
			return err
		}
		var updates pgx.Batch
		for _, r := range found {
			if len(r.value) == 0 || keyring.Current(r.value) { // NULL and '' are nothing sealed
				continue
			}
			sealed, err := keyring.reseal(r.value, Cell{Table: c.Table, Column: c.Name, Owner: r.owner, Row: r.key})
			if err != nil {
				return fmt.Errorf("row %s: %w", r.key, err)
			}
			updates.Queue(write, sealed, r.key)
		}
		done.Read += int64(len(found))
		done.Rewrapped += int64(updates.Len())
		next = found[len(found)-1].key
		return tx.SendBatch(ctx, &updates).Close()
	})
	return next, err
}

func (k *Keyring) reseal(sealed []byte, at Cell) ([]byte, error) {
	plain, err := k.Open(sealed, at)
	if err != nil {
		return nil, err
	}
	return k.Seal(plain, at)
}

// RewrapAll re-wraps all columns, in turn.
func RewrapAll(ctx context.Context, pool *pgxpool.Pool, keyring *Keyring, columns []Column, report func(Progress)) ([]Progress, error) {
	var all []Progress
	var failures []error
	for _, column := range columns {
		done, err := Rewrap(ctx, pool, keyring, column, report)
		all = append(all, done)
		if err != nil {
			failures = append(failures, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return all, errors.Join(failures...)
}
