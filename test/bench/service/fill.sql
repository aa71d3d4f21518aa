-- Rows for the plans: as many as bench.rows says in each table, twenty for each user. Their times are yet to come, so that nothing is due or
-- has expired: what is measured is requests, and not 200,000 mailboxes and feeds that want to be fetched beside them.

CREATE TEMP TABLE row AS
SELECT i, lpad(to_hex(i), 32, '0')::uuid AS id, lpad(to_hex(1 + i % (n / 20)), 32, '0')::uuid AS owner, sha256(i::text::bytea) AS hash,
    now() + i * interval '1 minute' AS at
FROM (SELECT current_setting('bench.rows')::int AS n) AS rows, generate_series(1, n) AS i;

INSERT INTO users (id, email, password_hash, created_at) SELECT id, 'user' || i || '@example.org', '', at FROM row;
INSERT INTO profiles (user_id, updated_at) SELECT id, created_at FROM users ON CONFLICT DO NOTHING;
INSERT INTO sessions (id, user_id, created_at, expires_at) SELECT id, owner, at, at + interval '30 days' FROM row;
INSERT INTO refresh_tokens (token_hash, session_id, issued_at) SELECT hash, id, at FROM row;
INSERT INTO user_keys (user_id, index_key, created_at) SELECT id, '', created_at FROM users ON CONFLICT DO NOTHING;
INSERT INTO revocations (session_id, at) SELECT id, now() - i * interval '5 minutes' FROM row;
INSERT INTO account_mails (job_id, user_id, purpose, at) SELECT 1000000000 + i, owner, 'reset', at FROM row;
INSERT INTO login_networks (user_id, network, seen_at) SELECT owner, id, at FROM row;
INSERT INTO one_time_tokens (token_hash, user_id, purpose, created_at, expires_at) SELECT hash, owner, 'reset', at, at + interval '1 hour' FROM row;
INSERT INTO identities (id, issuer, subject, user_id, created_at) SELECT id, 'https://accounts.example', i, owner, at FROM row;
INSERT INTO oauth_flows (state_hash, browser_hash, provider, purpose, user_id, secrets, created_at, expires_at)
SELECT hash, hash, 'example', 'link', owner, '', at, at + interval '10 minutes' FROM row;
INSERT INTO audit_events (id, at, actor_id, user_id, action) SELECT id, at, owner, owner, 'login' FROM row;
INSERT INTO idempotency_keys (user_id, key, request_hash, status, answer, created_at) SELECT owner, i, hash, 201, '', at FROM row;
INSERT INTO briefing_schedules (user_id, enabled, time_zone, minute, updated_at, next_at, next_for)
SELECT id, true, 'Europe/Berlin', 480, created_at, now() + interval '1 day' + random() * interval '1 day', created_at FROM users ON CONFLICT DO NOTHING;
INSERT INTO briefings (id, user_id, period, since, until, state, content, created_at)
SELECT id, owner, '2000-01-01'::date + (i / 20), at - interval '1 day', at, CASE WHEN i % 1000 = 0 THEN 'pending' ELSE 'ready' END, '', at FROM row;

INSERT INTO connections (id, user_id, kind, account, next_sync_at, created_at, updated_at)
SELECT id, owner, 'imap', i, now() + interval '1 day' + random() * interval '10 minutes', at, at FROM row;
INSERT INTO email_origins (connection_id, external_id, email_id)
SELECT lpad(to_hex(1 + extract(epoch FROM received_at)::int / 60 % 1000), 32, '0')::uuid, id, id FROM emails;
INSERT INTO attachments (id, email_id, user_id, position, name, content_type, size, content)
SELECT gen_random_uuid(), id, user_id, 0, '', 'application/pdf', 0, '' FROM emails LIMIT current_setting('bench.rows')::int;
INSERT INTO embeddings (item_id, model, user_id, kind, vector, created_at) SELECT id, 'hash-256-v1', user_id, 'email', '{1,0}', created_at FROM emails;

INSERT INTO job_sources (id, user_id, kind, url, next_fetch_at, created_at, updated_at)
SELECT id, owner, 'feed', i, now() + interval '1 day' + random() * interval '1 hour', at, at FROM row;
INSERT INTO postings (id, user_id, fingerprint, link_hash, title, company, location, published_at, found_at)
SELECT id, owner, hash, hash, 'Engineer ' || i, 'Company ' || i % 1000, 'Berlin', at, at FROM row;
INSERT INTO posting_sources (source_id, external_id, posting_id, seen_at) SELECT id, i, id, at FROM row;
INSERT INTO applications (id, user_id, posting_id, company, status, notes, created_at, updated_at)
SELECT id, owner, id, 'Company ' || i % 1000, 'applied', '', at, at FROM row;
INSERT INTO application_events (id, application_id, user_id, at, kind, note, email_id) SELECT id, id, owner, at, 'created', '', gen_random_uuid() FROM row;
INSERT INTO application_suggestions (id, user_id, application_id, email_id, to_status, reason, created_at)
SELECT id, owner, id, id, 'interview', '', at FROM row;
