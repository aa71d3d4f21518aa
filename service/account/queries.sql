-- name: CreateUser :one
INSERT INTO users (email, password_hash, created_at) VALUES (@email, @password_hash, @created_at)
RETURNING id;

-- name: CreateProfile :exec
INSERT INTO profiles (user_id, display_name, updated_at) VALUES (@user_id, @display_name, @updated_at);

-- name: UserByEmail :one
SELECT id, password_hash FROM users WHERE lower(email) = lower(@email);

-- name: DeleteUser :execrows
DELETE FROM users WHERE id = @id;

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
INSERT INTO sessions (user_id, created_at, expires_at) VALUES (@user_id, @created_at, @expires_at)
RETURNING id;

-- name: CreateRefreshToken :exec
INSERT INTO refresh_tokens (token_hash, session_id, issued_at) VALUES (@token_hash, @session_id, @issued_at);

-- name: LockRefreshToken :one
-- Locks the whole family: two refreshes of one session are answered one after the other.
SELECT t.session_id, t.rotated_at, s.user_id, s.expires_at, s.revoked_at
FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
WHERE t.token_hash = @token_hash
FOR UPDATE OF s, t;

-- name: RotateRefreshToken :exec
UPDATE refresh_tokens SET rotated_at = @rotated_at WHERE token_hash = @token_hash;

-- name: RevokeSession :exec
-- Keeps the first reason.
UPDATE sessions SET revoked_at = @revoked_at, revoke_reason = @revoke_reason WHERE id = @id AND revoked_at IS NULL;

-- name: RevokeSessionByToken :exec
UPDATE sessions SET revoked_at = @revoked_at, revoke_reason = 'logout'
WHERE revoked_at IS NULL AND id = (SELECT session_id FROM refresh_tokens WHERE token_hash = @token_hash);

-- name: DeleteEndedSessions :execrows
-- A few at a time, so that no sweep holds many rows.
DELETE FROM sessions WHERE id IN (
    SELECT s.id FROM sessions s WHERE s.expires_at < @ended_before ORDER BY s.expires_at LIMIT 500 FOR UPDATE SKIP LOCKED
);

-- name: CreateIndexKey :exec
INSERT INTO user_keys (user_id, index_key, created_at) VALUES (@user_id, @index_key, @created_at) ON CONFLICT (user_id) DO NOTHING;

-- name: IndexKey :one
SELECT index_key, created_at FROM user_keys WHERE user_id = @user_id;

-- name: VerifyUser :exec
UPDATE users SET verified_at = @verified_at WHERE id = @id AND verified_at IS NULL;
