-- name: CreateUser :one
-- No row when the address is taken: an error would end the caller's transaction.
INSERT INTO users (email, password_hash, created_at, verified_at) VALUES (@email, @password_hash, @created_at, sqlc.narg(verified_at))
ON CONFLICT (lower(email)) DO NOTHING
RETURNING id;

-- name: CreateProfile :exec
INSERT INTO profiles (user_id, display_name, updated_at) VALUES (@user_id, @display_name, @updated_at);

-- name: UserByEmail :one
SELECT id, email, password_hash, password_changed_at, created_at, verified_at, disabled_at, role, locked_until FROM users WHERE lower(email) = lower(@email);

-- name: UserByID :one
SELECT id, email, password_hash, password_changed_at, created_at, verified_at, disabled_at, role, locked_until FROM users WHERE id = @id AND deleted_at IS NULL;

-- name: LockUser :one
-- Against whoever deletes, opens a session, changes the password or disables at the same time.
SELECT id, email, password_hash, password_changed_at, verified_at, disabled_at, failed_logins, last_failed_at, locked_until
FROM users WHERE id = @id AND deleted_at IS NULL FOR NO KEY UPDATE;

-- name: CountFailure :exec
UPDATE users SET failed_logins = @failed_logins, last_failed_at = @last_failed_at, locked_until = sqlc.narg(locked_until) WHERE id = @id;

-- name: ForgetFailures :execrows
UPDATE users SET failed_logins = 0, last_failed_at = NULL, locked_until = NULL WHERE id = @id;

-- name: LoginNetwork :one
SELECT failed_logins, last_failed_at, locked_until FROM login_networks WHERE user_id = @user_id AND network = @network;

-- name: CountNetworkFailure :exec
UPDATE login_networks SET failed_logins = @failed_logins, last_failed_at = @last_failed_at, locked_until = sqlc.narg(locked_until)
WHERE user_id = @user_id AND network = @network;

-- name: KeepLoginNetwork :exec
-- A log-in forgets the failures before it.
INSERT INTO login_networks (user_id, network, seen_at) VALUES (@user_id, @network, @seen_at)
ON CONFLICT (user_id, network) DO UPDATE SET failed_logins = 0, last_failed_at = NULL, locked_until = NULL, seen_at = excluded.seen_at;

-- name: ForgetNetworkFailures :exec
UPDATE login_networks SET failed_logins = 0, last_failed_at = NULL, locked_until = NULL WHERE user_id = @user_id AND failed_logins > 0;

-- name: DeleteLoginNetworks :execrows
DELETE FROM login_networks WHERE ctid = ANY (ARRAY(
    SELECT n.ctid FROM login_networks n WHERE n.seen_at < @seen_before ORDER BY n.seen_at LIMIT 500 FOR UPDATE SKIP LOCKED
));

-- name: SetPassword :exec
UPDATE users SET password_hash = @password_hash, password_changed_at = @password_changed_at,
    failed_logins = 0, last_failed_at = NULL, locked_until = NULL
WHERE id = @id;

-- name: Rehash :exec
-- The same password under another cost, unless it was changed or hashed anew in the meantime.
UPDATE users SET password_hash = @next WHERE id = @id AND password_hash = @present;

-- name: SetVerified :execrows
-- Keeps the first time.
UPDATE users SET verified_at = @verified_at WHERE id = @id AND verified_at IS NULL;

-- name: SetVerifiedByEmail :one
-- Keeps the first time.
UPDATE users SET verified_at = coalesce(verified_at, @verified_at) WHERE lower(email) = lower(@email) RETURNING id;

-- name: SetDisabled :execrows
UPDATE users SET disabled_at = sqlc.narg(disabled_at)
WHERE id = @id AND (disabled_at IS NULL) <> (sqlc.narg(disabled_at)::timestamptz IS NULL);

-- name: SetRole :one
UPDATE users SET role = @role WHERE lower(email) = lower(@email) RETURNING id;

-- name: HideUser :exec
-- Nobody finds the user any more. The address becomes the id, which no address can be, so that somebody may register with it.
UPDATE users SET deleted_at = @now, disabled_at = coalesce(disabled_at, @now), email = id::text, password_hash = '', role = 'user' WHERE id = @id;

-- name: DeletedUsers :many
SELECT id FROM users WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT @most;

-- name: DeleteSessionsOf :execrows
DELETE FROM sessions WHERE id = ANY (ARRAY(SELECT s.id FROM sessions s WHERE s.user_id = @user_id LIMIT 20));

-- name: DeleteUser :exec
DELETE FROM users WHERE id = @id AND deleted_at IS NOT NULL;

-- name: ListUsers :many
SELECT id, email, created_at, verified_at, disabled_at, role, locked_until, lower(email)::text AS position FROM users
WHERE lower(email) COLLATE "C" > @after::text AND deleted_at IS NULL
  AND lower(email) COLLATE "C" >= lower(@prefix::text) AND lower(email) COLLATE "C" < lower(@prefix::text) || chr(1114111)
ORDER BY lower(email) COLLATE "C" LIMIT @most;

