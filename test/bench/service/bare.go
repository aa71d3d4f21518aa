package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/crypto/bcrypt"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail/index"
	"github.com/smart-assistant/platform/service/mail/maildb"
)

// bare is the limit: the service's own queries through a pool of the same size, in this process, without a service around them.
type bare struct {
	pool    *pgxpool.Pool
	mail    *maildb.Queries
	search  *maildb.Queries
	keyring *encryption.Keyring
	userID  string
	query   string // of the search, as the database gets it
	hash    []byte // of the password
}

func newBare(ctx context.Context, db *cluster, a *assistd, o options) (*bare, error) {
	config, err := pgxpool.ParseConfig(db.url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(o.pool) //nolint:gosec // a handful
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	b := &bare{pool: pool, mail: maildb.New(pool), search: maildb.New(maildb.Planned(pool)), keyring: a.keyring, userID: a.userID}
	if err := b.prepare(ctx, a); err != nil {
		pool.Close()
		return nil, fmt.Errorf("prepare the bare query: %w", err)
	}
	return b, nil
}

func (b *bare) prepare(ctx context.Context, a *assistd) error {
	conn, err := b.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	key, err := a.indexKey(ctx, conn.Conn())
	if err != nil {
		return err
	}
	x, err := index.New(key)
	if err != nil {
		return err
	}
	if b.query, err = x.Query(topic); err != nil {
		return err
	}
	b.hash, err = bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	return err
}

func (b *bare) close() { b.pool.Close() }

const (
	bareName   = "bare query"
	openedName = "bare query, opened"
)

func (b *bare) contenders() []contender {
	of := func(do func(context.Context) error) opener {
		return func(ctx context.Context, _ int) (func() (time.Duration, error), func(), error) {
			return func() (time.Duration, error) { return 0, do(ctx) }, func() {}, do(ctx)
		}
	}
	list := func(ctx context.Context) ([]maildb.ListEmailsRow, error) {
		return b.mail.ListEmails(ctx, maildb.ListEmailsParams{UserID: b.userID, Before: endOfTime, BeforeID: firstID, Most: pageSize + 1})
	}
	search := func(ctx context.Context) ([]maildb.ListEmailsRow, error) {
		found, err := b.search.SearchEmails(ctx, maildb.SearchEmailsParams{UserID: b.userID, Query: b.query, Before: endOfTime, BeforeID: firstID, Most: pageSize + 1})
		rows := make([]maildb.ListEmailsRow, len(found))
		for i, row := range found {
			rows[i] = maildb.ListEmailsRow(row)
		}
		return rows, err
	}
	all := []contender{{what: "login", name: "bcrypt alone", open: of(func(context.Context) error {
		return bcrypt.CompareHashAndPassword(b.hash, []byte(password))
	})}}
	for what, query := range map[string]func(context.Context) ([]maildb.ListEmailsRow, error){"list": list, "search": search} {
		all = append(all,
			contender{what: what, name: bareName, open: of(func(ctx context.Context) error { _, err := query(ctx); return err })},
			contender{what: what, name: openedName, open: of(func(ctx context.Context) error { return b.opened(query(ctx)) })})
	}
	return all
}

var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

const firstID = "00000000-0000-0000-0000-000000000000"

// opened opens the beginnings of a page's messages, which the service shows and the database does not know.
func (b *bare) opened(rows []maildb.ListEmailsRow, err error) error {
	if err != nil || len(rows) == 0 {
		return fmt.Errorf("query: %w", orNoRows(err))
	}
	for _, row := range rows[:min(pageSize, len(rows))] {
		if _, err := b.keyring.Open(row.Snippet, encryption.Cell{Table: "emails", Column: "snippet", Owner: b.userID, Row: row.ID}); err != nil {
			return err
		}
	}
	return nil
}

func orNoRows(err error) error {
	if err == nil {
		return pgx.ErrNoRows
	}
	return err
}
