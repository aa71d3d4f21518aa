package service_test

import (
	"testing"
)

// testBriefingsOnce has twenty briefings due at the same minute, and two replicas that look for what is due many times at once.
func testBriefingsOnce(t *testing.T, w *world) {
	const users = 20
	w.schedule(t, "due", users)
	w.start(t)
	w.start(t)
	for range 2 { // the second time there is nothing to do
		w.insert(t, "briefings", "briefings_due", 12)
		w.jobs(t, "briefings_due", 1)
	}
	w.jobs(t, "briefing_write", 1)
	if n := w.count(t, `SELECT count(*) FROM briefings WHERE state = 'ready' AND period = (now() AT TIME ZONE 'UTC')::date`); n != users {
		t.Errorf("%d of %d users have their briefing", n, users)
	}
	if n := w.count(t, `SELECT count(*) FROM briefings`); n != users {
		t.Errorf("%d briefings of %d users", n, users)
	}
	if n := w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'briefing_write'`); n != users {
		t.Errorf("%d briefings were to be written, want %d", n, users)
	}
	if n := w.count(t, `SELECT count(*) FROM briefing_schedules WHERE next_at > now()`); n != users {
		t.Errorf("%d of %d schedules have moved on", n, users)
	}
	if n := w.count(t, `SELECT count(DISTINCT attempted_by[1]) FROM river_job WHERE kind IN ('briefings_due', 'briefing_write')`); n != 2 {
		t.Errorf("%d replicas worked on it: the test tests nothing", n)
	}
}
