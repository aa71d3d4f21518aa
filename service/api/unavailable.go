package api

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Unavailable says whether an error is the database's absence: it could not be reached, it broke off, it is starting or stopping, or has
// no room for another connection. Whoever asked may ask again in a moment (503).
func Unavailable(err error) bool {
	var connect *pgconn.ConnectError
	var said *pgconn.PgError
	var broken *net.OpError
	switch {
	case errors.As(err, &connect), errors.Is(err, pgconn.ErrConnClosed), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	case errors.As(err, &said):
		return absent(said.Code)
	case errors.As(err, &broken):
		return !broken.Timeout() // which is the end of somebody's patience
	}
	return false
}

// absent are the codes (PostgreSQL's manual, appendix A) with which a server ends connections or takes none: class 08, connection
// exceptions; class 53, insufficient resources; and those of a server that starts, stops, crashed or has become a standby.
func absent(code string) bool {
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") ||
		slices.Contains([]string{"57P01", "57P02", "57P03", "25006"}, code)
}
