package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/test/builds"
)

// TestProcess runs the tests below with the real program on one PostgreSQL server, each in a database of its own.
func TestProcess(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "assistd")
	if err := builds.Build(t.Context(), builds.Current, "v9.9.9", binary); err != nil {
		t.Fatal(err)
	}
	server := postgrestest.Start(t)
	admin := connect(t, server.URL("template1"))
	for name, test := range map[string]func(*testing.T, program){
		"KilledWhileIndexing":  testKilledWhileIndexing,
		"KilledAnywhere":       testKilledAnywhere,
		"Version":              testVersion,
		"Settings":             testSettings,
		"ErrorFile":            testErrorFile,
		"MigrateFailsInJSON":   testMigrateFailsInJSON,
		"MigrateForPeople":     testMigrateForPeople,
		"ServeSmokeAndSIGTERM": testServeSmokeAndSIGTERM,
		"InAPod":               testInAPod,
		"Admin":                testAdmin,
	} {
		t.Run(name, func(t *testing.T) {
			database := "test_" + strings.ToLower(name)
			if _, err := admin.Exec(t.Context(), "CREATE DATABASE "+database); err != nil {
				t.Fatal(err)
			}
			url := server.URL(database)
			test(t, program{binary, url, []string{"ASSISTD_DATABASE_URL=" + url}})
		})
	}
}

// program is assistd with its environment.
type program struct {
	path string
	url  string
	env  []string
}

func (p program) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.path, args...)
	cmd.Env = p.env
	return cmd
}

