package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/migrate"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/test/builds"
)

// release runs a real build of assistd against a database.
type release struct{ binary, database string }

func (r release) Exec(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, r.binary, args...)
	cmd.Env = []string{"ASSISTD_DATABASE_URL=" + r.database, "ASSISTD_LOCK_TIMEOUT=50ms"}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd.Run()
}

func TestReleases(t *testing.T) {
	server := postgrestest.Start(t)
	dir := t.TempDir()
	at := func(variant, database string) release {
		binary := filepath.Join(dir, variant)
		return release{binary, server.URL(database)}
	}
	for _, variant := range []string{builds.V1, builds.Current} {
		if err := builds.Build(t.Context(), variant, variant, filepath.Join(dir, variant)); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]func(t *testing.T, v1, v2 release){
		"UpAndDown":     testUpAndDown,
		"Partial":       testPartial,
		"Retries":       testRetries,
		"Drift":         testDrift,
		"NoDatabase":    testNoDatabase,
		"NothingIsOurs": testNothingIsOurs,
	} {
		t.Run(name, func(t *testing.T) {
			database := "test_" + strings.ToLower(name)
			execute(t, server.URL("postgres"), "CREATE DATABASE "+database)
			test(t, at(builds.V1, database), at(builds.Current, database))
		})
	}
}

func testUpAndDown(t *testing.T, v1, v2 release) {
	described, err := migrate.Describe(t.Context(), v2)
	if err != nil || described.Version != builds.Current || described.Schema.Head != 12 {
		t.Fatalf("%+v %v", described, err)
	}
	if findings, err := migrate.Lint(t.Context(), v2); err != nil || len(findings) > 0 {
		t.Errorf("lint: %v %v", findings, err)
	}
	if result, err := migrate.Up(t.Context(), v1, migrate.Options{}); err != nil || result.Current != 11 || len(result.Steps) != 11 {
		t.Fatalf("v1: %+v %v", result, err)
	}
	plan, err := migrate.Plan(t.Context(), v2)
	if err != nil || plan.Current != 11 || len(plan.Migrations) != 1 || plan.Migrations[0].Version != 12 {
		t.Errorf("plan: %+v %v", plan, err)
	}
	var shown progress
	var events int
	result, err := migrate.Up(t.Context(), v2, migrate.Options{Progress: &shown, Report: func(schema.Event) { events++ }})
	if err != nil || result.Current != 12 || len(result.Steps) != 1 || result.Steps[0].Title() != "12 briefings" || result.Steps[0].Phase != schema.Expand {
		t.Errorf("v2: %+v %v", result, err)
	}
	if !slices.Equal(shown, []string{"started 12 briefings", "done 12 briefings"}) || events != 3 {
		t.Errorf("progress: %q, %d events", shown, events)
	}
	status, err := migrate.Status(t.Context(), v1)
	if err != nil || len(status.Later) != 1 || len(status.Drift) != 0 {
		t.Errorf("v1 after v2: %+v %v", status, err)
	}
	result, err = migrate.Down(t.Context(), v2, migrate.Options{To: 10})
	if err != nil || result.Current != 10 || len(result.Steps) != 2 {
		t.Errorf("down: %+v %v", result, err)
	}
	if result, err = migrate.Up(t.Context(), v2, migrate.Options{To: 11}); err != nil || result.Current != 11 {
		t.Errorf("up to 11: %+v %v", result, err)
	}
}

func testPartial(t *testing.T, _, v2 release) {
	execute(t, v2.database, "CREATE TABLE sessions ()") // in the way of migration 2
	var shown progress
	result, err := migrate.Up(t.Context(), v2, migrate.Options{Progress: &shown})
	var partial *migrate.PartialError
	if !errors.As(err, &partial) {
		t.Fatalf("got %v", err)
	}
	if len(result.Steps) != 1 || result.Current != 1 || partial.Failed.Version != 2 || !slices.Equal(partial.Remaining, []int64{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}) {
		t.Errorf("%+v, failed %+v, remaining %v", result, partial.Failed, partial.Remaining)
	}
	for _, want := range []string{"migrate up 2 sessions", "already exists", "1 before it", "schema 1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if len(shown) != 4 || !strings.HasPrefix(shown[3], "failed 2 sessions") {
		t.Errorf("progress: %q", shown)
	}
}

func testRetries(t *testing.T, v1, v2 release) {
	if _, err := migrate.Up(t.Context(), v1, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), v2.database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	// Migration 4 adds a foreign key to users, for which it needs a lock that conflicts with a writer's.
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE users IN ROW EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	result, err := migrate.Up(t.Context(), v2, migrate.Options{Report: func(e schema.Event) {
		if e.Event == schema.Retry && e.Attempt == 2 {
			if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
				t.Error(err)
			}
		}
	}})
	if err != nil || len(result.Steps) != 1 || result.Steps[0].Retries < 2 {
		t.Errorf("%+v %v", result, err)
	}
}

