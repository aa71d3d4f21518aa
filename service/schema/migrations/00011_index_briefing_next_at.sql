-- phase: expand
-- Finds the schedules that are due, and first those whose next_at was not computed from what they say now; and users by the beginning
-- of their address, in the order of its bytes.

-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY IF NOT EXISTS briefing_schedules_due_idx
    ON briefing_schedules ((CASE WHEN next_for = updated_at THEN next_at ELSE '-infinity' END)) WHERE enabled;
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_email_order_idx ON users ((lower(email) COLLATE "C"));

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS users_email_order_idx;
DROP INDEX CONCURRENTLY IF EXISTS briefing_schedules_due_idx;
