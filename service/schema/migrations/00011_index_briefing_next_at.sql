-- phase: expand
-- Finds the schedules that are due.

-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY IF NOT EXISTS briefing_schedules_next_at_idx ON briefing_schedules (next_at NULLS FIRST) WHERE enabled;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS briefing_schedules_next_at_idx;
