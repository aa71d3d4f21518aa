-- phase: expand
-- When a user wants the briefing: a local time of day in a time zone of the user's own.

-- +goose Up
CREATE TABLE briefing_schedules (
    user_id    uuid        PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    enabled    boolean     NOT NULL,
    time_zone  text        NOT NULL CHECK (length(time_zone) BETWEEN 1 AND 64),
    minute     integer     NOT NULL CHECK (minute BETWEEN 0 AND 1439),
    updated_at timestamptz NOT NULL
);

COMMENT ON COLUMN briefing_schedules.minute IS 'minutes since midnight in time_zone';

-- +goose Down
DROP TABLE briefing_schedules;