// run wants success and returns what was printed to stdout.
func (p program) run(t *testing.T, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := p.command(t, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("assistd %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

func (p program) status(t *testing.T) schema.Status {
	t.Helper()
	var status schema.Status
	if err := json.Unmarshal([]byte(p.run(t, "migrate", "status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	return status
}

// testKilledWhileIndexing kills the runner with SIGKILL while the server is making an index concurrently, and runs another
// at once: it waits for the server to be done with the dead one, drops the INVALID index and makes it anew.
func testKilledWhileIndexing(t *testing.T, p program) {
	p.run(t, "migrate", "up", "--to", "2")
	old := connect(t, p.url)
	execute(t, old, "BEGIN; INSERT INTO users (email, password_hash, created_at) VALUES ('a@example.org', '', now())")
	execute(t, old, "INSERT INTO sessions (user_id, created_at, expires_at) SELECT id, now(), now() FROM users")

	first := p.command(t, "migrate", "up", "--json")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	watcher := connect(t, p.url)
	invalid := func() bool {
		return count(t, watcher, `SELECT count(*) FROM pg_index WHERE NOT indisvalid`) == 1
	}
	eventually(t, "the index is being made", invalid)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()

	second := p.command(t, "migrate", "up", "--json")
	output, err := second.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	var events []string
	for lines := bufio.NewScanner(output); lines.Scan(); {
		var e schema.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		events = append(events, fmt.Sprintf("%s %d", e.Event, e.Version))
		if e.Event == schema.Repair {
			execute(t, old, "COMMIT") // the second attempt would wait for it as the first one did
		}
	}
	if err := second.Wait(); err != nil {
		t.Fatalf("%v: %v", err, events)
	}
	all := strings.Join(events, ", ")
	if !strings.Contains(all, "start 3, repair 3, done 3, start 4, done 4, ") || !strings.HasSuffix(all, ", finished 0") {
		t.Errorf("events: %s", all)
	}
	if s := p.status(t); s.Current != s.Head || len(s.Drift)+len(s.Pending)+len(s.InvalidIndexes) > 0 {
		t.Errorf("status: %+v", s)
	}
	if n := count(t, watcher, `SELECT count(*) FROM pg_index WHERE indexrelid = 'sessions_expires_at_idx'::regclass AND indisvalid`); n != 1 {
		t.Error("the index is not valid")
	}
}

// testKilledAnywhere kills runners up and down at many moments; the next run always gets through.
func testKilledAnywhere(t *testing.T, p program) {
	killed := 0
	for i := range 16 {
		direction := []string{"migrate", "up", "--json"}
		if i%2 == 1 {
			direction = []string{"migrate", "down", "--to", "0", "--json"}
		}
		cmd := p.command(t, direction...)
		output, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(output)
		for range i / 2 { // after its first, second, … event
			lines.Scan()
		}
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, output); err != nil {
			t.Fatal(err)
		}
		if cmd.Wait() != nil {
			killed++
		}
		if i%4 == 3 { // let two kills pile up before it is asked to get through
			p.run(t, "migrate", "up", "--json")
			if s := p.status(t); s.Current != s.Head || len(s.Drift)+len(s.Pending)+len(s.InvalidIndexes) > 0 {
				t.Fatalf("after kill %d: %+v", i, s)
			}
		}
	}
	if killed == 0 {
		t.Error("every run was done before it was killed: the test tests nothing")
	}
}

func testVersion(t *testing.T, p program) {
	var answer struct {
		Version, Commit, Go string
		Schema              schema.Manifest
	}
	if err := json.Unmarshal([]byte(p.run(t, "version", "--json")), &answer); err != nil {
		t.Fatal(err)
	}
	set, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if answer.Version != "v9.9.9" || answer.Go == "" || answer.Commit == "" || answer.Schema.Head != set.Head() ||
		len(answer.Schema.Migrations) != len(set.Migrations()) || answer.Schema.Migrations[0].SHA256 != set.Migrations()[0].SHA256 {
		t.Errorf("got %+v", answer)
	}
	if text := p.run(t, "migrate", "lint", "--json"); strings.TrimSpace(text) != "[]" {
		t.Errorf("lint: %s", text)
	}
}

// testSettings: everything that is wrong is said at once, and a URL with a password is not repeated.
func testSettings(t *testing.T, p program) {
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.env = []string{
		"ASSISTD_DATABASE_URL=postgres://u:secretpassword@127.0.0.1:1/x", "ASSISTD_JWT_KEY_FILE=" + key,
		"ASSISTD_DRAIN_DELAY=soon", "ASSISTD_BCRYPT_COST=4", "ASSISTD_LOG_LEVEL=loud",
	}
	out, err := p.command(t, "serve").CombinedOutput()
	if err == nil {
		t.Error("it serves")
	}
	for _, name := range []string{"ASSISTD_JWT_KEY_FILE", "ASSISTD_MASTER_KEY_FILE", "ASSISTD_DRAIN_DELAY", "ASSISTD_BCRYPT_COST", "ASSISTD_LOG_LEVEL"} {
		if !strings.Contains(string(out), name) {
			t.Errorf("%s is not named in: %s", name, out)
		}
	}
	if out, err := p.command(t, "migrate", "status").CombinedOutput(); err == nil || strings.Contains(string(out), "secretpassword") {
		t.Errorf("%v %s", err, out)
	}
	p.env = []string{"ASSISTD_DATABASE_URL=postgres://u:secretpassword@[broken"}
	if out, err := p.command(t, "migrate", "status").CombinedOutput(); err == nil || strings.Contains(string(out), "secretpassword") {
		t.Errorf("%v %s", err, out)
	}

	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(p.url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.env = []string{"ASSISTD_DATABASE_URL_FILE=" + file}
	p.run(t, "migrate", "status")
}

func testErrorFile(t *testing.T, p program) {
	file := filepath.Join(t.TempDir(), "error")
	p.env = append(p.env, "ASSISTD_ERROR_FILE="+file)
	if out, err := p.command(t, "migrate", "down").CombinedOutput(); err == nil || len(out) > 0 {
		t.Errorf("%v, and wrote %q", err, out)
	}
	if said, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(said), "assistd: ") {
		t.Errorf("the file says %q: %v", said, err)
	}
	p.env = append(p.env, "ASSISTD_ERROR_FILE=/nowhere/error")
	if out, err := p.command(t, "migrate", "down").CombinedOutput(); err == nil || !strings.HasPrefix(string(out), "assistd: ") {
		t.Errorf("without a file it says %q: %v", out, err)
	}
}

func testMigrateFailsInJSON(t *testing.T, p program) {
	execute(t, connect(t, p.url), "CREATE TABLE sessions ()") // migration 2 makes one
	var stderr bytes.Buffer
	cmd := p.command(t, "migrate", "up", "--json")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil || stderr.Len() > 0 {
		t.Errorf("%v, on stderr: %s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var last schema.Event
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Event != schema.Failed || last.Current != 1 || fmt.Sprint(last.Applied, last.Remaining) != "[1] [2 3 4 5 6 7 8 9 10 11 12]" || !strings.Contains(last.Error, "42P07") {
		t.Errorf("last line: %+v", last)
	}
}

func testMigrateForPeople(t *testing.T, p program) {
	if out := p.run(t, "migrate", "plan"); strings.Count(out, "apply  ") != 12 || !strings.Contains(out, "concurrently") {
		t.Errorf("plan:\n%s", out)
	}
	if out := p.run(t, "migrate", "up"); !strings.Contains(out, "12 migrations up, schema 12") {
		t.Errorf("up:\n%s", out)
	}
	execute(t, connect(t, p.url), "UPDATE schema_history SET sha256 = 'x' WHERE version = 2")
	if out := p.run(t, "migrate", "status"); strings.Count(out, "applied") < 4 || !strings.Contains(out, "edited") {
		t.Errorf("status:\n%s", out)
	}
	if out, err := p.command(t, "migrate", "down").CombinedOutput(); err == nil || !strings.Contains(string(out), "to") {
		t.Errorf("down without --to: %v %s", err, out)
	}
}

// testAdmin: an operator says by hand who is an administrator and whose address is proved.
func testAdmin(t *testing.T, p program) {
	p.run(t, "migrate", "up")
	db := connect(t, p.url)
	execute(t, db, "INSERT INTO users (email, password_hash, created_at) VALUES ('ada@example.org', '', now())")
	for _, step := range []struct{ verb, says, holds string }{
		{"grant", "Ada@example.org is an administrator\n", "role = 'admin' AND verified_at IS NULL"},
		{"verify", "Ada@example.org is verified\n", "role = 'admin' AND verified_at IS NOT NULL"},
		{"revoke", "Ada@example.org is no administrator\n", "role = 'user' AND verified_at IS NOT NULL"},
	} {
		if out := p.run(t, "admin", step.verb, "Ada@example.org"); out != step.says {
			t.Errorf("%s says %q", step.verb, out)
		}
		if count(t, db, "SELECT count(*) FROM users WHERE "+step.holds) != 1 {
			t.Errorf("after %s this does not hold: %s", step.verb, step.holds)
		}
	}
	if out, err := p.command(t, "admin", "verify", "nobody@example.org").CombinedOutput(); err == nil || !strings.Contains(string(out), "no such user") {
		t.Errorf("an address without an account: %v %s", err, out)
	}
}

func testServeSmokeAndSIGTERM(t *testing.T, p program) {
	p.run(t, "migrate", "up")
	address := fmt.Sprintf("127.0.0.1:%d", postgrestest.FreePort(t))
	key := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, key)
	p.env = append(p.env, "ASSISTD_LISTEN="+address, "ASSISTD_JWT_KEY_FILE="+key, "ASSISTD_MASTER_KEY_FILE="+writeMasterKey(t),
		"ASSISTD_DRAIN_DELAY=100ms", "ASSISTD_REPLICA=only")
	cmd := p.command(t, "serve")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	eventually(t, "it is ready", func() bool { return p.command(t, "health", "--ready").Run() == nil })
	p.run(t, "health")

	out := p.run(t, "smoke", "--url", "http://"+address, "--reads", "3", "--json", "--version", "v9.9.9")
	for _, check := range []string{"ready", "version", "register", "login", "profile", "refresh", "briefing", "delete"} {
		if !strings.Contains(out, `{"check":"`+check+`","ok":true`) {
			t.Errorf("no %s in\n%s", check, out)
		}
	}
	if n := count(t, connect(t, p.url), `SELECT count(*) FROM users`); n != 0 {
		t.Errorf("%d users are left", n)
	}
	if out, err := p.command(t, "smoke", "--url", "http://"+address, "--version", "v1.0.0").Output(); err == nil || !strings.Contains(string(out), "✗ version: replica only runs v9.9.9, want v1.0.0") {
		t.Errorf("smoke of another version: %v\n%s", err, out)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, log.String())
	}
	if _, err := http.Get("http://" + address + "/health"); err == nil { //nolint:bodyclose,noctx // an error is what is wanted
		t.Error("it still answers")
	}
	if err := p.command(t, "health").Run(); err == nil {
		t.Error("health says yes to nobody")
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, conn *pgx.Conn, sql string) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("30 s on, this still does not hold: %s", what)
		}
	}
}
