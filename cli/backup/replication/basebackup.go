package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Options of BASE_BACKUP. Others are fixed: WAL is included, so that a backup is complete in itself, and there is no waiting for an
// archiver; the manifest has CRC-32C checksums; the checkpoint is a fast one.
type Options struct {
	Label       string
	Compression string // method and detail, such as "zstd:level=1,workers=2"; "" leaves the archives as they are
	// Progress is told the bytes of all archives so far, before compression, about once a second and at the end of each archive.
	Progress func(done int64)
}

// Position is a place in the log of a timeline.
type Position struct {
	LSN      LSN
	Timeline uint32
}

// Tablespace is what the server will send as one archive. OID and Location are zero for the data directory.
type Tablespace struct {
	OID      uint32
	Location string
	Size     int64 // bytes, the server's estimate
}

// BaseBackup is a base backup under way. Next and WriteTo are used in turn, as with an archive reader, until Next returns io.EOF.
type BaseBackup struct {
	Start       Position
	Tablespaces []Tablespace // in the order of their archives: the data directory last

	conn    *Conn
	ctx     context.Context
	release func() bool
	options Options
	current message // the header of the stream that WriteTo would write
	pending *message
	stop    *Position
}

// Stream is one archive, or the manifest, of a base backup.
type Stream struct {
	Manifest bool
	Name     string // such as base.tar.zst, or 16384.tar for a tablespace
	Location string // of the tablespace
}

// ErrCompression says that this server cannot compress in the way asked for. The connection is still good.
var ErrCompression = errors.New("server does not offer this compression")

// BaseBackup starts a base backup. Until it has ended nothing else can be done on the connection. When ctx ends, so does it.
func (c *Conn) BaseBackup(ctx context.Context, options Options) (*BaseBackup, error) {
	b := &BaseBackup{conn: c, ctx: ctx, options: options}
	// A deadline in the past wakes the reader, at no cost for each of the messages.
	b.release = context.AfterFunc(ctx, func() { _ = c.pg.Conn().SetDeadline(time.Unix(1, 0)) })
	c.pg.Frontend().Send(&pgproto3.Query{String: command(options)})
	if err := c.pg.Frontend().Flush(); err != nil {
		return nil, b.fail(err)
	}
	if err := b.begin(); err != nil {
		return nil, err
	}
	return b, nil
}

func command(o Options) string {
	quote := func(s string) string {
		return "'" + strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", "''") + "'"
	}
	options := []string{
		"LABEL " + quote(o.Label), "PROGRESS true", "CHECKPOINT 'fast'", "WAL true", "WAIT false",
		"MANIFEST 'yes'", "MANIFEST_CHECKSUMS 'CRC32C'",
	}
	if method, detail, _ := strings.Cut(o.Compression, ":"); method != "" {
		options = append(options, "COMPRESSION "+quote(method))
		if detail != "" {
			options = append(options, "COMPRESSION_DETAIL "+quote(detail))
		}
	}
	return "BASE_BACKUP (" + strings.Join(options, ", ") + ")"
}

// begin reads the two result sets before the archives.
func (b *BaseBackup) begin() error {
	sets := 0
	for {
		m, err := b.receive()
		if err != nil {
			return b.refused(err)
		}
		switch m := m.(type) {
		case *pgproto3.RowDescription:
			sets++
		case *pgproto3.DataRow:
			if sets == 1 {
				b.Start, err = parsePosition(m.Values)
			} else {
				var t Tablespace
				t, err = parseTablespace(m.Values)
				b.Tablespaces = append(b.Tablespaces, t)
			}
			if err != nil {
				return b.fail(err)
			}
		case *pgproto3.CopyOutResponse:
			if sets != 2 || b.Start.LSN == 0 || len(b.Tablespaces) == 0 {
				return b.fail(errors.New("archives without what goes before them"))
			}
			return nil
		case *pgproto3.CommandComplete:
		default:
			return b.fail(fmt.Errorf("unexpected %T", m))
		}
	}
}

