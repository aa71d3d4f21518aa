-- phase: expand
-- Finds the schedules that are due, and first those whose next_at was not computed from what they say now.

-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY IF NOT EXISTS briefing_schedules_due_idx
    ON briefing_schedules ((CASE WHEN next_for = updated_at THEN next_at ELSE '-infinity' END)) WHERE enabled;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS briefing_schedules_due_idx;