-- name: Profile :one
SELECT u.id, u.email, p.display_name, p.about, u.created_at, p.updated_at
FROM users u JOIN profiles p ON p.user_id = u.id
WHERE u.id = @id;

-- name: UpdateProfile :one
-- Leaves a field as it is where its parameter is NULL.
UPDATE profiles p
SET display_name = coalesce(sqlc.narg(display_name), p.display_name),
    about        = coalesce(sqlc.narg(about), p.about),
    updated_at   = @updated_at
FROM users u
WHERE p.user_id = @id AND u.id = p.user_id
RETURNING u.id, u.email, p.display_name, p.about, u.created_at, p.updated_at;

-- name: CreateSession :one
INSERT INTO sessions (user_id, created_at, expires_at, last_used_at, user_agent, address)
VALUES (@user_id, @created_at, @expires_at, @created_at, @user_agent, @address)
RETURNING id;

-- name: CreateRefreshToken :exec
INSERT INTO refresh_tokens (token_hash, session_id, issued_at) VALUES (@token_hash, @session_id, @issued_at);

-- name: LockRefreshToken :one
-- Locks the whole family: two refreshes of one session are answered one after the other.
SELECT t.session_id, t.rotated_at, t.successor_salt, s.user_id, s.expires_at, s.revoked_at
FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
WHERE t.token_hash = @token_hash
FOR UPDATE OF s, t;

-- name: RotateRefreshToken :exec
-- Keeps the first time: a release that knew no successors may have rotated it.
UPDATE refresh_tokens SET rotated_at = coalesce(rotated_at, @rotated_at), successor_salt = @successor_salt WHERE token_hash = @token_hash;

-- name: RefreshTokenIsUsed :one
SELECT (rotated_at IS NOT NULL)::boolean AS used FROM refresh_tokens WHERE token_hash = @token_hash;

-- name: UseSession :exec
UPDATE sessions SET last_used_at = @last_used_at, address = @address, user_agent = @user_agent WHERE id = @id;

-- name: ListSessions :many
SELECT id, created_at, expires_at, last_used_at, user_agent, address FROM sessions
WHERE user_id = @user_id AND revoked_at IS NULL AND expires_at > @now AND (created_at, id) < (@before, @before_id::uuid)
ORDER BY created_at DESC, id DESC LIMIT @most;

-- name: EndedSessions :many
-- Those that ListSessions leaves out, until they are swept.
SELECT id, created_at, expires_at, last_used_at, user_agent, address, revoked_at FROM sessions
WHERE user_id = @user_id AND (revoked_at IS NOT NULL OR expires_at <= @now) AND id > @after ORDER BY id LIMIT 200;

-- name: SessionIsOpen :one
-- What the list of revocations in memory answers otherwise.
SELECT EXISTS (
    SELECT FROM sessions s JOIN users u ON u.id = s.user_id
    WHERE s.id = @id AND s.user_id = @user_id AND s.revoked_at IS NULL AND u.disabled_at IS NULL
);

-- name: SigningKeyChecks :one
-- What the key set in memory answers otherwise.
SELECT EXISTS (SELECT FROM signing_keys WHERE kid = @kid AND (retires_at IS NULL OR retires_at > @now));

-- name: RevokeSession :execrows
-- Keeps the first reason.
UPDATE sessions SET revoked_at = @revoked_at, revoke_reason = sqlc.narg(revoke_reason), revoke_detail = sqlc.narg(revoke_detail)
WHERE id = @id AND user_id = @user_id AND revoked_at IS NULL;

-- name: RevokeSessions :many
-- All of a user's sessions but one.
UPDATE sessions SET revoked_at = @revoked_at, revoke_detail = @revoke_detail::text
WHERE user_id = @user_id AND revoked_at IS NULL AND id <> @but::uuid
RETURNING id;

-- name: SessionByToken :one
SELECT s.id, s.user_id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.token_hash = @token_hash AND s.revoked_at IS NULL;

-- name: Revoke :exec
INSERT INTO revocations (session_id, at) SELECT unnest(@sessions::uuid[]), @at ON CONFLICT (session_id) DO NOTHING;

-- name: TellRevoked :exec
-- Heard by every replica when the transaction is committed.
SELECT pg_notify('assistd_revoked', id::text) FROM unnest(@sessions::uuid[]) AS id;

-- name: Revoked :many
SELECT session_id, at FROM revocations WHERE at > @since;

-- name: DeleteRevocations :execrows
DELETE FROM revocations WHERE session_id = ANY (ARRAY(
    SELECT r.session_id FROM revocations r WHERE r.at < @before ORDER BY r.at LIMIT 500 FOR UPDATE SKIP LOCKED
));

-- name: DeleteEndedSessions :execrows
-- A few at a time, so that no sweep holds many rows.
DELETE FROM sessions WHERE id = ANY (ARRAY(
    SELECT s.id FROM sessions s WHERE s.expires_at < @ended_before ORDER BY s.expires_at LIMIT 500 FOR UPDATE SKIP LOCKED
));

-- name: CreateOneTimeToken :exec
INSERT INTO one_time_tokens (token_hash, user_id, purpose, created_at, expires_at) VALUES (@token_hash, @user_id, @purpose, @created_at, @expires_at);

