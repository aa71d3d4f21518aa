package migrator_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/schema/migrator"
)

// TestMigrator runs every test below on one server, each in a database of its own.
func TestMigrator(t *testing.T) {
	server := postgrestest.Start(t, postgrestest.WithSettings(map[string]string{"deadlock_timeout": "100ms"}))
	for name, test := range map[string]func(*testing.T, *database){
		"UpAndDownOnData":         testUpAndDownOnData,
		"Idempotent":              testIdempotent,
		"To":                      testTo,
		"TwoRunnersOnAnEmptyOne":  testTwoRunnersOnAnEmptyOne,
		"SecondRunnerWaits":       testSecondRunnerWaits,
		"SecondRunnerIsTold":      testSecondRunnerIsTold,
		"LongReader":              testLongReader,
		"LockTimeoutIsBounded":    testLockTimeoutIsBounded,
		"Deadlock":                testDeadlock,
		"InvalidIndexIsRemade":    testInvalidIndexIsRemade,
		"ConcurrentWaitsForever":  testConcurrentOutlastsLockTimeout,
		"FailureSaysHowFar":       testFailureSaysHowFar,
		"DriftIsNamedAndRefused":  testDriftIsNamedAndRefused,
		"LaterReleaseTakesBack":   testLaterReleaseTakesBack,
		"HistoryEqualsGoose":      testHistoryEqualsGoose,
		"CancelLeavesNothingHalf": testCancelLeavesNothingHalf,
	} {
		t.Run(name, func(t *testing.T) { test(t, newDatabase(t, server)) })
	}
}

