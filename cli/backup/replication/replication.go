// Package replication speaks PostgreSQL's streaming replication protocol as far as physical backups need it: IDENTIFY_SYSTEM,
// CREATE_REPLICATION_SLOT and BASE_BACKUP, of PostgreSQL 15 and later.
//
// It owns the commands, the messages and their order ("Streaming Replication Protocol" in PostgreSQL's manual, section 55.4 in
// version 15). It knows nothing of what becomes of the data.
package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Conn is a connection in physical replication mode. It is not safe for concurrent use.
type Conn struct {
	pg       *pgconn.PgConn
	warnings []string
}

const (
	oldest     = 15       // the first major version that knows the syntax and the message types used here
	maxMessage = 64 << 20 // bytes; the server sends 32 KiB at a time
	readBuffer = 256 << 10
)

// Connect opens a connection with the REPLICATION privilege. The URL is one that libpq understands.
func Connect(ctx context.Context, url string) (*Conn, error) {
	config, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	c := &Conn{}
	config.RuntimeParams["replication"] = "true"
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Severity == "WARNING" {
			c.warnings = append(c.warnings, n.Message)
		}
	}
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := pgproto3.NewFrontend(bufio.NewReaderSize(r, readBuffer), w)
		f.SetMaxBodyLen(maxMessage)
		return f
	}
	if c.pg, err = pgconn.ConnectConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("connect for replication: %w", err)
	}
	if major := majorVersion(c.ServerVersion()); major < oldest {
		c.Close(ctx)
		return nil, fmt.Errorf("server runs PostgreSQL %s: %d or later is needed", c.ServerVersion(), oldest)
	}
	return c, nil
}

// Close ends the session; the server drops its temporary slots. A base backup under way is abandoned.
func (c *Conn) Close(ctx context.Context) { _ = c.pg.Close(ctx) }

// ServerVersion is the server's version without the packager's addition, such as "15.14" or "18beta1".
func (c *Conn) ServerVersion() string {
	version, _, _ := strings.Cut(c.pg.ParameterStatus("server_version"), " ")
	return version
}

// Warnings are the server's, so far.
func (c *Conn) Warnings() []string { return c.warnings }

func majorVersion(version string) int {
	digits := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(version)
	}
	major, _ := strconv.Atoi(version[:digits])
	return major
}

// System is the answer to IDENTIFY_SYSTEM.
type System struct {
	Identifier uint64 // the same for a cluster and its physical copies
	Timeline   uint32
	Flushed    LSN // end of the log that is safely on the server's disk
}

// IdentifySystem asks the server which cluster it is.
func (c *Conn) IdentifySystem(ctx context.Context) (System, error) {
	row, err := c.row(ctx, "IDENTIFY_SYSTEM", "systemid", "timeline", "xlogpos")
	if err != nil {
		return System{}, err
	}
	var s System
	identifier, err1 := strconv.ParseUint(row[0], 10, 64)
	timeline, err2 := strconv.ParseUint(row[1], 10, 32)
	flushed, err3 := ParseLSN(row[2])
	s = System{identifier, uint32(timeline), flushed}
	return s, within("IDENTIFY_SYSTEM", errors.Join(err1, err2, err3))
}

// CreateTemporarySlot makes a physical slot that lives as long as the connection and keeps, from now on, the log that a backup
// started later will need. Any error on the connection, such as ErrCompression, drops it earlier. The name has lower-case letters,
// digits and underscores.
func (c *Conn) CreateTemporarySlot(ctx context.Context, name string) error {
	_, err := c.row(ctx, "CREATE_REPLICATION_SLOT "+name+" TEMPORARY PHYSICAL (RESERVE_WAL true)", "slot_name")
	return err
}

// row runs a command whose result is a single row, and returns the named columns of it.
func (c *Conn) row(ctx context.Context, command string, columns ...string) ([]string, error) {
	verb, _, _ := strings.Cut(command, " ")
	results, err := c.pg.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, within(verb, err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, within(verb, errors.New("the answer is not a single row"))
	}
	row := make([]string, len(columns))
	for i, column := range columns {
		at := -1
		for j, f := range results[0].FieldDescriptions {
			if f.Name == column {
				at = j
			}
		}
		if at < 0 || at >= len(results[0].Rows[0]) {
			return nil, within(verb, fmt.Errorf("the answer has no %s", column))
		}
		row[i] = string(results[0].Rows[0][at])
	}
	return row, nil
}

func within(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", verb, err)
}
