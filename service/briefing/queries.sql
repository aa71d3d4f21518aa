-- name: Schedule :one
SELECT enabled, time_zone, minute, updated_at FROM briefing_schedules WHERE user_id = @user_id;

-- name: SaveSchedule :exec
INSERT INTO briefing_schedules (user_id, enabled, time_zone, minute, updated_at)
VALUES (@user_id, @enabled, @time_zone, @minute, @updated_at)
ON CONFLICT (user_id) DO UPDATE
SET enabled = excluded.enabled, time_zone = excluded.time_zone, minute = excluded.minute, updated_at = excluded.updated_at;
