// Package readme holds the README to its word: the recipe that opens a backup without assistctl is run as it stands there,
// the commands exist, and what is copied from elsewhere is still what stands there.
package readme

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/command"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/cli/terminal"
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
	_, after, marked := strings.Cut(readme(t), "run by test/readme")
	_, after, opened := strings.Cut(after, "```bash\n")
	block, _, closed := strings.Cut(after, "```\n")
	if !marked || !opened || !closed {
		t.Fatal("the README has no recipe")
	}
	return block
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var typed = regexp.MustCompile("(?m)(?:^|`)assistctl ([a-z][^`#\n]*)")

// Every command that the README types is one that assistctl knows, with these flags.
func TestCommandsExist(t *testing.T) {
	found := typed.FindAllStringSubmatch(readme(t), -1)
	if len(found) < 20 {
		t.Fatalf("the README types %d commands; this test looks for them in the wrong way", len(found))
	}
	for _, match := range found {
		words := strings.Fields(match[1])
		root := command.NewRoot(&command.App{IO: terminal.System(), Now: time.Now})
		cmd, rest, err := root.Find(words)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if args := cmd.Flags().Args(); err == nil && cmd.HasSubCommands() && len(args) > 0 {
			err = fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
		}
		if err != nil {
			t.Errorf("assistctl %s: %v", match[1], err)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, code := range []int{
		fault.OK, fault.Failed, fault.Usage, fault.Refused, fault.Held, fault.NotFound, fault.Damaged, fault.Unreachable,
		fault.RolledBack, fault.Stuck, fault.Drift, fault.Interrupted,
	} {
		if !strings.Contains(readme(t), fmt.Sprintf("\n| %d | ", code)) {
			t.Errorf("exit code %d is not in the table", code)
		}
	}
}

func TestConfigurationIsTheRepositorysOwn(t *testing.T) {
	file, err := os.ReadFile("../../assistctl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, content, _ := strings.Cut(string(file), "\n") // without its heading
	if !strings.Contains(readme(t), "```yaml\n"+content+"```") {
		t.Error("the README shows another assistctl.yaml than the repository has")
	}
	if _, err := config.Load(config.Options{File: "../../assistctl.yaml", Dir: ".", Home: "/"}); err != nil {
		t.Error(err)
	}
}

// take makes a backup as assistctl does: encrypted to an epoch, whose identity is encrypted to the operator's.
func take(t *testing.T, r *backup.Repository, identity string, server *postgrestest.Server) string {
	t.Helper()
	operator, _, err := backup.LoadOperator(identity, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys := &backup.Keys{Store: r.Store, Environment: r.Environment, Operator: operator, Now: time.Now}
	if r.Sealer, err = backup.EnsureWriter(t.Context(), backup.WriterFile(filepath.Join(t.TempDir(), "writer")), keys, rand.Reader); err != nil {
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
