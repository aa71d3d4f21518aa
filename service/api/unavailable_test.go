package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/smart-assistant/platform/service/api"
)

func TestUnavailable(t *testing.T) {
	_, refused := pgx.Connect(t.Context(), "postgres://u:p@127.0.0.1:1/x?sslmode=disable")
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"nobody listens", refused, true},
		{"shut down by an administrator", &pgconn.PgError{Code: "57P01"}, true},
		{"starting", &pgconn.PgError{Code: "57P03"}, true},
		{"too many connections", &pgconn.PgError{Code: "53300"}, true},
		{"a standby", &pgconn.PgError{Code: "25006"}, true},
		{"broken off", io.ErrUnexpectedEOF, true},
		{"reset", &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, true},
		{"closed before", pgconn.ErrConnClosed, true},
		{"a client that is slow to send", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, false},
		{"a request's time is over", context.DeadlineExceeded, false},
		{"a statement that is wrong", &pgconn.PgError{Code: "42601"}, false},
		{"taken", &pgconn.PgError{Code: "23505"}, false},
		{"no row", pgx.ErrNoRows, false},
		{"nothing", nil, false},
	} {
		if got := api.Unavailable(test.err); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
		if test.err != nil && api.Unavailable(fmt.Errorf("read a thing: %w", test.err)) != test.want {
			t.Errorf("%s, wrapped: %v", test.name, !test.want)
		}
	}
}
