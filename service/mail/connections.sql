-- name: CreateConnection :exec
INSERT INTO connections (id, user_id, kind, name, account, settings, secret, next_sync_at, created_at, updated_at)
VALUES (@id, @user_id, @kind, @name, @account, @settings, @secret, @now, @now, @now);

-- name: Connections :many
SELECT * FROM connections WHERE user_id = @user_id AND state <> 'leaving' AND id > @after ORDER BY id LIMIT @most;

-- name: CountConnections :one
SELECT count(*) FROM connections WHERE user_id = @user_id AND state <> 'leaving';

-- name: Connection :one
SELECT * FROM connections WHERE id = @id AND user_id = @user_id AND state <> 'leaving';

-- name: LockConnection :one
SELECT * FROM connections WHERE id = @id AND user_id = @user_id AND state <> 'leaving' FOR NO KEY UPDATE;

-- name: LockAccount :one
SELECT id FROM connections WHERE user_id = @user_id AND kind = @kind AND account = @account AND state <> 'leaving' FOR NO KEY UPDATE;

-- name: RenameConnection :exec
UPDATE connections SET name = @name, updated_at = @now WHERE id = @id AND user_id = @user_id;

-- name: HasAccount :one
SELECT EXISTS (SELECT FROM connections WHERE user_id = @user_id AND kind = @kind AND account = @account AND state <> 'leaving');

-- name: PauseConnections :exec
UPDATE connections SET state = 'paused', problem = @problem, lease = NULL, again = false, updated_at = @now
WHERE user_id = @user_id AND state IN ('active', 'reconnect');

-- name: PauseConnection :exec
-- A sync that runs loses its lease.
UPDATE connections SET state = 'paused', lease = NULL, again = false, updated_at = @now WHERE id = @id AND user_id = @user_id;

-- name: ActivateConnection :exec
-- With the secret it has, or a new one; a sync that runs with the old one loses its lease.
UPDATE connections
SET state = 'active', problem = '', failures = 0, secret = @secret, lease = NULL, again = false, next_sync_at = @now, updated_at = @now
WHERE id = @id AND user_id = @user_id;

-- name: SaveSecret :exec
UPDATE connections SET secret = @secret, updated_at = @now WHERE id = @id AND user_id = @user_id;

-- name: LeaveConnection :one
-- What is kept of the secret is what the provider needs to take the consent back.
UPDATE connections
SET state = 'leaving', lease = NULL, updated_at = @now, secret = CASE WHEN kind = 'gmail' THEN secret END
WHERE id = @id AND user_id = @user_id AND state <> 'leaving'
RETURNING id;

-- name: LeaveConnections :exec
-- All of a user's, as LeaveConnection does.
UPDATE connections
SET state = 'leaving', lease = NULL, updated_at = @now, secret = CASE WHEN kind = 'gmail' THEN secret END
WHERE user_id = @user_id AND state <> 'leaving';

-- name: LeavingConnections :many
SELECT * FROM connections WHERE user_id = @user_id AND state = 'leaving' ORDER BY id;

-- name: LeavingConnection :one
SELECT * FROM connections WHERE id = @id AND state = 'leaving';

-- name: ForgetSecret :exec
UPDATE connections SET secret = NULL WHERE id = @id AND state = 'leaving';

-- name: LeavingEmails :many
-- A few of the messages that a connection brought, and whether another one has them as well.
SELECT e.id, EXISTS (SELECT FROM email_origins o WHERE o.email_id = e.id AND o.connection_id <> @connection_id::uuid) AS shared
FROM emails e WHERE e.connection_id = @connection_id::uuid LIMIT 500;

-- name: ReleaseEmails :exec
UPDATE emails SET connection_id = NULL WHERE id = ANY(@ids::uuid[]) AND user_id = @user_id;

-- name: DeleteConnectionEmails :exec
WITH gone AS (DELETE FROM embeddings v WHERE v.item_id = ANY(@ids::uuid[]) AND v.user_id = @user_id)
DELETE FROM emails e WHERE e.id = ANY(@ids::uuid[]) AND e.user_id = @user_id;

-- name: DeleteOrigins :execrows
-- Some thousands at a time. The array keeps the planner to the index, whatever the share of the table that they are.
DELETE FROM email_origins e WHERE e.connection_id = @connection_id AND e.external_id = ANY (ARRAY(
    SELECT o.external_id FROM email_origins o WHERE o.connection_id = @connection_id LIMIT 5000
));

-- name: DeleteConnection :exec
DELETE FROM connections WHERE id = @id AND state = 'leaving';

-- name: QueueDue :many
-- Those whose time has come, and those whose sync died: its lease ends at next_sync_at. They are due again unless a sync begins until then.
UPDATE connections SET lease = NULL, next_sync_at = @until
WHERE id IN (
    SELECT d.id FROM connections d JOIN users u ON u.id = d.user_id AND u.disabled_at IS NULL
    WHERE d.state = 'active' AND d.next_sync_at <= @now ORDER BY d.next_sync_at LIMIT 200 FOR NO KEY UPDATE OF d SKIP LOCKED
)
RETURNING id;

-- name: Queued :exec
UPDATE connections SET lease = NULL, next_sync_at = @until WHERE id = @id AND user_id = @user_id;

-- name: Lease :one
-- Begins a sync, unless another one runs or the user is disabled.
UPDATE connections c SET lease = @lease, again = false, next_sync_at = @until
WHERE c.id = @id AND c.state = 'active' AND (c.lease IS NULL OR c.next_sync_at <= @now)
  AND EXISTS (SELECT FROM users u WHERE u.id = c.user_id AND u.disabled_at IS NULL)
RETURNING *;

-- name: AskAgain :exec
UPDATE connections SET again = true WHERE id = @id AND user_id = @user_id;

-- name: RenewLease :execrows
-- A user who is disabled loses it.
UPDATE connections c SET next_sync_at = @until
WHERE c.id = @id AND c.lease = @lease AND c.state = 'active'
  AND EXISTS (SELECT FROM users u WHERE u.id = c.user_id AND u.disabled_at IS NULL);

-- name: SaveCursor :execrows
UPDATE connections c SET cursor = @cursor, skipped = c.skipped + @skipped
WHERE c.id = @id AND c.lease = @lease AND c.state = 'active'
  AND EXISTS (SELECT FROM users u WHERE u.id = c.user_id AND u.disabled_at IS NULL);

-- name: EndSync :one
-- Gives the lease back. Says whether another sync was asked for meanwhile.
WITH ended AS (SELECT c.id, c.again FROM connections c WHERE c.id = @id AND c.lease = @lease FOR NO KEY UPDATE)
UPDATE connections c
SET lease = NULL, again = false, state = @state, problem = @problem, failures = @failures, next_sync_at = @next_sync_at,
    last_synced_at = coalesce(sqlc.narg(last_synced_at), c.last_synced_at)
FROM ended WHERE c.id = ended.id
RETURNING ended.again;

-- name: KnownOrigins :many
SELECT external_id FROM email_origins WHERE connection_id = @connection_id AND external_id = ANY(@external_ids::text[]);

-- name: SkipOrigin :execrows
-- A message that is not kept: it is not fetched again.
INSERT INTO email_origins (connection_id, external_id) VALUES (@connection_id, @external_id) ON CONFLICT DO NOTHING;
