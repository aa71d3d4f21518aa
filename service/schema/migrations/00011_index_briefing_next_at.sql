-- phase: expand
-- Finds the schedules that are due, and first those whose next_at was not computed from what they say now; and users by the beginning
-- of their address, in the order of its bytes; and those that are being deleted.

-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY IF NOT EXISTS briefing_schedules_due_idx
    ON briefing_schedules ((CASE WHEN next_for = updated_at THEN next_at ELSE '-infinity' END)) WHERE enabled;
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_email_order_idx ON users ((lower(email) COLLATE "C"));
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_deleted_at_idx ON users (deleted_at) WHERE deleted_at IS NOT NULL;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS users_deleted_at_idx;
DROP INDEX CONCURRENTLY IF EXISTS users_email_order_idx;
DROP INDEX CONCURRENTLY IF EXISTS briefing_schedules_due_idx;
