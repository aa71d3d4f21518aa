package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

// What PostgreSQL's own tools say of a restored backup is the measure: pg_verifybackup before a server was started on it, and
// pg_amcheck after.

func TestRoundTrip(t *testing.T) {
	for _, compression := range []backup.Compression{backup.ServerSide, backup.ClientSide} {
		t.Run(string(compression), func(t *testing.T) {
			server := postgrestest.Start(t)
			fill(t, server, 20000)
			r := repository(t, objectstoretest.S3(t))

			taken := take(t, r, server, backup.TakeOptions{
				Kind: backup.PreDeploy, Label: "before 'promotion' 57", Run: 57, Release: "v1.9.0", SchemaHead: 43,
				KeepUntil: time.Date(2027, 2, 3, 4, 5, 6, 0, time.UTC), Compression: compression, PartSize: 1 << 20,
			})
			if taken.Kind != backup.PreDeploy || taken.ID[0] != 'p' || taken.StopLSN <= taken.StartLSN || taken.RawBytes < 20<<20 {
				t.Errorf("commit is %+v", taken.Commit)
			}
			listed, err := r.List(t.Context())
			if err != nil || len(listed) != 1 || listed[0].Problem != nil || fmt.Sprint(listed[0].Commit) != fmt.Sprint(taken.Commit) {
				t.Fatalf("listed %+v, %v, want %+v", listed, err, taken)
			}

			found, err := r.Verify(t.Context(), taken.ID, quiet{})
			if err != nil {
				t.Fatal(err)
			}
			dir := unpack(t, r, taken.ID)
			verifyBackup(t, dir)
			control, err := postgres.ReadControl(t.Context(), server.Binaries, dir, nil)
			if err != nil || control.SystemIdentifier != taken.SystemIdentifier || found.Files < 500 {
				t.Errorf("restored %+v, %+v, %v", found, control, err)
			}
			recovered := serve(t, dir)
			if got, want := sum(t, recovered), sum(t, server); got != want {
				t.Errorf("restored rows are %s, want %s", got, want)
			}
			amcheck(t, recovered)
		})
	}
}

// repository is one that takes and opens backups with a key of its own.
func repository(t testing.TB, store objectstore.Store) *backup.Repository {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &backup.Repository{
		Store: store, Environment: "prod", Now: time.Now,
		Sealer: &backup.Sealer{Epoch: 1, Recipient: identity.Recipient(), Signer: private},
		Opener: key{identity, []ed25519.PublicKey{public}},
	}
}

// key opens epoch 1.
type key struct {
	identity *age.X25519Identity
	writers  []ed25519.PublicKey
}

func (k key) Open(_ context.Context, epoch int) (age.Identity, []ed25519.PublicKey, error) {
	if epoch != 1 {
		return nil, nil, fault.Code(fmt.Errorf("no epoch %d", epoch), fault.Damaged)
	}
	return k.identity, k.writers, nil
}

// quiet is a Progress for nobody.
type quiet struct{}

func (quiet) StepStarted(string)                        {}
func (quiet) StepProgress(string, int64, int64, string) {}
func (quiet) StepDone(string, string)                   {}
func (quiet) StepFailed(string, error)                  {}

func take(t testing.TB, r *backup.Repository, server *postgrestest.Server, o backup.TakeOptions) backup.Backup {
	t.Helper()
	b, err := r.Take(t.Context(), server.URL("postgres"), o, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unpack restores into a fresh folder that the server's user may use.
func unpack(t testing.TB, r *backup.Repository, id string) string {
	t.Helper()
	dir := filepath.Join(postgrestest.Dir(t), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Unpack(t.Context(), id, dir, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	own(t, dir)
	return dir
}

// own gives a restored folder to the server's user.
func own(t testing.TB, dir string) {
	t.Helper()
	owner, err := postgres.ServerOwner()
	if err != nil {
		t.Fatal(err)
	}
	for _, top := range []string{dir, backup.TablespaceFolder(dir)} {
		err := filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return owner.Chown(path)
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// serve starts a server on a restored folder, which recovers it.
func serve(t testing.TB, dir string) *postgrestest.Server {
	t.Helper()
	s := postgrestest.New(t)
	s.DataDir = dir
	if err := startSomewhere(t.Context(), t, s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background(), postgres.Immediate); err != nil {
			t.Error(err)
		}
	})
	return s
}

// startSomewhere starts a server on another port when somebody has taken its own.
func startSomewhere(ctx context.Context, t testing.TB, s *postgrestest.Server) (err error) {
	t.Helper()
	for range 5 {
		if err = s.Server.Start(ctx); err == nil {
			return nil
		}
		s.Port = postgrestest.FreePort(t)
	}
	return err
}

func connect(t testing.TB, server *postgrestest.Server) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func execute(t testing.TB, server *postgrestest.Server, statements ...string) {
	t.Helper()
	c := connect(t, server)
	defer c.Close(t.Context())
	for _, s := range statements {
		if _, err := c.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// fill makes tables with indexes and rows that compress neither well nor badly.
func fill(t testing.TB, server *postgrestest.Server, rows int) {
	t.Helper()
	execute(t, server,
		`create extension if not exists amcheck`,
		`create table emails (id int primary key, sender text not null, body text not null)`,
		fmt.Sprintf(`insert into emails select i, md5(i::text), repeat(md5((i*7)::text), 1 + i%%5) from generate_series(1, %d) i`, rows),
		`create index on emails (sender)`, `update emails set body = body || 'x' where id % 10 = 0`,
		`create unlogged table scratch as select 1 as one`)
}

func sum(t testing.TB, server *postgrestest.Server) (s string) {
	t.Helper()
	c := connect(t, server)
	defer c.Close(t.Context())
	err := c.QueryRow(t.Context(), `select count(*) || ' ' || sum(hashtext(sender || body)::bigint) from emails`).Scan(&s)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifyBackup(t testing.TB, dir string) {
	t.Helper()
	tool(t, "pg_verifybackup", "--exit-on-error", dir)
}

func amcheck(t testing.TB, server *postgrestest.Server) {
	t.Helper()
	tool(t, "pg_amcheck", "--all", "--heapallindexed", "--parent-check", "--install-missing", "--maintenance-db="+server.URL("postgres"))
}

// tool runs one of PostgreSQL's programs, as the server's user.
func tool(t testing.TB, program string, args ...string) {
	t.Helper()
	binaries, err := postgres.Find(os.Getenv("ASSISTCTL_POSTGRES_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	owner, err := postgres.ServerOwner()
	if err != nil {
		t.Fatal(err)
	}
	path := binaries.Path(program)
	if _, err := os.Stat(path); err != nil {
		if path, err = exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	cmd := owner.Command(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out.Bytes())
	}
}
