// Package recipe runs the README's recipe that opens a backup without assistctl, as it stands there.
package recipe

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

func TestBackupOpensByHand(t *testing.T) {
	server := postgrestest.Start(t)
	ask(t, server.URL("postgres"), `create table emails as select i as id, md5(i::text) as sender from generate_series(1, 50000) i`)
	const question = `select count(*) || ' ' || sum(hashtext(sender)::bigint) from emails`
	want := ask(t, server.URL("postgres"), question)

	s3 := objectstoretest.Server(t)
	identity := filepath.Join(t.TempDir(), "operator")
	id := take(t, &backup.Repository{Store: objectstoretest.Bucket(t, s3, "assistant"), Environment: "prod", Now: time.Now}, identity, server)
	ask(t, server.URL("postgres"), `drop table emails`)

	dir := filepath.Join(postgrestest.Dir(t), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, exec.CommandContext(t.Context(), "bash", "-c", recipe(t)),
		"IDENTITY="+identity, "BUCKET="+filepath.Join(s3.Root, "assistant"), "BACKUP="+id, "OUT="+dir)

	own(t, dir)
	run(t, owner(t).Command(t.Context(), server.Path("pg_verifybackup"), "--exit-on-error", dir))
	restored := postgrestest.New(t)
	restored.DataDir = dir
	if err := restored.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := restored.Stop(context.Background(), postgres.Immediate); err != nil {
			t.Error(err)
		}
	})
	if got := ask(t, restored.URL("postgres"), question); got != want {
		t.Errorf("the backup that was opened by hand holds %s, want %s", got, want)
	}
}

// recipe is the first code block after the mark in the README.
func recipe(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, marked := strings.Cut(string(readme), "run by test/recipe")
	_, after, opened := strings.Cut(after, "```bash\n")
	block, _, closed := strings.Cut(after, "```\n")
	if !marked || !opened || !closed {
		t.Fatal("the README has no recipe")
	}
	return block
}

// take makes a backup as assistctl does: encrypted to an epoch, whose identity is encrypted to the operator's.
func take(t *testing.T, r *backup.Repository, identity string, server *postgrestest.Server) string {
	t.Helper()
	operator, _, err := backup.LoadOperator(identity, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys := &backup.Keys{Store: r.Store, Environment: r.Environment, Operator: operator, Now: time.Now}
	if r.Sealer, err = backup.EnsureWriter(t.Context(), filepath.Join(t.TempDir(), "writer"), keys, rand.Reader); err != nil {
		t.Fatal(err)
	}
	r.Opener = keys
	b, err := r.Take(t.Context(), server.URL("postgres"), backup.TakeOptions{Kind: backup.Manual, PartSize: 1 << 20}, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	return b.ID
}

type quiet struct{}

func (quiet) StepStarted(string)                        {}
func (quiet) StepProgress(string, int64, int64, string) {}
func (quiet) StepDone(string, string)                   {}
func (quiet) StepFailed(string, error)                  {}

func ask(t *testing.T, url, sql string) (answer string) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	rows, err := db.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&answer); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

func run(t *testing.T, cmd *exec.Cmd, environment ...string) {
	t.Helper()
	cmd.Env = append(os.Environ(), environment...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args[0], err, out.Bytes())
	}
}

func owner(t *testing.T) *postgres.Owner {
	t.Helper()
	o, err := postgres.ServerOwner()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// own gives the folder to the server's user.
func own(t *testing.T, dir string) {
	t.Helper()
	o := owner(t)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return o.Chown(path)
	})
	if err != nil {
		t.Fatal(fmt.Errorf("give %s to the server's user: %w", dir, err))
	}
}
