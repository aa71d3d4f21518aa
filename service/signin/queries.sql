-- name: CreateFlow :exec
INSERT INTO oauth_flows (state_hash, browser_hash, provider, purpose, user_id, secrets, return_to, created_at, expires_at)
VALUES (@state_hash, @browser_hash, @provider, @purpose, nullif(@user_id::text, '')::uuid, @secrets, @return_to, @created_at, @expires_at);

-- name: TakeFlow :one
-- Reads a flow and ends it in one statement: of two that come at once, one finds it.
DELETE FROM oauth_flows WHERE state_hash = @state_hash
RETURNING browser_hash, provider, purpose, coalesce(user_id::text, '')::text AS user_id, secrets, return_to, expires_at;

-- name: DeleteExpiredFlows :execrows
-- A few at a time, so that no sweep holds many rows.
DELETE FROM oauth_flows WHERE state_hash = ANY (ARRAY(
    SELECT f.state_hash FROM oauth_flows f WHERE f.expires_at < @expired_before ORDER BY f.expires_at LIMIT 500 FOR UPDATE SKIP LOCKED
));

-- name: UseIdentity :one
UPDATE identities SET used_at = @used_at, email = @email, email_verified = @email_verified
WHERE issuer = @issuer AND subject = @subject
RETURNING user_id;

-- name: CreateIdentity :execrows
-- None when the identity is there already, whoever has it.
INSERT INTO identities (id, issuer, subject, user_id, email, email_verified, created_at, used_at)
VALUES (@id, @issuer, @subject, @user_id, @email, @email_verified, @created_at, sqlc.narg(used_at))
ON CONFLICT (issuer, subject) DO NOTHING;

-- name: Identity :one
SELECT id, user_id, issuer, email, created_at, used_at FROM identities WHERE issuer = @issuer AND subject = @subject;

-- name: Identities :many
SELECT id, issuer, email, created_at, used_at FROM identities
WHERE user_id = @user_id AND id > @after
ORDER BY id LIMIT @most;

-- name: DeleteIdentity :one
DELETE FROM identities WHERE user_id = @user_id AND id = @id RETURNING issuer;

-- name: DeleteUnprovedIdentities :exec
-- All but those whose provider has proved that they have the account's address.
DELETE FROM identities i USING users u
WHERE i.user_id = @user_id AND u.id = i.user_id AND NOT (i.email_verified AND lower(i.email) = lower(u.email));

-- name: DeleteFlows :exec
DELETE FROM oauth_flows WHERE user_id = @user_id::uuid;

-- name: HasPassword :one
-- Locks the user: of two ways to log in, both cannot be taken away at once.
SELECT (password_hash <> '')::boolean AS has_password FROM users WHERE id = @user_id FOR UPDATE;

-- name: HasIdentity :one
-- Only identities at providers that are there count.
SELECT EXISTS (SELECT FROM identities WHERE user_id = @user_id AND issuer = ANY(@issuers::text[]));

-- name: DeleteIdentities :exec
DELETE FROM identities WHERE user_id = @user_id;
