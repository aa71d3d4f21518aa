package migrator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/schema/migrator"
)

// database is one test's own.
type database struct{ url string }

func newDatabase(t *testing.T, server *postgrestest.Server) *database {
	t.Helper()
	admin := (&database{server.URL("postgres")}).connect(t)
	name := "test_" + strings.ToLower(strings.ReplaceAll(t.Name()[strings.LastIndexByte(t.Name(), '/')+1:], "/", "_"))
	exec(t, admin, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return &database{server.URL(name)}
}

func (d *database) migrator(t *testing.T, set schema.Set, o migrator.Options) *migrator.Migrator {
	t.Helper()
	m, err := migrator.Open(d.url, set, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// status asks over a connection of its own, so that it can be asked while the migrator is at work.
func (d *database) status(t *testing.T, m *migrator.Migrator) schema.Status {
	t.Helper()
	other, err := migrator.Open(d.url, m.Set(), migrator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	status, err := other.Status(t.Context())
	if err := errors.Join(err, other.Close()); err != nil {
		t.Fatal(err)
	}
	return status
}

func (d *database) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// hold takes an advisory lock and returns what lets go of it.
func (d *database) hold(t *testing.T, key int) (release func()) {
	t.Helper()
	conn := d.connect(t)
	exec(t, conn, fmt.Sprintf("SELECT pg_advisory_lock(%d)", key))
	return func() { exec(t, conn, fmt.Sprintf("SELECT pg_advisory_unlock(%d)", key)) }
}

func (d *database) exists(t *testing.T, relation string) bool {
	t.Helper()
	var exists bool
	if err := d.connect(t).QueryRow(t.Context(), "SELECT to_regclass($1) IS NOT NULL", pgx.Identifier{relation}.Sanitize()).Scan(&exists); err != nil {
		t.Fatal(err)
	}
	return exists
}

// catalog describes columns, constraints and indexes of everything but the version tables.
func (d *database) catalog(t *testing.T) string {
	t.Helper()
	rows, err := d.connect(t).Query(t.Context(), `
		WITH mine AS (SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
		              AND relname NOT IN ('goose_db_version', 'schema_history'))
		SELECT format('%s.%s %s %s %s', relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
		FROM mine JOIN pg_attribute ON attrelid = oid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE attnum > 0 AND NOT attisdropped
		UNION ALL SELECT format('%s %s %s', relname, conname, pg_get_constraintdef(c.oid)) FROM mine JOIN pg_constraint c ON conrelid = mine.oid
		UNION ALL SELECT format('%s valid: %s', pg_get_indexdef(indexrelid), indisvalid) FROM mine JOIN pg_index ON indrelid = mine.oid
		ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// seed writes a row of its own into every table that is there.
func (d *database) seed(t *testing.T) {
	t.Helper()
	conn := d.connect(t)
	//nolint:dupword // values of SQL
	exec(t, conn, `
		DO $$
		DECLARE u uuid;
		BEGIN
			INSERT INTO users (email, password_hash, created_at) VALUES (gen_random_uuid() || '@example.org', 'x', now()) RETURNING id INTO u;
			INSERT INTO profiles (user_id, updated_at) VALUES (u, now());
			IF to_regclass('sessions') IS NOT NULL THEN
				INSERT INTO sessions (user_id, created_at, expires_at) VALUES (u, now(), now());
				INSERT INTO refresh_tokens (token_hash, session_id, issued_at)
				SELECT sha256(id::text::bytea), id, now() FROM sessions WHERE user_id = u;
			END IF;
			IF to_regclass('briefing_schedules') IS NOT NULL THEN
				INSERT INTO briefing_schedules (user_id, enabled, time_zone, minute, updated_at) VALUES (u, true, 'UTC', 0, now());
			END IF;
			IF to_regclass('user_keys') IS NOT NULL THEN
				INSERT INTO user_keys (user_id, index_key, created_at) VALUES (u, 'k', now());
				INSERT INTO revocations (session_id, at) VALUES (u, now());
				INSERT INTO account_mails (job_id, user_id, purpose, at) SELECT coalesce(max(job_id), 0) + 1, u, 'reset', now() FROM account_mails;
				INSERT INTO login_networks (user_id, network, seen_at) VALUES (u, '192.0.2.0/24', now());
				INSERT INTO one_time_tokens (token_hash, user_id, purpose, created_at, expires_at) VALUES (sha256(u::text::bytea), u, 'verify', now(), now());
				INSERT INTO signing_keys (kid, private_key, created_at, activates_at) VALUES (u, 'k', now(), now());
				INSERT INTO identities (id, issuer, subject, user_id, created_at) VALUES (gen_random_uuid(), 'https://id.example', u, u, now());
				INSERT INTO oauth_flows (state_hash, browser_hash, provider, purpose, user_id, secrets, created_at, expires_at)
				VALUES (sha256(u::text::bytea), sha256('b'), 'google', 'login', u, 's', now(), now());
				INSERT INTO audit_events (id, at, user_id, action) VALUES (gen_random_uuid(), now(), u, 'login');
			END IF;
			IF to_regclass('river_job') IS NOT NULL THEN
				INSERT INTO river_job (args, kind) VALUES ('{}', 'seed');
				INSERT INTO river_leader (elected_at, expires_at, leader_id) VALUES (now(), now(), 'seed') ON CONFLICT DO NOTHING;
				INSERT INTO river_notification (payload, topic) VALUES ('seed', 'seed');
				INSERT INTO river_queue (name) VALUES ('seed') ON CONFLICT DO NOTHING;
			END IF;
			IF to_regclass('emails') IS NOT NULL THEN
				INSERT INTO connections (id, user_id, kind, account, next_sync_at, created_at, updated_at) VALUES (gen_random_uuid(), u, 'imap', u, now(), now(), now());
				INSERT INTO emails (id, user_id, fingerprint, connection_id, received_at, size, category, score, reason, classifier, snippet, body, search, created_at)
				SELECT gen_random_uuid(), u, sha256(u::text::bytea), id, now(), 1, 'other', 0.5, 'seed', 1, 's', 'b', 'word', now() FROM connections WHERE user_id = u;
				INSERT INTO email_origins (connection_id, external_id, email_id) SELECT connection_id, '1', id FROM emails WHERE user_id = u;
				INSERT INTO attachments (id, email_id, user_id, position, name, content_type, size, content)
				SELECT gen_random_uuid(), id, u, 1, 'n', 'text/plain', 1, 'c' FROM emails WHERE user_id = u;
				INSERT INTO embeddings (item_id, model, user_id, kind, vector, created_at) SELECT id, 'm', u, 'email', '{1}', now() FROM emails WHERE user_id = u;
			END IF;
			IF to_regclass('job_sources') IS NOT NULL THEN
				INSERT INTO job_sources (id, user_id, kind, url, next_fetch_at, created_at, updated_at) VALUES (gen_random_uuid(), u, 'feed', 'u', now(), now(), now());
				INSERT INTO postings (id, user_id, fingerprint, title, published_at, found_at) VALUES (gen_random_uuid(), u, sha256('p'), 't', now(), now());
				INSERT INTO posting_sources (source_id, external_id, posting_id, seen_at)
				SELECT s.id, 'x', p.id, now() FROM job_sources s, postings p WHERE s.user_id = u AND p.user_id = u;
				INSERT INTO applications (id, user_id, posting_id, company, status, notes, created_at, updated_at)
				SELECT gen_random_uuid(), u, id, 'c', 'applied', '', now(), now() FROM postings WHERE user_id = u;
				INSERT INTO application_events (id, application_id, user_id, at, kind, note) SELECT gen_random_uuid(), id, u, now(), 'created', '' FROM applications WHERE user_id = u;
				INSERT INTO application_suggestions (id, user_id, application_id, email_id, to_status, reason, created_at)
				SELECT gen_random_uuid(), u, a.id, e.id, 'offer', 'seed', now() FROM applications a, emails e WHERE a.user_id = u AND e.user_id = u;
			END IF;
			IF to_regclass('idempotency_keys') IS NOT NULL THEN
				INSERT INTO idempotency_keys (user_id, key, request_hash, created_at) VALUES (u, 'k', sha256('r'), now());
			END IF;
			IF to_regclass('briefings') IS NOT NULL THEN
				INSERT INTO briefings (id, user_id, since, until, state, content, created_at) VALUES (gen_random_uuid(), u, now(), now(), 'ready', 'c', now());
			END IF;
		END $$`)
	rows, err := conn.Query(t.Context(), `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		var filled bool
		if err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM `+pgx.Identifier{table}.Sanitize()+`)`).Scan(&filled); err != nil || !filled {
			t.Fatalf("no row in %s (%v): seed every table that migrations make", table, err)
		}
	}
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("30 s on, this still does not hold: %s", what)
		}
	}
}
