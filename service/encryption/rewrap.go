package encryption

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	page       = 500     // rows whose keys and sizes are read at once
	batchBytes = 4 << 20 // of values that are re-wrapped in one transaction; a larger value has one of its own
	batchRows  = 200     // and never more of them
	namedRows  = 100     // that a Progress names
)

// Progress is how far the re-wrapping of a column got.
type Progress struct {
	Column    Column   `json:"column"`
	Read      int64    `json:"read"`               // values looked at
	Rewrapped int64    `json:"rewrapped"`          // of them sealed under another key, and now under the current one
	Failed    int64    `json:"failed"`             // of them sealed under another key, and left as they are because they do not open
	Unopened  []string `json:"unopened,omitempty"` // the first of these, by their rows' keys

	causes error // ErrSealed, ErrUnknownKey or both, of those that failed
}

func (p *Progress) fail(row string, err error) {
	p.Failed++
	if len(p.Unopened) < namedRows {
		p.Unopened = append(p.Unopened, row)
	}
	for _, cause := range []error{ErrSealed, ErrUnknownKey} {
		if errors.Is(err, cause) && !errors.Is(p.causes, cause) {
			p.causes = errors.Join(p.causes, cause)
		}
	}
}

// err is what an operator has to know before a key is removed.
func (p *Progress) err() error {
	if p.Failed == 0 {
		return nil
	}
	return fmt.Errorf("keep the older master keys: %d values do not open and are not re-wrapped, in rows %s: %w",
		p.Failed, strings.Join(p.Unopened, ", "), p.causes)
}

// Rewrap seals every value of a column under the current master key that was sealed under another. It can be interrupted anywhere and
// begun again, and run while the service writes: a row that changes in between is sealed under the current key by whoever changed it.
// Values that do not open are left as they are and passed over; the error, an ErrSealed or ErrUnknownKey, names them in the end.
func Rewrap(ctx context.Context, pool *pgxpool.Pool, keyring *Keyring, column Column, report func(Progress)) (Progress, error) {
	w := rewrapping{pool: pool, keyring: keyring, column: column, done: Progress{Column: column}, report: report}
	err := w.run(ctx)
	if err = errors.Join(err, w.done.err()); err != nil {
		err = fmt.Errorf("re-wrap %s.%s: %w", column.Table, column.Name, err)
	}
	return w.done, err
}

type rewrapping struct {
	pool    *pgxpool.Pool
	keyring *Keyring
	column  Column
	done    Progress
	report  func(Progress)
}

// run walks the rows in the order of their primary key, which has an index.
func (w *rewrapping) run(ctx context.Context) error {
	for last := ""; ; {
		found, err := w.look(ctx, last)
		if err != nil || len(found) == 0 {
			return err
		}
		var batch []string
		size := 0
		for _, v := range found {
			if v.size == 0 || w.keyring.Current(v.beginning) { // NULL and '' are nothing sealed
				continue
			}
			if len(batch) == batchRows || len(batch) > 0 && size+v.size > batchBytes {
				if err := w.rewrap(ctx, batch); err != nil {
					return err
				}
				batch, size = nil, 0
			}
			batch, size = append(batch, v.key), size+v.size
		}
		if err := w.rewrap(ctx, batch); err != nil {
			return err
		}
		w.done.Read += int64(len(found))
		last = found[len(found)-1].key
	}
}

// value is what is looked at before a value is read as a whole, which may be as large as a mail.
type value struct {
	key       string
	size      int    // bytes; 0 for NULL
	beginning []byte // that says which key sealed it
}

// look reads which values follow the key last.
func (w *rewrapping) look(ctx context.Context, last string) ([]value, error) {
	c := w.column
	where, args := "", []any{page}
	if last != "" {
		where, args = "WHERE "+quote(c.Key)+" > $2", append(args, last)
	}
	rows, err := w.pool.Query(ctx, fmt.Sprintf("SELECT %[1]s::text, coalesce(octet_length(%[2]s), 0), substring(%[2]s FROM 1 FOR %[3]d) FROM %[4]s %[5]s ORDER BY %[1]s LIMIT $1",
		quote(c.Key), quote(c.Name), prefix, quote(c.Table), where), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (value, error) {
		var v value
		return v, r.Scan(&v.key, &v.size, &v.beginning)
	})
}

// rewrap does some rows in one transaction, which holds them against whoever writes. A value is read, sealed and written before the
// next one is.
func (w *rewrapping) rewrap(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	next := w.done
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		for _, key := range keys {
			if err := w.rewrapRow(ctx, tx, key, &next); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.done = next
	if w.report != nil {
		w.report(w.done)
	}
	return nil
}

func (w *rewrapping) rewrapRow(ctx context.Context, tx pgx.Tx, key string, done *Progress) error {
	c := w.column
	owner := "''"
	if c.Owner != "" {
		owner = "coalesce(" + quote(c.Owner) + "::text, '')" // NULL: the row is nobody's
	}
	read := fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s = $1 FOR NO KEY UPDATE", owner, quote(c.Name), quote(c.Table), quote(c.Key))
	at := Cell{Table: c.Table, Column: c.Name, Row: key}
	var sealed []byte
	err := tx.QueryRow(ctx, read, key).Scan(&at.Owner, &sealed)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (len(sealed) == 0 || w.keyring.Current(sealed)) {
		return nil // changed or removed since it was looked at
	}
	if err != nil {
		return fmt.Errorf("read row %s: %w", key, err)
	}
	if sealed, err = w.keyring.reseal(sealed, at); errors.Is(err, ErrSealed) || errors.Is(err, ErrUnknownKey) {
		done.fail(key, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("row %s: %w", key, err)
	}
	write := fmt.Sprintf("UPDATE %s SET %s = $1 WHERE %s = $2", quote(c.Table), quote(c.Name), quote(c.Key))
	if _, err := tx.Exec(ctx, write, sealed, key); err != nil {
		return fmt.Errorf("write row %s: %w", key, err)
	}
	done.Rewrapped++
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func (k *Keyring) reseal(sealed []byte, at Cell) ([]byte, error) {
	plain, err := k.Open(sealed, at)
	if err != nil {
		return nil, err
	}
	return k.Seal(plain, at)
}

// RewrapAll re-wraps all columns, in turn. What fails in one does not keep the others from their turn; the error tells of all.
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
