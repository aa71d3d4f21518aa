-- phase: expand
-- Answers to creating calls, kept for a day so that a call which is sent again is not done again.

-- +goose Up
CREATE TABLE idempotency_keys (
    user_id      uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key          text        NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    request_hash bytea       NOT NULL CHECK (length(request_hash) = 32),
    status       integer,
    answer       bytea,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);

COMMENT ON COLUMN idempotency_keys.status IS 'NULL while the first call is being answered';
COMMENT ON COLUMN idempotency_keys.answer IS 'sealed: header and body';

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