// testUpAndDownOnData walks every embedded migration up and down again over rows, and wants the same catalog at each version.
func testUpAndDownOnData(t *testing.T, db *database) {
	set, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	m := db.migrator(t, set, migrator.Options{})
	catalogs := map[int64]string{0: db.catalog(t)}
	for _, migration := range set.Migrations() {
		if err := m.Up(t.Context(), migration.Version); err != nil {
			t.Fatal(err)
		}
		catalogs[migration.Version] = db.catalog(t)
		db.seed(t)
	}
	for v := set.Head() - 1; v >= 0; v-- {
		if err := m.Down(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		if v == 0 {
			continue // the version tables stay; everything else is compared below
		}
		if got := db.catalog(t); got != catalogs[v] {
			t.Errorf("after going down to %d the catalog is\n%s\nand it was\n%s", v, got, catalogs[v])
		}
	}
	if got := db.catalog(t); got != catalogs[0] {
		t.Errorf("the empty database has\n%s", got)
	}
	if err := m.Up(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if got := db.catalog(t); got != catalogs[set.Head()] {
		t.Errorf("up again gives\n%s\nand gave\n%s", got, catalogs[set.Head()])
	}
}

func testIdempotent(t *testing.T, db *database) {
	events := &recorder{}
	m := db.migrator(t, threeTables(t), migrator.Options{Report: events.report, Release: "v7"})
	for range 2 {
		if err := m.Up(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	want := "start 1, done 1, start 2, done 2, start 3, done 3, finished, finished"
	if got := events.String(); got != want {
		t.Errorf("events: %s; want %s", got, want)
	}
	status := db.status(t, m)
	if len(status.Applied) != 3 || status.Current != 3 || status.Applied[2].Release != "v7" || len(status.Pending)+len(status.Drift) > 0 {
		t.Errorf("status: %+v", status)
	}
}

func testTo(t *testing.T, db *database) {
	m := db.migrator(t, threeTables(t), migrator.Options{})
	if err := m.Up(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if s := db.status(t, m); s.Current != 2 || len(s.Pending) != 1 {
		t.Errorf("after up to 2: %+v", s)
	}
	if err := m.Down(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if s := db.status(t, m); s.Current != 1 || len(s.Pending) != 2 {
		t.Errorf("after down to 1: %+v", s)
	}
}

// testTwoRunnersOnAnEmptyOne starts both before there is so much as a version table.
func testTwoRunnersOnAnEmptyOne(t *testing.T, db *database) {
	var runners sync.WaitGroup
	done := make([]*recorder, 4)
	for i := range done {
		done[i] = &recorder{}
		m := db.migrator(t, threeTables(t), migrator.Options{Report: done[i].report})
		runners.Go(func() {
			if err := m.Up(t.Context(), 0); err != nil {
				t.Error(err)
			}
		})
	}
	runners.Wait()
	applied := 0
	for _, r := range done {
		applied += strings.Count(r.String(), "done")
	}
	if applied != 3 {
		t.Errorf("%d migrations were applied by all runners together, want 3", applied)
	}
}

func testSecondRunnerWaits(t *testing.T, db *database) {
	release := db.hold(t, 42)
	set := load(t, map[string]string{"00001_slow.sql": expand + "-- +goose Up\nSELECT pg_advisory_xact_lock(42);\nCREATE TABLE a ();\n-- +goose Down\nDROP TABLE a;\n"})
	first, second := &recorder{}, &recorder{}
	a := db.migrator(t, set, migrator.Options{Report: first.report, LockTimeout: time.Minute})
	b := db.migrator(t, set, migrator.Options{Report: second.report})
	errs := make(chan error, 2)
	go func() { errs <- a.Up(t.Context(), 0) }()
	eventually(t, "the first runner is at work", func() bool { return strings.Contains(first.String(), "start 1") })
	go func() { errs <- b.Up(t.Context(), 0) }()
	eventually(t, "the second runner waits", func() bool { return second.String() == "waiting-lock" })
	release()
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := second.String(); got != "waiting-lock, finished" {
		t.Errorf("the second runner: %s", got)
	}
}

func testSecondRunnerIsTold(t *testing.T, db *database) {
	release := db.hold(t, 42)
	set := load(t, map[string]string{"00001_slow.sql": expand + "-- +goose Up\nSELECT pg_advisory_xact_lock(42);\n-- +goose Down\nSELECT 1;\n"})
	first := &recorder{}
	a := db.migrator(t, set, migrator.Options{Report: first.report, LockTimeout: time.Minute, Release: "v1.2.3"})
	b := db.migrator(t, set, migrator.Options{RunnerWait: 50 * time.Millisecond})
	errs := make(chan error, 1)
	go func() { errs <- a.Up(t.Context(), 0) }()
	eventually(t, "the first runner is at work", func() bool { return strings.Contains(first.String(), "start 1") })
	err := b.Up(t.Context(), 0)
	var held *migrator.RunnerError
	if !errors.As(err, &held) || !strings.Contains(held.Holder, "assistd migrate v1.2.3") {
		t.Errorf("the second runner got %v, want to be told of assistd migrate v1.2.3", err)
	}
	release()
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

// testLongReader lets an open transaction keep its lock on the table until the migration was put off twice, with other
// readers coming through in between.
func testLongReader(t *testing.T, db *database) {
	reader := db.connect(t)
	exec(t, reader, "CREATE TABLE a (x int)")
	exec(t, reader, "BEGIN; SELECT * FROM a")
	events := &recorder{}
	set := load(t, map[string]string{"00001_alter.sql": expand + "-- +goose Up\nALTER TABLE a ADD COLUMN y int;\n-- +goose Down\nALTER TABLE a DROP COLUMN y;\n"})
	m := db.migrator(t, set, migrator.Options{Report: events.report, LockTimeout: 100 * time.Millisecond})
	done := make(chan error, 1)
	go func() { done <- m.Up(t.Context(), 0) }()
	other := db.connect(t)
	eventually(t, "two retries", func() bool {
		exec(t, other, "SELECT * FROM a") // never stuck behind the waiting ALTER for good
		return strings.Count(events.String(), "retry 1") >= 2
	})
	exec(t, reader, "COMMIT")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if detail := events.first(schema.Retry).Detail; !strings.Contains(detail, "oldest open transaction is backend") {
		t.Errorf("the retry does not say who is in the way: %s", detail)
	}
}

func testLockTimeoutIsBounded(t *testing.T, db *database) {
	reader := db.connect(t)
	exec(t, reader, "CREATE TABLE a (x int)")
	exec(t, reader, "BEGIN; SELECT * FROM a")
	set := load(t, map[string]string{
		"00001_table.sql": expand + "-- +goose Up\nCREATE TABLE b ();\n-- +goose Down\nDROP TABLE b;\n",
		"00002_alter.sql": expand + "-- +goose Up\nCREATE TABLE c ();\nALTER TABLE a ADD COLUMN y int;\n-- +goose Down\nSELECT 1;\n",
	})
	m := db.migrator(t, set, migrator.Options{LockTimeout: 50 * time.Millisecond, Attempts: 2})
	err := m.Up(t.Context(), 0)
	var failed *migrator.RunError
	if !errors.As(err, &failed) || failed.Failed.Version != 2 || len(failed.Applied) != 1 {
		t.Fatalf("got %v, want to be told that 1 is applied and 2 failed", err)
	}
	if db.exists(t, "c") {
		t.Error("the failed migration left its table behind")
	}
	exec(t, reader, "COMMIT")
	if err := m.Up(t.Context(), 0); err != nil {
		t.Errorf("after the reader left: %v", err)
	}
}

// testDeadlock makes the migration the one that PostgreSQL chooses: it is the last to wait.
func testDeadlock(t *testing.T, db *database) {
	gate := db.hold(t, 42)
	other := db.connect(t)
	exec(t, other, "CREATE TABLE a (); CREATE TABLE b (); SET deadlock_timeout = '1h'")
	exec(t, other, "BEGIN; LOCK TABLE b")
	events := &recorder{}
	set := load(t, map[string]string{"00001_locks.sql": expand + "-- +goose Up\nLOCK TABLE a;\nSELECT pg_advisory_xact_lock(42);\nLOCK TABLE b;\n-- +goose Down\nSELECT 1;\n"})
	m := db.migrator(t, set, migrator.Options{Report: events.report, LockTimeout: time.Minute})
	done := make(chan error, 1)
	go func() { done <- m.Up(t.Context(), 0) }()
	watcher := db.connect(t)
	eventually(t, "the migration waits at the gate", func() bool { return waiting(t, watcher, "advisory") })
	through := make(chan error, 1)
	go func() {
		_, err := other.Exec(t.Context(), "LOCK TABLE a; COMMIT")
		through <- err
	}()
	eventually(t, "the other one waits for the migration", func() bool { return waiting(t, watcher, "relation") })
	gate()
	if err := errors.Join(<-through, <-done); err != nil {
		t.Fatal(err)
	}
	if detail := events.first(schema.Retry).Detail; !strings.Contains(detail, "40P01") {
		t.Errorf("it was not a deadlock: %q in %s", detail, events)
	}
}

// testInvalidIndexIsRemade breaks a CREATE INDEX CONCURRENTLY off in the middle, which leaves an INVALID index and no row.
func testInvalidIndexIsRemade(t *testing.T, db *database) {
	old := db.connect(t)
	exec(t, old, "CREATE TABLE a (x int)")
	exec(t, old, "BEGIN; INSERT INTO a VALUES (1)") // the index has to wait for this transaction
	set := load(t, map[string]string{"00001_index.sql": concurrentIndex})
	events := &recorder{}
	m := db.migrator(t, set, migrator.Options{Report: events.report})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Up(ctx, 0) }()
	eventually(t, "an index is being made", func() bool { return len(db.status(t, m).InvalidIndexes) == 1 })
	cancel()
	if err := <-done; err == nil {
		t.Fatal("the interrupted run says that it succeeded")
	}

	exec(t, old, "COMMIT")
	status := db.status(t, m)
	if len(status.Applied) != 0 || len(status.InvalidIndexes) != 1 {
		t.Fatalf("the interruption left %+v, want an invalid index and no row: the test tests nothing", status)
	}
	if err := m.Up(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(events.String(), "repair 1") {
		t.Errorf("events: %s", events)
	}
	if s := db.status(t, m); s.Current != 1 || len(s.InvalidIndexes) != 0 || !db.exists(t, "Odd name") {
		t.Errorf("after the repair: %+v", s)
	}
}

// testConcurrentOutlastsLockTimeout: waiting for old transactions holds up nobody, so lock_timeout does not end it.
func testConcurrentOutlastsLockTimeout(t *testing.T, db *database) {
	old := db.connect(t)
	exec(t, old, "CREATE TABLE a (x int)")
	exec(t, old, "BEGIN; INSERT INTO a VALUES (1)")
	events := &recorder{}
	m := db.migrator(t, load(t, map[string]string{"00001_index.sql": concurrentIndex}),
		migrator.Options{Report: events.report, LockTimeout: time.Millisecond})
	done := make(chan error, 1)
	go func() { done <- m.Up(t.Context(), 0) }()
	watcher := db.connect(t)
	eventually(t, "the index waits", func() bool { return waiting(t, watcher, "virtualxid") || waiting(t, watcher, "transactionid") })
	exec(t, watcher, "SELECT pg_sleep(0.1)") // longer than lock_timeout by far
	exec(t, old, "COMMIT")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := events.String(); got != "start 1, done 1, finished" {
		t.Errorf("events: %s", got)
	}
}

func testFailureSaysHowFar(t *testing.T, db *database) {
	files := map[string]string{
		"00001_a.sql": expand + "-- +goose Up\nCREATE TABLE a ();\n-- +goose Down\nDROP TABLE a;\n",
		"00002_b.sql": expand + "-- +goose Up\nCREATE TABLE b ();\nCREATE TABLE a ();\n-- +goose Down\nDROP TABLE b;\n",
		"00003_c.sql": expand + "-- +goose Up\nCREATE TABLE c ();\n-- +goose Down\nDROP TABLE c;\n",
	}
	events := &recorder{}
	err := db.migrator(t, load(t, files), migrator.Options{Report: events.report}).Up(t.Context(), 0)
	var failed *migrator.RunError
	if !errors.As(err, &failed) || failed.Failed.Version != 2 || len(failed.Applied) != 1 || len(failed.Remaining) != 1 {
		t.Fatalf("got %v", err)
	}
	last := events.first(schema.Failed)
	if !slices.Equal(last.Applied, []int64{1}) || !slices.Equal(last.Remaining, []int64{2, 3}) || last.Current != 1 || last.Error == "" {
		t.Errorf("last event: %+v", last)
	}
	if db.exists(t, "b") {
		t.Error("half of migration 2 is there")
	}
	files["00002_b.sql"] = strings.Replace(files["00002_b.sql"], "CREATE TABLE a ();\n", "", 1)
	m := db.migrator(t, load(t, files), migrator.Options{})
	if err := m.Up(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if s := db.status(t, m); s.Current != 3 || len(s.Drift) != 0 {
		t.Errorf("after the repaired file: %+v", s)
	}
}

func testDriftIsNamedAndRefused(t *testing.T, db *database) {
	files := maps.Clone(tables)
	if err := db.migrator(t, load(t, files), migrator.Options{}).Up(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	files["00001_a.sql"] += "-- edited\n"
	delete(files, "00002_b.sql")
	files["00004_d.sql"] = expand + "-- +goose Up\nCREATE TABLE d ();\n-- +goose Down\nDROP TABLE d;\n"
	m := db.migrator(t, load(t, files), migrator.Options{})
	err := m.Up(t.Context(), 0)
	var drift *migrator.DriftError
	if !errors.As(err, &drift) || len(drift.Drift) != 2 || drift.Drift[0].Kind != schema.Edited || drift.Drift[1].Kind != schema.Missing {
		t.Errorf("got %v, want 1 edited and 2 missing", err)
	}
	if db.exists(t, "d") {
		t.Error("it went on in spite of the drift")
	}

	late := maps.Clone(tables)
	late["00005_e.sql"] = strings.ReplaceAll(files["00004_d.sql"], " d ", " e ")
	if err := db.migrator(t, load(t, late), migrator.Options{}).Up(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	late["00004_d.sql"] = files["00004_d.sql"]
	err = db.migrator(t, load(t, late), migrator.Options{}).Up(t.Context(), 0)
	if !errors.As(err, &drift) || drift.Drift[0].Kind != schema.OutOfOrder || drift.Drift[0].Version != 4 {
		t.Errorf("got %v, want 4 out of order", err)
	}
}

func testLaterReleaseTakesBack(t *testing.T, db *database) {
	newer := db.migrator(t, threeTables(t), migrator.Options{Release: "v2"})
	if err := newer.Up(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	older := maps.Clone(tables)
	delete(older, "00003_c.sql")
	m := db.migrator(t, load(t, older), migrator.Options{Release: "v1"})
	if err := m.Up(t.Context(), 0); err != nil {
		t.Errorf("an older release on a newer schema has nothing to do, and says %v", err)
	}
	if err := m.Down(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "release v2") {
		t.Errorf("got %v, want to be sent to v2", err)
	}
	if s := db.status(t, m); len(s.Later) != 1 || s.Current != 3 {
		t.Errorf("status: %+v", s)
	}
	if err := newer.Down(t.Context(), 2); err != nil {
		t.Error(err)
	}
}

// testHistoryEqualsGoose: goose's own command must see what we see.
func testHistoryEqualsGoose(t *testing.T, db *database) {
	m := db.migrator(t, load(t, map[string]string{
		"00001_a.sql": tables["00001_a.sql"], "00002_i.sql": strings.ReplaceAll(concurrentIndex, "a (x)", "a ((1))"), "00003_c.sql": tables["00003_c.sql"],
	}), migrator.Options{})
	conn := db.connect(t)
	same := func() {
		t.Helper()
		var equal bool
		err := conn.QueryRow(t.Context(), `SELECT (SELECT array_agg(version ORDER BY version) FROM schema_history)
			IS NOT DISTINCT FROM (SELECT array_agg(version_id ORDER BY version_id) FROM goose_db_version WHERE version_id > 0 AND is_applied)`).Scan(&equal)
		if err != nil || !equal {
			t.Errorf("the two tables differ (%v)", err)
		}
	}
	for _, to := range []int64{1, 2, 3} {
		if err := m.Up(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		same()
	}
	for _, to := range []int64{2, 1, 0} {
		if err := m.Down(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		same()
	}
}

func testCancelLeavesNothingHalf(t *testing.T, db *database) {
	db.hold(t, 42)
	set := load(t, map[string]string{
		"00001_a.sql":    tables["00001_a.sql"],
		"00002_slow.sql": expand + "-- +goose Up\nCREATE TABLE b ();\nSELECT pg_advisory_xact_lock(42);\n-- +goose Down\nDROP TABLE b;\n",
	})
	events := &recorder{}
	m := db.migrator(t, set, migrator.Options{Report: events.report, LockTimeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Up(ctx, 0) }()
	eventually(t, "the second one is at work", func() bool { return strings.Contains(events.String(), "start 2") })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if s := db.status(t, m); s.Current != 1 || db.exists(t, "b") {
		t.Errorf("after the cancel: %+v", s)
	}
}