func testDrift(t *testing.T, v1, v2 release) {
	if _, err := migrate.Up(t.Context(), v2, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	execute(t, v2.database, "UPDATE schema_history SET sha256 = 'other' WHERE version = 2; DELETE FROM schema_history WHERE version = 3")
	described, err := migrate.Describe(t.Context(), v2)
	if err != nil {
		t.Fatal(err)
	}
	status, err := migrate.Status(t.Context(), v1) // whichever build reads the history
	if err != nil {
		t.Fatal(err)
	}
	drift := migrate.Drift(described.Schema, status.Applied)
	if len(drift) != 2 || drift[0].Kind != schema.Edited || drift[0].Version != 2 || drift[1].Kind != schema.OutOfOrder || drift[1].Version != 3 {
		t.Errorf("drift: %v", drift)
	}
	_, err = migrate.Up(t.Context(), v2, migrate.Options{})
	var partial *migrate.PartialError
	if !errors.As(err, &partial) || partial.Failed != nil || !strings.Contains(err.Error(), "edited: 2 sessions") {
		t.Errorf("up: %v", err)
	}
}

func testNoDatabase(t *testing.T, _, v2 release) {
	v2.database = "postgres://nobody:hidden@127.0.0.1:1/x"
	if _, err := migrate.Status(t.Context(), v2); err == nil || !strings.Contains(err.Error(), "assistd migrate status --json") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("status: %v", err)
	}
	_, err := migrate.Up(t.Context(), v2, migrate.Options{})
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && len(err.Error()) < 40 || !strings.Contains(err.Error(), "connect") {
		t.Errorf("up: %v", err)
	}
	v2.binary = filepath.Join(t.TempDir(), "absent")
	if _, err := migrate.Up(t.Context(), v2, migrate.Options{}); err == nil {
		t.Error("a release that is not there migrates")
	}
}

// testNothingIsOurs: what is applied depends on the release that runs, not on the migrations that this test was built with.
func testNothingIsOurs(t *testing.T, v1, _ release) {
	ours, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	result, err := migrate.Up(t.Context(), v1, migrate.Options{})
	if err != nil || result.Current >= ours.Head() {
		t.Errorf("%+v %v", result, err)
	}
}

// script is a runner that prints what the test says.
type script struct {
	stdout, stderr string
	err            error
}

func (s script) Exec(_ context.Context, _ []string, stdout, stderr io.Writer) error {
	_, _ = io.WriteString(stderr, s.stderr)
	_, err := io.WriteString(stdout, s.stdout)
	return errors.Join(err, s.err)
}

// TestUpBelievesNobody: only a run that said how it ended, and ended so, succeeded.
func TestUpBelievesNobody(t *testing.T) {
	start := `{"event":"start","version":1,"name":"a","attempt":1}` + "\n"
	done := `{"event":"done","version":1,"name":"a","ms":5,"current":1}` + "\n"
	finished := `{"event":"finished","applied":[1],"current":1,"ms":9}` + "\n"
	for name, test := range map[string]struct {
		runner  script
		steps   int
		failed  bool   // a migration is named as the failed one
		message string // "" is success
	}{
		"success":                      {script{stdout: start + done + finished}, 1, false, ""},
		"no newline at the end":        {script{stdout: start + done + strings.TrimSpace(finished)}, 1, false, ""},
		"unknown event and field":      {script{stdout: `{"event":"pondering","mood":1}` + "\n" + start + done + finished}, 1, false, ""},
		"killed in the middle":         {script{stdout: start, err: errors.New("signal: killed")}, 0, true, "signal: killed"},
		"killed in the middle of text": {script{stdout: start + done[:20], err: errors.New("signal: killed")}, 0, true, "signal: killed"},
		"stopped silently":             {script{stdout: start + done}, 1, false, "without saying"},
		"nothing at all":               {script{}, 0, false, "without saying"},
		"finished, and exit 1":         {script{stdout: finished, err: errors.New("exit status 1"), stderr: "assistd: lock lost\n"}, 0, false, "lock lost (exit status 1)"},
		"failed, and exit 0":           {script{stdout: start + `{"event":"failed","error":"boom","remaining":[1,2]}`}, 0, true, "boom"},
		"not JSON":                     {script{stdout: "hello\n" + finished}, 0, false, `"hello"`},
		"no kind":                      {script{stdout: "{}\n" + finished}, 0, false, "without a kind"},
		"more after the end":           {script{stdout: finished + start}, 0, false, "after its last word"},
		"finished in the middle":       {script{stdout: start + finished}, 0, true, "without saying"},
		"endless line":                 {script{stdout: strings.Repeat("x", 2<<20)}, 0, false, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := migrate.Up(t.Context(), test.runner, migrate.Options{})
			if len(result.Steps) != test.steps {
				t.Errorf("steps: %+v", result.Steps)
			}
			if test.message == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var partial *migrate.PartialError
			if !errors.As(err, &partial) || !strings.Contains(err.Error(), test.message) || (partial.Failed != nil) != test.failed {
				t.Errorf("got %v, want %q", err, test.message)
			}
		})
	}
}

