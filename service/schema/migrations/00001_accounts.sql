-- phase: expand
-- Users, and the profile that each of them has from the first day.

-- +goose Up
CREATE TABLE users (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text        NOT NULL CHECK (length(email) <= 254),
    password_hash text        NOT NULL,
    created_at    timestamptz NOT NULL
);

-- Two addresses that differ in case only reach the same mailbox at every provider of note.
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

CREATE TABLE profiles (
    user_id      uuid        PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    display_name text        NOT NULL DEFAULT '' CHECK (length(display_name) <= 200),
    about        text        NOT NULL DEFAULT '' CHECK (length(about) <= 4000),
    updated_at   timestamptz NOT NULL
);

-- +goose Down
DROP TABLE profiles;
DROP TABLE users;
