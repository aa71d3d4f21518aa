package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/backup/replication"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

func TestTablespaces(t *testing.T) {
	server := postgrestest.Start(t)
	space := filepath.Join(postgrestest.Dir(t), "space")
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	own(t, space)
	fill(t, server, 1000)
	execute(t, server, "create tablespace fast location '"+space+"'", "alter table emails set tablespace fast")
	r := repository(t, objectstoretest.S3(t))
	taken := take(t, r, server, backup.TakeOptions{Kind: backup.Manual})
	if len(taken.Archives) != 2 || taken.Archives[0].Location != space {
		t.Fatalf("archives are %+v", taken.Archives)
	}
	if _, err := r.Verify(t.Context(), taken.ID, quiet{}); err != nil {
		t.Fatal(err)
	}

	dir := unpack(t, r, taken.ID)
	verifyBackup(t, dir)
	recovered := serve(t, dir)
	execute(t, recovered, "insert into emails values (-1, 'restored', 'only')") // into the copy, not into the live tablespace
	execute(t, server, "checkpoint")
	if sum(t, recovered) == sum(t, server) {
		t.Error("the restored server writes into the tablespace of the live one")
	}
	amcheck(t, recovered)
}

// Two tables that every transaction changes together are equal in a backup that was taken meanwhile.
func TestWriteLoad(t *testing.T) {
	t.Run("compressed at once", takeUnderLoad)
	t.Run("after a compression that the server refused", func(t *testing.T) { // the refusal takes the slot away
		backup.ServerLacksCompression(t)
		takeUnderLoad(t)
	})
}

