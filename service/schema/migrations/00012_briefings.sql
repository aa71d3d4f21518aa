-- phase: expand
-- Briefings: what happened to a user in a stretch of time, with its sources.

-- +goose Up
CREATE TABLE briefings (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    period     date,
    since      timestamptz NOT NULL,
    until      timestamptz NOT NULL,
    state      text        NOT NULL CHECK (state IN ('pending', 'ready', 'failed')),
    writer     text        NOT NULL DEFAULT '',
    content    bytea       NOT NULL,
    problem    text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    ready_at   timestamptz,
    UNIQUE (user_id, period)
);

COMMENT ON COLUMN briefings.period IS 'the local day of a scheduled briefing, which has one; NULL when it was asked for';
COMMENT ON COLUMN briefings.writer IS 'extractive, or the name of the model that wrote it';
COMMENT ON COLUMN briefings.since IS 'the briefing is about what happened from here until before until';
COMMENT ON COLUMN briefings.content IS 'sealed: text and cited sources';

CREATE INDEX briefings_created_idx ON briefings (user_id, created_at DESC, id DESC);
CREATE INDEX briefings_pending_idx ON briefings (created_at) WHERE state = 'pending';

-- +goose Down
DROP TABLE briefings;
