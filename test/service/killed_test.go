package service_test

import (
	"testing"
	"time"
)

// testKilled kills a replica with SIGKILL in the middle of two jobs. Another one takes them up, and nothing is done twice.
func testKilled(t *testing.T, w *world) {
	first := w.start(t)
	w.settled(t)
	token := signUp(t, first.url, "killed@example.org")
	w.model.set(0, true)
	imported := importLetters(t, first.url, token)
	w.exec(t, `INSERT INTO briefing_schedules (user_id, enabled, time_zone, minute, updated_at, next_at, next_for)
		SELECT id, true, 'UTC', extract(hour FROM now() AT TIME ZONE 'UTC') * 60 + extract(minute FROM now()), now() - interval '1 day',
		       date_trunc('minute', now()), now() - interval '1 day' FROM users`)
	w.insert(t, "briefings", "briefings_due", 1)
	eventually(t, time.Minute, "both jobs wait for the model", func() bool {
		return w.model.waits("/embeddings") == 1 && w.model.waits("/chat/completions") == 1
	})

	w.start(t)
	first.kill(t)
	w.model.set(0, false)
	// Jobs that run for so long are taken for a dead replica's; nobody has to wait for it here.
	w.exec(t, `UPDATE river_job SET attempted_at = now() - interval '10 minutes' WHERE state = 'running' AND kind IN ('mail_embed', 'briefing_write')`)
	w.jobs(t, "mail_embed", 2)
	w.jobs(t, "briefing_write", 2)
	if n := w.count(t, `SELECT count(*) FROM embeddings WHERE model = 'test-vectors'`); n != imported {
		t.Errorf("%d vectors of %d messages", n, imported)
	}
	if most, all := w.model.times(); most != 1 || all != imported {
		t.Errorf("the model embedded %d texts, one of them %d times; want %d, each once", all, most, imported)
	}
	if n := w.count(t, `SELECT count(*) FROM briefings WHERE state = 'ready'`); n != 1 || w.count(t, `SELECT count(*) FROM briefings`) != 1 {
		t.Errorf("%d briefings are ready, want 1", n)
	}
}
