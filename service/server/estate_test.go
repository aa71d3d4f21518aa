package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/encryption"
)

// owners says which rows of a table are a user's ($1), and which tables have none.
var owners = map[string]string{
	"users":           "id = $1",
	"refresh_tokens":  "session_id IN (SELECT id FROM sessions WHERE user_id = $1)",
	"revocations":     "session_id IN (SELECT id FROM sessions WHERE user_id = $1)",
	"email_origins":   "connection_id IN (SELECT id FROM connections WHERE user_id = $1)",
	"posting_sources": "source_id IN (SELECT id FROM job_sources WHERE user_id = $1)",
	"signing_keys":    "", "goose_db_version": "", "schema_history": "", "river_job": "", "river_leader": "", "river_notification": "", "river_queue": "",
}

// common is a word in everything that a user has, to search for.
const common = "lanternfish"

// estate is a user with one of everything.
type estate struct {
	account.Tokens
	email, user string
	word        string            // in everything that is the user's
	ids         map[string]string // of one row of each table that has ids
	all         []string          // every id of the user's rows
}

// letter is one mail of today with an attachment, in an mbox.
func letter(from, subject, text string) string {
	return fmt.Sprintf("From a@x Mon Mar  2 10:00:00 2026\nMessage-ID: <%x@test>\nFrom: %s\nTo: me@home.example\nSubject: %s\nDate: %s\n"+
		"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\n%s\n\n"+
		"--x\nContent-Type: text/plain\nContent-Disposition: attachment; filename=\"notes of %s.txt\"\n\nThe file says: %s\n--x--\n\n",
		sha256.Sum256([]byte(from+subject)), from, subject, time.Now().Format(time.RFC1123Z), text, subject, text)
}

// settle makes a user who has one of everything. The user's name is the word.
func (w *world) settle(t *testing.T, r *replica, feeds *httptest.Server, word string) *estate {
	t.Helper()
	e := &estate{email: word + "@example.org", word: word, ids: map[string]string{}}
	e.Tokens = r.user(t, e.email)
	both := word + " " + common
	r.want(t, 200, "PATCH", "/api/v1/me", e.AccessToken, object{"display_name": both, "about": both})
	r.want(t, 200, "PUT", "/api/v1/me/briefing-schedule", e.AccessToken, object{"enabled": false, "time_zone": "Europe/Berlin", "at": "07:00"})
	r.want(t, 201, "POST", "/api/v1/job-sources", e.AccessToken, object{"url": feeds.URL + "/" + word, "name": both})
	var application struct{ ID string }
	r.want(t, 201, "POST", "/api/v1/applications", e.AccessToken, object{"company": word, "title": "Keeper of " + both, "notes": both}).decode(t, &application)
	r.want(t, 201, "POST", "/api/v1/applications/"+application.ID+"/notes", e.AccessToken, object{"note": both})
	r.want(t, 200, "POST", "/api/v1/mail-imports", e.AccessToken,
		letter("Recruiting <jobs@"+word+".example>", "Invitation to an interview at "+word, "We would like to invite you to an interview on Monday at ten. Please tell us whether the time suits you. "+both)+
			letter("Greenhouse <no-reply@greenhouse.io>", "Thank you for applying to "+word+" Fields", "We have received your application and will review it. "+both)+
			letter("Grace <grace@home.example>", "The weekend "+both, "Shall we go to the lake? "+both))
	r.want(t, 201, "POST", "/api/v1/briefings", e.AccessToken, nil)

	db := connect(t, w.url)
	w.one(t, db, &e.user, "SELECT id::text FROM users WHERE email = $1", e.email)
	connection := uuid.Must(uuid.NewV7()).String()
	secret, err := w.keyring.Seal([]byte(word), encryption.Cell{Table: "connections", Column: "secret", Owner: e.user, Row: connection})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, `INSERT INTO connections (id, user_id, kind, name, account, settings, secret, state, next_sync_at, created_at, updated_at)
		VALUES ($1, $2, 'imap', $3, $3, '{"host": "imap.example.org", "port": 993, "security": "tls", "username": "u"}', $4, 'paused', $5, $5, $5)`, connection, e.user, both, secret, w.now())
	exec(t, db, `INSERT INTO email_origins SELECT $1, $2, id FROM emails WHERE user_id = $3 LIMIT 1`, connection, word, e.user)
	exec(t, db, `INSERT INTO identities (id, issuer, subject, user_id, email, created_at) VALUES (gen_random_uuid(), 'https://idp.example', $1, $2, $3, now())`, word, e.user, e.email)
	eventually(t, "background work is done", func() (done bool) {
		w.one(t, db, &done, "SELECT NOT EXISTS (SELECT FROM river_job WHERE finalized_at IS NULL AND state IN ('available', 'running', 'pending', 'retryable'))")
		return done
	})
	w.note(t, db, e)
	return e
}

func (w *world) one(t *testing.T, db *pgx.Conn, into any, sql string, args ...any) {
	t.Helper()
	if err := db.QueryRow(t.Context(), sql, args...).Scan(into); err != nil {
		t.Fatalf("%v: %s", err, sql)
	}
}

// tables returns each table with the condition that makes a row the user's.
func (w *world) tables(t *testing.T, db *pgx.Conn) map[string]string {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT t.table_name::text, EXISTS (
		SELECT FROM information_schema.columns c WHERE c.table_schema = 'public' AND c.table_name = t.table_name AND c.column_name = 'user_id')
		FROM information_schema.tables t WHERE t.table_schema = 'public' AND t.table_type = 'BASE TABLE'`)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{}
	var name string
	var direct bool
	if _, err := pgx.ForEachRow(rows, []any{&name, &direct}, func() error {
		condition, known := owners[name]
		if !known && !direct {
			t.Errorf("whose are the rows of %s? Say so in owners", name)
		}
		if !known {
			condition = "user_id = $1"
		}
		if condition != "" {
			tables[name] = condition
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return tables
}

var anUUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// note writes down the ids of a user's rows.
func (w *world) note(t *testing.T, db *pgx.Conn, e *estate) {
	t.Helper()
	seen := map[string]bool{}
	for table, condition := range w.tables(t, db) {
		var text, id string
		w.one(t, db, &text, "SELECT coalesce(string_agg(to_jsonb(t)::text, ' '), '') FROM "+table+" t WHERE "+condition, e.user)
		for _, id := range anUUID.FindAllString(text, -1) {
			seen[id] = true
		}
		w.one(t, db, &id, "SELECT coalesce(min(to_jsonb(t)->>'id'), '') FROM "+table+" t WHERE "+condition, e.user)
		if id != "" {
			e.ids[table] = id
		}
	}
	var email string // of the file, as routes want it
	w.one(t, db, &email, "SELECT email_id::text FROM attachments WHERE id = $1", e.ids["attachments"])
	e.ids["emails"] = email
	e.all = slices.Sorted(maps.Keys(seen))
}

// digest is of every row of a user.
func (w *world) digest(t *testing.T, db *pgx.Conn, e *estate) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for table, condition := range w.tables(t, db) {
		var text string
		w.one(t, db, &text, "SELECT coalesce(string_agg(to_jsonb(t)::text, E'\\n' ORDER BY to_jsonb(t)::text), '') FROM "+table+" t WHERE "+condition, e.user)
		sum := sha256.Sum256([]byte(text))
		sums[table] = hex.EncodeToString(sum[:])
	}
	return sums
}
