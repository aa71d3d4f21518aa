// Package database gives tests of the service databases that are migrated to the schema head: one PostgreSQL server a test package,
// one database a test.
package database

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/schema/migrator"
)

// Server is a PostgreSQL server whose new databases are migrated.
type Server struct{ *postgrestest.Server }

// Start starts a server that ends with the test.
func Start(t testing.TB, options ...postgrestest.Option) *Server {
	t.Helper()
	s := &Server{postgrestest.Start(t, options...)}
	set, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	m, err := migrator.Open(s.URL("postgres"), set, migrator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Up(t.Context(), 0), m.Close()); err != nil {
		t.Fatal(err)
	}
	return s
}

// New makes a database of the test's own and returns its URL.
func (s *Server) New(t testing.TB) string {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), s.URL("template1"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.WithoutCancel(t.Context()))
	name := "t_" + strings.ToLower(strings.NewReplacer("/", "_", "-", "_").Replace(t.Name()))
	name = name[max(0, len(name)-60):]
	if _, err := admin.Exec(t.Context(), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE postgres"); err != nil {
		t.Fatal(err)
	}
	return s.URL(name)
}

// Pool connects to a new database until the test ends.
func (s *Server) Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), s.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
