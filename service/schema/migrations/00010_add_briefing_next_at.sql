-- phase: expand
-- When a schedule is due next, in absolute time, so that due ones are found by an index and not by time zone arithmetic on all.

-- +goose Up
ALTER TABLE briefing_schedules
    ADD COLUMN next_at  timestamptz,
    ADD COLUMN next_for timestamptz;

COMMENT ON COLUMN briefing_schedules.next_at IS 'NULL when it never is, and until it is computed';
COMMENT ON COLUMN briefing_schedules.next_for IS 'updated_at of the schedule that next_at was computed from';

-- +goose Down
ALTER TABLE briefing_schedules DROP COLUMN next_at, DROP COLUMN next_for;