-- name: CountMail :execrows
-- None when there were enough of them since. A job that is run again has been counted.
INSERT INTO account_mails (job_id, user_id, purpose, at)
SELECT @job_id, @user_id, @purpose, @at
WHERE EXISTS (SELECT FROM account_mails m WHERE m.job_id = @job_id)
   OR (SELECT count(*) FROM account_mails m WHERE m.user_id = @user_id AND m.purpose = @purpose AND m.at > @since) < @most::bigint
ON CONFLICT (job_id) DO UPDATE SET at = account_mails.at;

-- name: DeleteCountedMails :execrows
DELETE FROM account_mails WHERE job_id = ANY (ARRAY(
    SELECT m.job_id FROM account_mails m WHERE m.at < @before ORDER BY m.at LIMIT 500 FOR UPDATE SKIP LOCKED
));

-- name: OneTimeToken :one
SELECT user_id, expires_at, used_at FROM one_time_tokens WHERE token_hash = @token_hash AND purpose = @purpose;

-- name: UseOneTimeToken :execrows
UPDATE one_time_tokens SET used_at = @used_at WHERE token_hash = @token_hash AND used_at IS NULL;

-- name: DropOneTimeTokens :exec
-- A password that was changed or reset leaves no way to reset it again.
DELETE FROM one_time_tokens WHERE user_id = @user_id AND purpose = @purpose;

-- name: DeleteEndedOneTimeTokens :execrows
DELETE FROM one_time_tokens WHERE token_hash = ANY (ARRAY(
    SELECT o.token_hash FROM one_time_tokens o WHERE o.expires_at < @ended_before ORDER BY o.expires_at LIMIT 500 FOR UPDATE SKIP LOCKED
));

-- name: SigningKeys :many
SELECT kid, private_key, created_at, activates_at, retires_at FROM signing_keys
WHERE retires_at IS NULL OR retires_at > @now ORDER BY activates_at DESC, kid;

-- name: CreateSigningKey :exec
INSERT INTO signing_keys (kid, private_key, created_at, activates_at) VALUES (@kid, @private_key, @created_at, @activates_at);

-- name: RetireSigningKeys :many
-- All but one that would check for longer.
UPDATE signing_keys SET retires_at = @retires_at WHERE (retires_at IS NULL OR retires_at > @retires_at) AND kid <> @but
RETURNING kid;

-- name: TellKeysChanged :exec
SELECT pg_notify('assistd_keys', '');

-- name: DeleteRetiredSigningKeys :execrows
DELETE FROM signing_keys WHERE retires_at < @retired_before;

-- name: CreateIndexKey :exec
-- None for a user who is deleted.
INSERT INTO user_keys (user_id, index_key, created_at)
SELECT u.id, @index_key, @created_at FROM users u WHERE u.id = @user_id AND u.deleted_at IS NULL ON CONFLICT (user_id) DO NOTHING;

-- name: DeleteIndexKey :exec
DELETE FROM user_keys WHERE user_id = @user_id;

-- name: IndexKey :one
SELECT index_key, created_at FROM user_keys WHERE user_id = @user_id;

-- name: CreateAuditEvent :exec
INSERT INTO audit_events (id, at, actor_id, user_id, action, address, request_id, detail)
VALUES (@id, @at, sqlc.narg(actor_id), sqlc.narg(user_id), @action, @address, @request_id, @detail);

-- name: AuditEvents :many
SELECT id, at, actor_id, user_id, action, address, request_id, detail FROM audit_events
WHERE (at, id) < (@before, @before_id::uuid) ORDER BY at DESC, id DESC LIMIT @most;

-- name: AuditEventsOf :many
SELECT id, at, actor_id, user_id, action, address, request_id, detail FROM audit_events
WHERE user_id = @user_id AND (at, id) < (@before, @before_id::uuid) ORDER BY at DESC, id DESC LIMIT @most;

-- name: BlankAuditEventsOf :many
-- Leaves of what was done to a user the ids and the action.
UPDATE audit_events a SET address = '', request_id = '', detail = '{}'
WHERE a.id = ANY (ARRAY(
    SELECT e.id FROM audit_events e WHERE e.user_id = @user_id AND (e.at, e.id) < (@before, @before_id::uuid) ORDER BY e.at DESC, e.id DESC LIMIT 500
))
RETURNING a.at, a.id;

-- name: BlankAuditEventsBy :many
-- Leaves of what a user did to others all but where the user was.
UPDATE audit_events a SET address = '', request_id = ''
WHERE a.id = ANY (ARRAY(
    SELECT e.id FROM audit_events e
    WHERE e.actor_id = @actor_id AND e.actor_id IS DISTINCT FROM e.user_id AND e.id > @after ORDER BY e.id LIMIT 500
))
RETURNING a.id;

-- name: DeleteAuditEvents :execrows
DELETE FROM audit_events WHERE id = ANY (ARRAY(
    SELECT a.id FROM audit_events a WHERE a.at < @before ORDER BY a.at, a.id LIMIT 500 FOR UPDATE SKIP LOCKED
));