func TestStatusRefusesWhatIsNoStatus(t *testing.T) {
	for _, text := range []string{"", "hello", "[]", `{"current": "x"}`} {
		if _, err := migrate.Status(t.Context(), script{stdout: text}); err == nil {
			t.Errorf("%q is taken for a status", text)
		}
	}
}

func TestLintFindings(t *testing.T) {
	found := `[{"version":4,"name":"x","rule":"destructive","detail":"DROP TABLE users"}]`
	findings, err := migrate.Lint(t.Context(), script{stdout: found, err: errors.New("exit status 1")})
	if err != nil || len(findings) != 1 || findings[0].Rule != schema.Destructive {
		t.Errorf("%v %v", findings, err)
	}
	if _, err := migrate.Lint(t.Context(), script{err: errors.New("exit status 1")}); err == nil {
		t.Error("a linter that did not run found nothing")
	}
}

func TestCheckContracts(t *testing.T) {
	pending := []schema.Migration{
		{Version: 5, Name: "more", Phase: schema.Expand},
		{Version: 6, Name: "less", Phase: schema.Contract, Needs: 4},
	}
	running, rollback := migrate.Release{Version: "v2", Head: 4, Role: "running"}, migrate.Release{Version: "v1", Head: 3, Role: "kept for rollback"}
	if err := migrate.CheckContracts(pending, []migrate.Release{running}); err != nil {
		t.Errorf("v2 has moved on: %v", err)
	}
	err := migrate.CheckContracts(pending, []migrate.Release{running, rollback})
	var needed *migrate.NeededError
	if !errors.As(err, &needed) || needed.Migration.Version != 6 || len(needed.By) != 1 || needed.By[0] != rollback {
		t.Fatalf("got %v", err)
	}
	if text := err.Error(); !strings.Contains(text, "v1 (kept for rollback, schema 3)") || strings.Contains(text, "v2") {
		t.Error(text)
	}
	if err := migrate.CheckContracts(pending[:1], []migrate.Release{rollback}); err != nil {
		t.Errorf("an expand is for everybody: %v", err)
	}
}

// FuzzUp feeds the reader of events with anything, in pieces of any size. Whatever comes, it does not panic, does not depend
// on the pieces, and reports success only to a last word of "finished".
func FuzzUp(f *testing.F) {
	f.Add([]byte(`{"event":"start","version":1,"name":"a","attempt":1}`+"\n"+`{"event":"done","version":1,"ms":5}`+"\n"+`{"event":"finished","current":1}`), 7)
	f.Add([]byte(`{"event":"failed","error":"x","remaining":[1]}`), 1)
	f.Add([]byte("{\"event\":\"retry\",\"version\":-1}\n\r\n\x00"), 3)
	f.Fuzz(func(t *testing.T, output []byte, size int) {
		var last schema.Event
		whole, wholeErr := migrate.Up(t.Context(), pieces{output, len(output) + 1}, migrate.Options{Report: func(e schema.Event) { last = e }})
		cut, cutErr := migrate.Up(t.Context(), pieces{output, max(1, size%64)}, migrate.Options{Progress: new(progress)})
		if fmt.Sprint(whole, wholeErr) != fmt.Sprint(cut, cutErr) {
			t.Errorf("whole: %v %v, in pieces: %v %v", whole, wholeErr, cut, cutErr)
		}
		if wholeErr == nil && last.Event != schema.Finished {
			t.Errorf("success after %+v", last)
		}
	})
}

type pieces struct {
	output []byte
	size   int
}

func (p pieces) Exec(_ context.Context, _ []string, stdout, _ io.Writer) error {
	for piece := range slices.Chunk(p.output, p.size) {
		if _, err := stdout.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// progress keeps what it is told.
type progress []string

func (p *progress) StepStarted(name string)                        { *p = append(*p, "started "+name) }
func (p *progress) StepProgress(name string, _, _ int64, _ string) { *p = append(*p, "at "+name) }
func (p *progress) StepDone(name, _ string)                        { *p = append(*p, "done "+name) }
func (p *progress) StepFailed(name string, err error) {
	*p = append(*p, fmt.Sprintf("failed %s: %v", name, err))
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), sql)
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}
