package replication_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/smart-assistant/platform/cli/backup/replication"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

func TestBaseBackup(t *testing.T) {
	server := postgrestest.Start(t)
	conn := connect(t, server)
	system, err := conn.IdentifySystem(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	control, err := server.Control(t.Context())
	if err != nil || system.Identifier != control.SystemIdentifier || system.Timeline != 1 || system.Flushed == 0 {
		t.Errorf("system is %+v, control data are %+v, %v", system, control, err)
	}
	if err := conn.CreateTemporarySlot(t.Context(), "keeps"); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, server, "select slot_type from pg_replication_slots where temporary and restart_lsn is not null"); got != "physical" {
		t.Errorf("slot is %s", got)
	}

	for _, compression := range []string{"", "zstd:level=1,workers=2", "gzip"} {
		var progress int64
		b, err := conn.BaseBackup(t.Context(), replication.Options{Label: "test", Compression: compression, Progress: func(done int64) {
			if done < progress {
				t.Errorf("progress goes back from %d to %d", progress, done)
			}
			progress = done
		}})
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Tablespaces) != 1 || b.Tablespaces[0].OID != 0 || b.Tablespaces[0].Size < 1<<20 || b.Start.Timeline != 1 {
			t.Errorf("backup is %+v", b)
		}
		archive, err := b.Next()
		if err != nil || archive.Manifest || !strings.HasPrefix(archive.Name, "base.tar") {
			t.Fatalf("first stream is %+v, %v", archive, err)
		}
		n, err := b.WriteTo(io.Discard)
		if err != nil || n < 1<<20 || compression == "" && n != progress {
			t.Errorf("%d bytes of the archive, progress %d, %v", n, progress, err)
		}
		var manifest bytes.Buffer
		if s, err := b.Next(); err != nil || !s.Manifest {
			t.Fatalf("second stream is %+v, %v", s, err)
		}
		if _, err := b.WriteTo(&manifest); err != nil || !json.Valid(manifest.Bytes()) {
			t.Errorf("manifest is %.100q, %v", manifest.Bytes(), err)
		}
		if _, err := b.Next(); !errors.Is(err, io.EOF) || b.Stop().LSN <= b.Start.LSN || b.Stop().Timeline != 1 {
			t.Errorf("end is %+v, %v", b.Stop(), err)
		}
	}
	// The connection is good for more, and its end takes the slot along.
	if _, err := conn.IdentifySystem(t.Context()); err != nil {
		t.Error(err)
	}
	conn.Close(t.Context())
	wait(t, server, "select count(*) = 0 from pg_replication_slots")
}

// Streams may be skipped.
func TestSkippedStreams(t *testing.T) {
	b, err := connect(t, postgrestest.Start(t)).BaseBackup(t.Context(), replication.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = b.Next()
	}
	if !errors.Is(err, io.EOF) || n != 3 || b.Stop().LSN == 0 {
		t.Errorf("%d streams, %v", n-1, err)
	}
}

// The end of the context ends the backup at once, on the server too, and says why.
func TestCanceledBackup(t *testing.T) {
	server := postgrestest.Start(t)
	conn := connect(t, server)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	b, err := conn.BaseBackup(ctx, replication.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Next(); err != nil {
		t.Fatal(err)
	}
	_, err = b.WriteTo(writer(func(p []byte) (int, error) { cancel(why); return len(p), nil }))
	if !errors.Is(err, why) {
		t.Errorf("canceled: %v", err)
	}
	conn.Close(t.Context())
	wait(t, server, "select count(*) = 0 from pg_stat_replication")
}

// A backup of pages that are damaged on the server's disk fails, and the warnings name the file.
func TestDamagedPages(t *testing.T) {
	server := postgrestest.Start(t)
	ask(t, server, "create table victim as select i, repeat('x', 100) from generate_series(1, 1000) i")
	ask(t, server, "checkpoint")
	path := ask(t, server, "select pg_relation_filepath('victim')")
	if err := server.Stop(t.Context(), postgres.Fast); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(server.DataDir, path), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 8192+5000); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err = server.Server.Start(t.Context()); err == nil {
			break
		}
		server.Port = postgrestest.FreePort(t)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, server)
	b, err := conn.BaseBackup(t.Context(), replication.Options{})
	for err == nil {
		_, err = b.Next()
	}
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "XX001" || !strings.Contains(strings.Join(conn.Warnings(), "\n"), path) {
		t.Errorf("backup of a damaged table: %v, warnings %q", err, conn.Warnings())
	}
}

func TestRefusals(t *testing.T) {
	server := postgrestest.Start(t)
	if _, err := replication.Connect(t.Context(), "postgres://nobody@"+strings.SplitN(server.URL("postgres"), "@", 2)[1]); err == nil {
		t.Error("connected without a password")
	}
	conn := connect(t, server)
	if err := conn.CreateTemporarySlot(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CreateTemporarySlot(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), "CREATE_REPLICATION_SLOT") {
		t.Errorf("the same slot twice: %v", err)
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func connect(t *testing.T, server *postgrestest.Server) *replication.Conn {
	t.Helper()
	conn, err := replication.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// ask runs a statement and returns the first column of its first row, if there is one.
func ask(t *testing.T, server *postgrestest.Server, statement string) (answer string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	results, err := c.PgConn().Exec(t.Context(), statement).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	if len(results) > 0 && len(results[0].Rows) > 0 {
		answer = string(results[0].Rows[0][0])
	}
	return answer
}

func wait(t *testing.T, server *postgrestest.Server, condition string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ask(t, server, condition) != "t"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", condition)
		}
	}
}