func takeUnderLoad(t *testing.T) {
	server := postgrestest.Start(t, postgrestest.WithSettings(map[string]string{"max_wal_size": "32MB", "wal_keep_size": "0"}))
	fill(t, server, 20000)
	execute(t, server, "create table debit (n bigint, note text)", "create table credit (n bigint, note text)")
	r := repository(t, objectstoretest.S3(t))

	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var committed atomic.Int64
	for range 3 {
		c := connect(t, server)
		writers.Go(func() {
			for ctx.Err() == nil {
				_, err := c.Exec(t.Context(), `begin; insert into debit select 1, repeat('x', 500) from generate_series(1, 20);
					update emails set body = body || 'y' where id = 1 + (random() * 19999)::int;
					insert into credit select 1, repeat('x', 500) from generate_series(1, 20); commit`)
				if err != nil {
					t.Error(err)
					return
				}
				committed.Add(20)
			}
		})
	}
	// Checkpoints recycle the log; only the slot keeps what the backup needs.
	checkpoints := connect(t, server)
	writers.Go(func() {
		for ctx.Err() == nil {
			if _, err := checkpoints.Exec(t.Context(), "select pg_switch_wal(); checkpoint"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for committed.Load() < 1000 && !t.Failed() {
		time.Sleep(10 * time.Millisecond)
	}
	before := committed.Load()
	taken := take(t, r, server, backup.TakeOptions{Kind: backup.Scheduled})
	stop()
	writers.Wait()

	dir := unpack(t, r, taken.ID)
	verifyBackup(t, dir)
	recovered := serve(t, dir)
	var debit, credit int64
	err := connect(t, recovered).QueryRow(t.Context(), "select (select sum(n) from debit), (select sum(n) from credit)").Scan(&debit, &credit)
	if err != nil || debit != credit || debit < before {
		t.Errorf("restored %d and %d, %d were committed before the backup began, %v", debit, credit, before, err)
	}
	amcheck(t, recovered)
}

func TestTakeThroughFaults(t *testing.T) {
	server := postgrestest.Start(t)
	fill(t, server, 5000)
	inner := objectstoretest.S3(t)
	put := objectstoretest.On(objectstoretest.Put, "base/")
	faulty := objectstoretest.LostAnswer(inner, func(op objectstoretest.Op, key string) bool {
		return put(op, key) && !strings.HasSuffix(key, "2") // every part but some, the manifest and the commit: always
	})
	faulty = objectstoretest.ErrorBefore(faulty, objectstoretest.Nth(2, put))
	faulty = objectstoretest.ErrorBefore(faulty, objectstoretest.Nth(7, put))
	r := repository(t, faulty)
	taken := take(t, r, server, backup.TakeOptions{Kind: backup.Manual, PartSize: 512 << 10})

	// Reading has faults of its own: torn bodies and refused requests.
	get := objectstoretest.On(objectstoretest.Get, backup.Prefix(taken.ID)+"base.")
	r.Store = objectstoretest.TornRead(inner, objectstoretest.Nth(3, get), 1000)
	r.Store = objectstoretest.ErrorBefore(r.Store, objectstoretest.Nth(5, get))
	if found, err := r.Verify(t.Context(), taken.ID, quiet{}); err != nil || found.Files < 500 {
		t.Errorf("verified %+v, %v", found, err)
	}

	// A part that never comes is a failure to read, also when its error says that the connection is at its end: no damage, no success.
	gone := backup.Prefix(taken.ID) + taken.Archives[0].Objects[3].Name
	r.Store = ended{inner, gone}
	if _, err := r.Verify(t.Context(), taken.ID, quiet{}); !errors.Is(err, io.EOF) || fault.CodeOf(err) == fault.Damaged || !strings.Contains(err.Error(), gone) {
		t.Errorf("a part that is never answered: %v", err)
	}
}

// ended answers every Get of a key by closing the connection.
type ended struct {
	objectstore.Store
	key string
}

func (s ended) Get(ctx context.Context, key string) (io.ReadCloser, objectstore.Attributes, error) {
	if key == s.key {
		return nil, objectstore.Attributes{}, fmt.Errorf("get %s: %w", key, io.EOF)
	}
	return s.Store.Get(ctx, key)
}

// A store that takes no more ends the backup: with the store's error, with nothing listed, and with nothing left on the server.
func TestTakeFails(t *testing.T) {
	server := postgrestest.Start(t)
	fill(t, server, 5000)
	store := objectstoretest.S3(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("the user pressed Ctrl-C")
	commits := func(op objectstoretest.Op, key string) bool {
		return op == objectstoretest.Put && strings.HasSuffix(key, "/commit.json")
	}
	put := objectstoretest.On(objectstoretest.Put, "base/")
	for name, c := range map[string]struct {
		ctx   context.Context
		store objectstore.Store
		want  error
	}{
		"parts":    {t.Context(), objectstoretest.ErrorBefore(store, objectstoretest.From(3, put)), objectstoretest.ErrInjected},
		"commit":   {t.Context(), objectstoretest.ErrorBefore(store, commits), objectstoretest.ErrInjected},
		"foreign":  {t.Context(), intruder{store}, objectstore.ErrPrecondition},
		"canceled": {ctx, objectstoretest.Blocked(objectstoretest.Hooked(store, put, func() { cancel(stopped) }), objectstoretest.From(2, put)), stopped},
	} {
		t.Run(name, func(t *testing.T) {
			r := repository(t, c.store)
			_, err := r.Take(c.ctx, server.URL("postgres"), backup.TakeOptions{Kind: backup.Manual, PartSize: 256 << 10}, quiet{})
			if !errors.Is(err, c.want) {
				t.Errorf("take: %v, want %v", err, c.want)
			}
			if listed, err := r.List(t.Context()); len(listed) > 0 || err != nil {
				t.Errorf("listed %+v, %v", listed, err)
			}
			idle(t, server)
		})
	}
}

// intruder lets somebody else write each first part just before.
type intruder struct{ objectstore.Store }

func (s intruder) Put(ctx context.Context, key string, body io.ReadSeeker, cond objectstore.Condition) (objectstore.Attributes, error) {
	if strings.HasSuffix(key, ".000001") {
		if _, err := s.Store.Put(ctx, key, bytes.NewReader([]byte("theirs")), objectstore.Always()); err != nil {
			return objectstore.Attributes{}, err
		}
	}
	return s.Store.Put(ctx, key, body, cond)
}

// idle waits until the server has neither a replication session nor a slot.
func idle(t testing.TB, server *postgrestest.Server) {
	t.Helper()
	c := connect(t, server)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var n int
		err := c.QueryRow(t.Context(), "select (select count(*) from pg_stat_replication) + (select count(*) from pg_replication_slots)").Scan(&n)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%d sessions and slots are left, %v", n, err)
		}
		if n == 0 {
			return
		}
	}
}

// A process that is killed between the last part and the commit leaves no backup.
func TestKilledTake(t *testing.T) {
	if endpoint := os.Getenv("BACKUP_TEST_ENDPOINT"); endpoint != "" {
		takeForever(t, endpoint, os.Getenv("BACKUP_TEST_DATABASE"))
		return
	}
	server := postgrestest.Start(t)
	fill(t, server, 1000)
	s3 := objectstoretest.Server(t)
	r := repository(t, objectstoretest.Bucket(t, s3, "test"))

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledTake$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), "BACKUP_TEST_ENDPOINT="+s3.Endpoint(), "BACKUP_TEST_DATABASE="+server.URL("postgres"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for stored := false; !stored; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-exited:
			t.Fatalf("the other process ended: %v\n%s", err, out.Bytes())
		default:
		}
		for o, err := range r.Store.List(t.Context(), "base/") {
			if err != nil {
				t.Fatal(err)
			}
			stored = stored || strings.HasSuffix(o.Key, "/backup_manifest.age")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-exited
	if listed, err := r.List(t.Context()); len(listed) > 0 || err != nil {
		t.Errorf("listed %+v, %v", listed, err)
	}
	idle(t, server)
	taken := take(t, r, server, backup.TakeOptions{Kind: backup.Manual, Key: "promotion 57"})
	if _, err := r.Verify(t.Context(), taken.ID, quiet{}); err != nil {
		t.Error(err)
	}
}

// takeForever takes a backup whose commit is never answered.
func takeForever(t *testing.T, endpoint, database string) {
	store, err := objectstore.OpenS3(t.Context(), objectstore.S3Config{Endpoint: endpoint, Bucket: "test", AccessKey: "test", SecretKey: "testtesttest"})
	if err != nil {
		t.Fatal(err)
	}
	r := repository(t, objectstoretest.Blocked(store, func(op objectstoretest.Op, key string) bool {
		return op == objectstoretest.Put && strings.HasSuffix(key, "/commit.json")
	}))
	_, err = r.Take(t.Context(), database, backup.TakeOptions{Kind: backup.Manual, Key: "promotion 57"}, quiet{})
	t.Fatal("take ended:", err)
}

func TestKeyAndID(t *testing.T) {
	server := postgrestest.Start(t)
	r := repository(t, objectstoretest.S3(t))
	now := time.Date(2026, 11, 24, 9, 12, 14, 0, time.UTC)
	r.Now = func() time.Time { return now }
	o := backup.TakeOptions{Kind: backup.PreDeploy, Key: "promotion 57"}
	first := take(t, r, server, o)
	again := take(t, r, server, o)
	if again.ID != first.ID || first.ID != "p-20261124-091214" {
		t.Errorf("one key gave %s and %s", first.ID, again.ID)
	}
	o.Key = "promotion 58" // in the same second
	if other := take(t, r, server, o); other.ID != first.ID+"-2" {
		t.Errorf("the next backup is %s", other.ID)
	}
	if _, err := r.Show(t.Context(), "p-20261124-091215"); fault.CodeOf(err) != fault.NotFound || fault.HintOf(err) == "" {
		t.Errorf("a backup that does not exist: %v", err)
	}
}

func TestTakeNeedsAServer(t *testing.T) {
	r := repository(t, objectstoretest.S3(t))
	_, err := r.Take(t.Context(), "postgres://postgres@127.0.0.1:1/postgres", backup.TakeOptions{Kind: backup.Manual}, quiet{})
	if fault.CodeOf(err) != fault.Unreachable {
		t.Errorf("take from no server: %v", err)
	}
}

// The server's compression is refused by servers that lack it; the client's then takes its place, unless the server's was asked for.
func TestCompressionThatTheServerLacks(t *testing.T) {
	server := postgrestest.Start(t)
	conn, err := replication.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, compression := range []string{"brotli", "zstd:level=1,threads=2", "zstd:level=99"} {
		if _, err := conn.BaseBackup(t.Context(), replication.Options{Compression: compression}); !errors.Is(err, replication.ErrCompression) {
			t.Errorf("%s: %v", compression, err)
		}
	}
	b, err := conn.BaseBackup(t.Context(), replication.Options{Label: "it's 'quoted'"})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for {
		s, err := b.Next()
		if err != nil {
			break
		}
		names = append(names, s.Name)
	}
	if !slices.Equal(names, []string{"base.tar", ""}) || b.Stop().LSN <= b.Start.LSN {
		t.Errorf("streams are %q, from %v to %v", names, b.Start, b.Stop())
	}
}
