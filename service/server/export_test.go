package server_test

import (
	"encoding/json"
	"testing"
)

// testExportIsEverything: each table with rows of users is a section of the export, or named here with the reason why not.
func testExportIsEverything(t *testing.T, w *world) {
	r, site := w.start(t, allowLoopback), feeds(t)
	e := w.settle(t, r, site, "quokkada")
	exec(t, connect(t, w.url), `INSERT INTO sessions (user_id, created_at, expires_at, revoked_at, address) VALUES ($1, now(), now() + interval '1 day', now(), '192.0.2.77')`, e.user)
	var export map[string]json.RawMessage
	r.want(t, 200, "GET", "/api/v1/me/export", e.AccessToken, nil).decode(t, &export)
	elsewhere := map[string]string{"profiles": "profile", "audit_events": "audit", "briefing_schedules": "briefing_schedule", "sessions": "ended_sessions"}
	reasons := map[string]string{
		"user_keys":        "a key of the service's, for its search index",
		"one_time_tokens":  "hashes of tokens that were sent by mail",
		"oauth_flows":      "secrets of a log-in that goes on, for minutes",
		"idempotency_keys": "answers to the user's own calls, for a day",
		"login_networks":   "networks of log-ins that the section audit has, with what counts wrong passwords",
		"account_mails":    "how many mails the service sent, in an hour",
		"embeddings":       "computed of what is exported",
		"attachments":      "exported, and the estate has none",
	}
	rows, err := connect(t, w.url).Query(t.Context(), `SELECT table_name FROM information_schema.columns WHERE column_name = 'user_id' AND table_schema = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		section := table
		if other, named := elsewhere[table]; named {
			section = other
		}
		if _, left := reasons[table]; !left && export[section] == nil {
			t.Errorf("table %s is not exported", table)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
