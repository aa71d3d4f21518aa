package briefing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/mail"
)

func schedule(t *testing.T, s *Service, user, zone, at string) {
	t.Helper()
	if err := s.SetSchedule(t.Context(), user, Schedule{Enabled: true, TimeZone: zone, At: at}); err != nil {
		t.Fatal(err)
	}
}

// claimAll claims until nothing is due.
func claimAll(t *testing.T, s *Service) {
	t.Helper()
	if err := (&dueWorker{service: s}).Work(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

const periods = `SELECT period::text || ' ' || until::timestamptz(0) AT TIME ZONE 'UTC' FROM briefings`

// testReplicas lets three replicas claim at the same moments through five days with a change of clocks, and do the jobs: each user has
// each local day's briefing once.
func testReplicas(t *testing.T, w *world) {
	start := time.Date(2026, 3, 26, 12, 0, 0, 0, time.UTC)
	w.set(start)
	w.mail, w.jobs = &mailbox{}, &desk{}
	replicas := []*Service{w.replica(t, true), w.replica(t, true), w.replica(t, true)}
	var users int
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati", "America/Nuuk", "Australia/Lord_Howe"} {
		for _, at := range []string{"00:00", "02:30", "07:15", "23:30"} {
			schedule(t, replicas[users%3], w.user(t, fmt.Sprint(users)), zone, at)
			users++
		}
	}
	count := func(condition string) (n int) {
		if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM briefings WHERE `+condition).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	ready := func() bool { return count(`state <> 'ready'`) == 0 }
	for now := start; now.Before(start.AddDate(0, 0, 5)); now = now.Add(25 * time.Minute) {
		if now.Day() != w.clock().Day() {
			eventually(t, "the day's briefings are ready", ready)
		}
		w.set(now)
		var together sync.WaitGroup
		for _, s := range replicas {
			together.Go(func() { claimAll(t, s) })
		}
		together.Wait()
	}
	eventually(t, "every briefing is ready", ready)
	if got := count(`true`); got != 5*users {
		t.Errorf("%d briefings of %d users in 5 days:\n%s", got, users, w.rows(t, periods))
	}
	if got := w.rows(t, `SELECT count(*)::text FROM river_job WHERE kind = 'briefing_write'`); got != fmt.Sprint(5*users) {
		t.Errorf("%s jobs for %d briefings", got, 5*users)
	}
}

// testReleaseBefore writes schedules as a release that does not know next_at.
func testReleaseBefore(t *testing.T, w *world) {
	s := w.replica(t, false)
	ada, bob := w.user(t, "ada"), w.user(t, "bob")
	w.set(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	schedule(t, s, ada, "UTC", "07:00")
	w.exec(t, `UPDATE briefing_schedules SET minute = 18*60, updated_at = '2026-11-23 13:00Z' WHERE user_id = $1`, ada)
	w.exec(t, `INSERT INTO briefing_schedules (user_id, enabled, time_zone, minute, updated_at) VALUES ($1, true, 'UTC', 19*60, '2026-11-23 13:00Z')`, bob)
	for _, hour := range []int{14, 18, 19, 31} { // 31 is 07:00 of the next day, which is no longer ada's time
		w.set(time.Date(2026, 11, 23, hour, 0, 30, 0, time.UTC))
		claimAll(t, s)
	}
	if got := w.rows(t, periods); got != "2026-11-23 2026-11-23 18:00:30\n2026-11-23 2026-11-23 19:00:30" {
		t.Errorf("got\n%s", got)
	}
	if got := w.rows(t, `SELECT DISTINCT (next_for = updated_at)::text FROM briefing_schedules`); got != "true" {
		t.Errorf("next_at is of the schedule as it is: %s", got)
	}
}

// testMissed stops the service for a while.
func testMissed(t *testing.T, w *world) {
	for i, test := range []struct {
		down time.Duration // from 06:59
		want string        // the period, "" for none before the next day
	}{
		{5 * time.Hour, "2026-11-23"}, {7 * time.Hour, ""}, {27 * time.Hour, "2026-11-24"}, {5*24*time.Hour + time.Hour, "2026-11-28"},
	} {
		w.set(time.Date(2026, 11, 23, 6, 59, 0, 0, time.UTC))
		s := w.replica(t, false)
		user := w.user(t, fmt.Sprint(i))
		schedule(t, s, user, "UTC", "07:00")
		w.set(w.clock().Add(test.down))
		for range 3 {
			claimAll(t, s)
			w.set(w.clock().Add(time.Minute))
		}
		if got := w.rows(t, `SELECT period::text FROM briefings WHERE user_id = $1`, user); got != test.want {
			t.Errorf("down for %s: %q, want %q", test.down, got, test.want)
		}
		w.exec(t, `DELETE FROM briefing_schedules`)
	}
}

func testSchedules(t *testing.T, w *world) {
	s := w.replica(t, false)
	ada, bob := w.user(t, "ada"), w.user(t, "bob")
	next := func(user string) string {
		return w.rows(t, `SELECT coalesce((next_at AT TIME ZONE 'UTC')::text, 'never') FROM briefing_schedules WHERE user_id = $1`, user)
	}
	for _, test := range []struct {
		schedule Schedule
		now      time.Time
		next     string
	}{
		{Schedule{true, "Europe/Berlin", "07:30"}, monday, "2026-11-24 06:30:00"}, // it is 07:30 now
		{Schedule{true, "Europe/Berlin", "07:31"}, monday, "2026-11-23 06:31:00"},
		{Schedule{true, "Europe/Berlin", "07:31"}, monday.Add(2 * time.Minute), "2026-11-23 06:31:00"}, // said again: still due
		{Schedule{true, "America/New_York", "07:31"}, monday, "2026-11-23 12:31:00"},
		{Schedule{false, "America/New_York", "07:31"}, monday, "never"},
		{Schedule{true, "Pacific/Kiritimati", "00:00"}, monday, "2026-11-23 10:00:00"},
	} {
		w.set(test.now)
		if err := s.SetSchedule(t.Context(), ada, test.schedule); err != nil || next(ada) != test.next {
			t.Errorf("%+v: %v, next %s, want %s", test.schedule, err, next(ada), test.next)
		}
	}
	schedule(t, s, bob, "UTC", "07:00")
	for now := monday; now.Before(monday.AddDate(0, 0, 3)); now = now.Add(time.Hour) {
		w.set(now)
		if now.Equal(monday.Add(24 * time.Hour)) {
			if err := s.SetSchedule(t.Context(), bob, Schedule{false, "UTC", "07:00"}); err != nil {
				t.Fatal(err)
			}
		}
		if now.Equal(monday.Add(3 * time.Hour)) {
			schedule(t, s, bob, "UTC", "18:00") // had it this day already
			schedule(t, s, bob, "UTC", "07:00")
		}
		claimAll(t, s)
	}
	if got := w.rows(t, `SELECT period::text FROM briefings WHERE user_id = $1`, bob); got != "2026-11-23" {
		t.Errorf("one day, then disabled: %s", got)
	}
	if err := s.SetSchedule(t.Context(), id("nobody"), Default); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("nobody's: %v", err)
	}
}

func testUnknownZone(t *testing.T, w *world) {
	s := w.replica(t, false)
	ada, bob := w.user(t, "ada"), w.user(t, "bob")
	for user, zone := range map[string]string{ada: "Atlantis/Capital", bob: "UTC"} {
		w.exec(t, `INSERT INTO briefing_schedules (user_id, enabled, time_zone, minute, updated_at) VALUES ($1, true, $2, 360, $3)`, user, zone, monday.Add(-time.Hour))
	}
	claimAll(t, s)
	if got := w.rows(t, `SELECT user_id::text FROM briefings`); got != bob {
		t.Errorf("one bad schedule stops the others: %q", got)
	}
	schedule(t, s, ada, "UTC", "07:00")
	w.set(monday.Add(time.Hour))
	claimAll(t, s)
	if got := w.rows(t, `SELECT count(*)::text FROM briefings WHERE user_id = $1`, ada); got != "1" {
		t.Errorf("a good schedule again: %s", got)
	}
}

// stumbling is mail whose first reader dies.
type stumbling struct {
	Mail
	calls atomic.Int64
}

func (m *stumbling) List(ctx context.Context, user string, filter mail.Filter, page api.Page) ([]mail.Summary, string, error) {
	if m.calls.Add(1) == 1 {
		panic("the worker dies")
	}
	return m.Mail.List(ctx, user, filter, page)
}

func testWorkerDies(t *testing.T, w *world) {
	w.mail = &stumbling{Mail: w.mail}
	s := w.replica(t, true)
	ada := w.user(t, "ada")
	schedule(t, s, ada, "UTC", "07:00")
	w.set(monday.Add(30 * time.Minute))
	claimAll(t, s)
	eventually(t, "the briefing is ready", func() bool {
		_, err := s.Latest(t.Context(), ada)
		return err == nil
	})
	if got := w.rows(t, `SELECT cardinality(errors)::text FROM river_job WHERE kind = 'briefing_write'`); got != "1" {
		t.Errorf("failed attempts: %s", got)
	}
	// The worker that is done again, because it died before it could say that it was done, changes nothing.
	before := must[Briefing](t)(s.Latest(t.Context(), ada))
	w.set(monday.Add(time.Hour))
	if err := s.writePending(t.Context(), ada, before.ID); err != nil {
		t.Error(err)
	}
	if err := s.writePending(t.Context(), ada, newID(t)); err != nil {
		t.Errorf("a briefing that was deleted: %v", err)
	}
	if after := must[Briefing](t)(s.Latest(t.Context(), ada)); after.ID != before.ID || after.Text != before.Text {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func testGivesUp(t *testing.T, w *world) {
	w.mail = &mailbox{broken: errors.New("down")}
	s := w.replica(t, false)
	ada := w.user(t, "ada")
	schedule(t, s, ada, "UTC", "07:00")
	w.set(monday.Add(30 * time.Minute))
	claimAll(t, s)
	const state = `SELECT state || ': ' || problem FROM briefings`
	args := writeArgs{ada, w.rows(t, `SELECT id::text FROM briefings`)}
	for _, test := range []struct {
		attempt int
		want    string
	}{{1, "pending: "}, {7, "pending: "}, {8, "failed: it could not be written"}} {
		row := &rivertype.JobRow{Attempt: test.attempt, MaxAttempts: 8}
		if err := (&writeWorker{service: s}).Work(t.Context(), &river.Job[writeArgs]{JobRow: row, Args: args}); err == nil {
			t.Errorf("attempt %d: no error", test.attempt)
		}
		if got := w.rows(t, state); got != test.want {
			t.Errorf("attempt %d: %s, want %s", test.attempt, got, test.want)
		}
	}
}

// testDisabled: a disabled user gets no briefing, neither a new one nor one that was to be written; enabled again, both.
func testDisabled(t *testing.T, w *world) {
	s := w.replica(t, false)
	ada := w.user(t, "ada")
	schedule(t, s, ada, "UTC", "07:00")
	w.exec(t, `UPDATE users SET disabled_at = now()`)
	w.set(monday.Add(30 * time.Minute))
	claimAll(t, s)
	if got := w.rows(t, `SELECT state FROM briefings`); got != "" {
		t.Errorf("of a disabled user: %q", got)
	}
	w.exec(t, `UPDATE users SET disabled_at = NULL`)
	claimAll(t, s)
	w.exec(t, `UPDATE users SET disabled_at = now()`)
	job := &river.Job[writeArgs]{JobRow: &rivertype.JobRow{Attempt: 1, MaxAttempts: 8}, Args: writeArgs{ada, w.rows(t, `SELECT id::text FROM briefings`)}}
	var later *river.JobSnoozeError
	if err := (&writeWorker{service: s}).Work(t.Context(), job); !errors.As(err, &later) {
		t.Errorf("the briefing of a disabled user: %v", err)
	}
	if got := w.rows(t, `SELECT state FROM briefings`); got != "pending" {
		t.Errorf("of a disabled user: %q", got)
	}
	w.exec(t, `UPDATE users SET disabled_at = NULL`)
	if err := (&writeWorker{service: s}).Work(t.Context(), job); err != nil {
		t.Error(err)
	}
	if got := w.rows(t, `SELECT state FROM briefings`); got != "ready" {
		t.Errorf("enabled again: %q", got)
	}
}

func testForgotten(t *testing.T, w *world) {
	s := w.replica(t, false)
	schedule(t, s, w.user(t, "ada"), "UTC", "07:00")
	for _, test := range []struct {
		at   time.Duration
		want string
	}{{30 * time.Minute, "pending"}, {24 * time.Hour, "pending"}, {25 * time.Hour, "failed\npending"}} {
		w.set(monday.Add(test.at))
		claimAll(t, s)
		if got := w.rows(t, `SELECT state FROM briefings`); got != test.want {
			t.Errorf("%s on: %q, want %q", test.at, got, test.want)
		}
	}
}

// testIndexes asks PostgreSQL how it would answer if reading a whole table cost a lot, as it does when there are many rows.
func testIndexes(t *testing.T, w *world) {
	tx := must[pgx.Tx](t)(w.pool.Begin(t.Context()))
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off`); err != nil {
		t.Fatal(err)
	}
	sources := string(must[[]byte](t)(os.ReadFile("briefingdb/queries.sql.go")))
	for query, index := range map[string]string{
		"lockDue": "briefing_schedules_due_idx", "failForgotten": "briefings_pending_idx", "latestReady": "briefings_created_idx",
		"lastUntil": "briefings_created_idx", "overviewsBefore": "briefings_created_idx", "briefingsBefore": "briefings_created_idx",
		"briefing": "briefings_pkey", "finishPending": "briefings_pkey", "failPending": "briefings_pkey", "deleteBriefing": "briefings_pkey",
		"schedule": "briefing_schedules_pkey", "moveSchedule": "briefing_schedules_pkey",
	} {
		_, sql, found := strings.Cut(sources, "const "+query+" = `")
		sql, _, _ = strings.Cut(sql, "`")
		if !found {
			t.Errorf("no query %s", query)
			continue
		}
		var nulls []string
		for i := 1; strings.Contains(sql, fmt.Sprintf("$%d", i)); i++ {
			nulls = append(nulls, "NULL")
		}
		if _, err := tx.Exec(t.Context(), "PREPARE "+query+" AS "+sql); err != nil {
			t.Fatal(err)
		}
		rows := must[pgx.Rows](t)(tx.Query(t.Context(), fmt.Sprintf("EXPLAIN EXECUTE %s(%s)", query, strings.Join(nulls, ", "))))
		plan := strings.Join(must[[]string](t)(pgx.CollectRows(rows, pgx.RowTo[string])), "\n")
		if !strings.Contains(plan, index) || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s does without %s:\n%s", query, index, plan)
		}
	}
}

func newID(t *testing.T) string {
	t.Helper()
	return must[uuid.UUID](t)(uuid.NewV7()).String()
}
