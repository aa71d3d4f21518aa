-- phase: expand
-- What an account needs beside a password: a verified address, a lock, roles, identities at other providers, keys that rotate.

-- +goose Up
ALTER TABLE users
    ADD COLUMN verified_at         timestamptz,
    ADD COLUMN disabled_at         timestamptz,
    ADD COLUMN deleted_at          timestamptz,
    ADD COLUMN role                text    NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin')),
    ADD COLUMN failed_logins       integer NOT NULL DEFAULT 0,
    ADD COLUMN last_failed_at      timestamptz,
    ADD COLUMN locked_until        timestamptz,
    ADD COLUMN password_changed_at timestamptz;

COMMENT ON COLUMN users.deleted_at IS 'the user is gone for everybody, and the address is free (email is the id); what hangs on the row is being deleted';
COMMENT ON COLUMN users.password_hash IS 'bcrypt; empty for a user who logs in with another provider only';

ALTER TABLE sessions
    ADD COLUMN last_used_at  timestamptz,
    ADD COLUMN user_agent    text NOT NULL DEFAULT '',
    ADD COLUMN address       text NOT NULL DEFAULT '',
    ADD COLUMN revoke_detail text;

COMMENT ON COLUMN sessions.revoke_detail IS 'why, where it is neither a logout nor a reuse: password, proof, everywhere, user, disabled';

ALTER TABLE refresh_tokens ADD COLUMN successor_salt bytea;

COMMENT ON COLUMN refresh_tokens.successor_salt IS 'what the next token is derived with, from this one';

-- Networks that a user has logged in from. Each has a count of wrong passwords of its own, so that nobody elsewhere locks the user out.
CREATE TABLE login_networks (
    user_id        uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network        text        NOT NULL,
    failed_logins  integer     NOT NULL DEFAULT 0,
    last_failed_at timestamptz,
    locked_until   timestamptz,
    seen_at        timestamptz NOT NULL,
    PRIMARY KEY (user_id, network)
);

CREATE INDEX login_networks_seen_at_idx ON login_networks (seen_at);

-- The key of a user's search index and fingerprints (service/encryption). It is random, sealed, and stays when the master key changes.
CREATE TABLE user_keys (
    user_id    uuid        PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    index_key  bytea       NOT NULL,
    created_at timestamptz NOT NULL
);

-- Sessions whose access tokens have ended before their time. It has no reference, because it outlives session and user; a row goes
-- when the last token would have ended anyway.
CREATE TABLE revocations (
    session_id uuid        PRIMARY KEY,
    at         timestamptz NOT NULL
);

CREATE INDEX revocations_at_idx ON revocations (at);

-- Tokens that are sent by mail and good once. Kept as SHA-256 only.
CREATE TABLE one_time_tokens (
    token_hash bytea       PRIMARY KEY CHECK (length(token_hash) = 32),
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose    text        NOT NULL CHECK (purpose IN ('verify', 'reset')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);

CREATE INDEX one_time_tokens_user_id_idx ON one_time_tokens (user_id, purpose);
CREATE INDEX one_time_tokens_expires_at_idx ON one_time_tokens (expires_at);

-- The mails that were sent of late, a row a job: what one user is sent in an hour is limited, whoever asks for it.
CREATE TABLE account_mails (
    job_id  bigint      PRIMARY KEY,
    user_id uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose text        NOT NULL,
    at      timestamptz NOT NULL
);

CREATE INDEX account_mails_user_id_idx ON account_mails (user_id, purpose, at);
CREATE INDEX account_mails_at_idx ON account_mails (at);

-- Keys that sign access tokens, made by a rotation. They are published before they sign, and check for as long as a token may live after.
CREATE TABLE signing_keys (
    kid          text        PRIMARY KEY,
    private_key  bytea       NOT NULL,
    created_at   timestamptz NOT NULL,
    activates_at timestamptz NOT NULL,
    retires_at   timestamptz
);

COMMENT ON COLUMN signing_keys.private_key IS 'sealed';

CREATE INDEX signing_keys_retires_at_idx ON signing_keys (retires_at);

CREATE TABLE identities (
    id             uuid        NOT NULL UNIQUE,
    issuer         text        NOT NULL CHECK (length(issuer) BETWEEN 1 AND 500),
    subject        text        NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    user_id        uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email          text        NOT NULL DEFAULT '',
    email_verified boolean     NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL,
    used_at        timestamptz,
    PRIMARY KEY (issuer, subject)
);

COMMENT ON COLUMN identities.email_verified IS 'the provider has proved that the address is the subject''s';

CREATE INDEX identities_user_id_idx ON identities (user_id, id);

-- A way to another provider and back, from the redirect to the callback; and the one-time code that a log-in ends with where a page of
-- another origin takes it up ('exchange'). The state, or the code, is kept as SHA-256 only.
CREATE TABLE oauth_flows (
    state_hash   bytea       PRIMARY KEY CHECK (length(state_hash) = 32),
    browser_hash bytea       NOT NULL CHECK (length(browser_hash) = 32),
    provider     text        NOT NULL,
    purpose      text        NOT NULL CHECK (purpose IN ('login', 'link', 'connect', 'exchange')),
    user_id      uuid        REFERENCES users (id) ON DELETE CASCADE,
    secrets      bytea       NOT NULL,
    return_to    text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);

COMMENT ON COLUMN oauth_flows.secrets IS 'sealed: nonce and PKCE verifier, as JSON';

CREATE INDEX oauth_flows_user_id_idx ON oauth_flows (user_id);
CREATE INDEX oauth_flows_expires_at_idx ON oauth_flows (expires_at);

-- Who did what to an account. It outlives the account by its retention, and then names it by id only.
CREATE TABLE audit_events (
    id         uuid        PRIMARY KEY,
    at         timestamptz NOT NULL,
    actor_id   uuid,
    user_id    uuid,
    action     text        NOT NULL,
    address    text        NOT NULL DEFAULT '',
    request_id text        NOT NULL DEFAULT '',
    detail     jsonb       NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_events_at_idx ON audit_events (at DESC, id DESC);
CREATE INDEX audit_events_user_id_idx ON audit_events (user_id, at DESC, id DESC);
CREATE INDEX audit_events_actor_id_idx ON audit_events (actor_id, id) WHERE actor_id IS DISTINCT FROM user_id;

-- +goose Down
DROP TABLE audit_events;
DROP TABLE oauth_flows;
DROP TABLE identities;
DROP TABLE signing_keys;
DROP TABLE account_mails;
DROP TABLE one_time_tokens;
DROP TABLE revocations;
DROP TABLE user_keys;
DROP TABLE login_networks;
ALTER TABLE refresh_tokens DROP COLUMN successor_salt;
ALTER TABLE sessions DROP COLUMN last_used_at, DROP COLUMN user_agent, DROP COLUMN address, DROP COLUMN revoke_detail;
ALTER TABLE users
    DROP COLUMN verified_at, DROP COLUMN disabled_at, DROP COLUMN deleted_at, DROP COLUMN role, DROP COLUMN failed_logins,
    DROP COLUMN last_failed_at, DROP COLUMN locked_until, DROP COLUMN password_changed_at;