// refused tells a server that cannot compress from other errors. The server says so before it starts the backup, as a syntax error
// (method or parameter), as a missing feature, or as an invalid value (zstd without threads).
func (b *BaseBackup) refused(err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) || b.options.Compression == "" {
		return err
	}
	switch server.Code {
	case "42601", "0A000", "22023":
		return fmt.Errorf("%w: %w", ErrCompression, err)
	}
	return err
}

// Next goes on to the next archive or the manifest. It returns io.EOF when the server has said that the backup is complete.
func (b *BaseBackup) Next() (Stream, error) {
	for b.pending == nil {
		if b.stop != nil {
			return Stream{}, io.EOF
		}
		if _, err := b.WriteTo(io.Discard); err != nil {
			return Stream{}, err
		}
	}
	b.current, b.pending = *b.pending, nil
	return Stream{b.current.kind == manifestMessage, b.current.name, b.current.location}, nil
}

// WriteTo writes the rest of the current stream.
func (b *BaseBackup) WriteTo(w io.Writer) (written int64, err error) {
	for b.pending == nil && b.stop == nil {
		received, err := b.receive()
		if err != nil {
			return written, err
		}
		switch received := received.(type) {
		case *pgproto3.CopyData:
			m, err := parseMessage(received.Data)
			if err != nil {
				return written, b.fail(err)
			}
			switch m.kind {
			case dataMessage:
				if b.current.kind == 0 {
					return written, b.fail(errors.New("data without an archive"))
				}
				n, err := w.Write(m.data)
				if written += int64(n); err != nil {
					return written, err
				}
			case progressMessage:
				if b.options.Progress != nil {
					b.options.Progress(m.done)
				}
			default:
				b.pending = &m
			}
		case *pgproto3.CopyDone:
			if err := b.finish(); err != nil {
				return written, err
			}
		default:
			return written, b.fail(fmt.Errorf("unexpected %T", received))
		}
	}
	return written, nil
}

// finish reads the result set after the archives, to the end of the command.
func (b *BaseBackup) finish() error {
	var stop *Position
	for {
		m, err := b.receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			p, err := parsePosition(m.Values)
			if err != nil {
				return b.fail(err)
			}
			stop = &p
		case *pgproto3.ReadyForQuery:
			if stop == nil {
				return b.fail(errors.New("no stop position"))
			}
			b.release()
			b.stop = stop
			return nil
		case *pgproto3.RowDescription, *pgproto3.CommandComplete:
		default:
			return b.fail(fmt.Errorf("unexpected %T", m))
		}
	}
}

// Stop is the end of the log that the backup needs to be consistent. It is known once Next has returned io.EOF.
func (b *BaseBackup) Stop() Position {
	if b.stop == nil {
		return Position{}
	}
	return *b.stop
}

// receive returns the next message that is not asynchronous. An error of the server is read to its end, so that the connection can
// be used again.
func (b *BaseBackup) receive() (pgproto3.BackendMessage, error) {
	for {
		m, err := b.conn.pg.ReceiveMessage(context.Background())
		if err != nil {
			return nil, b.fail(err)
		}
		switch m := m.(type) {
		case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus, *pgproto3.NotificationResponse:
		case *pgproto3.ErrorResponse:
			failed := within("BASE_BACKUP", pgconn.ErrorResponseToPgError(m))
			for {
				m, err := b.conn.pg.ReceiveMessage(context.Background())
				if _, ready := m.(*pgproto3.ReadyForQuery); ready || err != nil {
					b.release()
					return nil, failed
				}
			}
		default:
			return m, nil
		}
	}
}

// fail says why the backup ended, and whether that was asked for.
func (b *BaseBackup) fail(err error) error {
	if !b.release() && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return within("BASE_BACKUP", err)
}
