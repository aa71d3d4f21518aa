-- name: Schedule :one
SELECT enabled, time_zone, minute, updated_at FROM briefing_schedules WHERE user_id = @user_id;

-- SaveSchedule leaves a schedule that says the same already as it is: a briefing that is due at this moment stays due.
-- name: SaveSchedule :exec
INSERT INTO briefing_schedules AS old (user_id, enabled, time_zone, minute, updated_at, next_at, next_for)
VALUES (@user_id, @enabled, @time_zone, @minute, @updated_at, sqlc.narg(next_at), @updated_at)
ON CONFLICT (user_id) DO UPDATE
SET enabled = excluded.enabled, time_zone = excluded.time_zone, minute = excluded.minute, updated_at = excluded.updated_at,
    next_at = excluded.next_at, next_for = excluded.next_for
WHERE (old.enabled, old.time_zone, old.minute) IS DISTINCT FROM (excluded.enabled, excluded.time_zone, excluded.minute);

-- LockDue takes schedules that are due, and those whose next_at was not computed from what they say now: a release that does not know the
-- column wrote them. What another replica holds is left to it. The condition is the index's expression.
-- name: LockDue :many
SELECT s.user_id, s.time_zone, s.minute, s.updated_at, s.next_at, (s.next_for IS NOT DISTINCT FROM s.updated_at)::boolean AS computed
FROM briefing_schedules s JOIN users u ON u.id = s.user_id AND u.disabled_at IS NULL
WHERE s.enabled AND CASE WHEN s.next_for = s.updated_at THEN s.next_at ELSE '-infinity' END <= @now::timestamptz
ORDER BY CASE WHEN s.next_for = s.updated_at THEN s.next_at ELSE '-infinity' END
LIMIT @most
FOR UPDATE OF s SKIP LOCKED;

-- name: MoveSchedule :exec
UPDATE briefing_schedules SET next_at = sqlc.narg(next_at), next_for = updated_at WHERE user_id = @user_id;

-- AddScheduled adds no second one for a period.
-- name: AddScheduled :execrows
INSERT INTO briefings (id, user_id, period, since, until, state, content, created_at)
VALUES (@id, @user_id, @period, @since, @until, 'pending', @content, @created_at)
ON CONFLICT (user_id, period) DO NOTHING;

-- name: AddReady :exec
INSERT INTO briefings (id, user_id, since, until, state, writer, content, created_at, ready_at)
VALUES (@id, @user_id, @since, @until, 'ready', @writer, @content, @created_at, @ready_at);

-- name: FinishPending :execrows
UPDATE briefings SET state = 'ready', writer = @writer, content = @content, ready_at = @ready_at
WHERE id = @id AND user_id = @user_id AND state = 'pending';

-- name: FailPending :exec
UPDATE briefings SET state = 'failed', problem = @problem WHERE id = @id AND user_id = @user_id AND state = 'pending';

-- name: FailForgotten :execrows
UPDATE briefings SET state = 'failed', problem = @problem WHERE state = 'pending' AND created_at < @before;

-- name: Briefing :one
SELECT * FROM briefings WHERE id = @id AND user_id = @user_id;

-- name: LatestReady :one
SELECT * FROM briefings
WHERE user_id = @user_id AND state = 'ready' ORDER BY created_at DESC, id DESC LIMIT 1;

-- name: LastUntil :one
SELECT until FROM briefings WHERE user_id = @user_id AND state = 'ready' ORDER BY created_at DESC, id DESC LIMIT 1;

-- name: OverviewsBefore :many
SELECT id, state, since, until, writer, created_at FROM briefings
WHERE user_id = @user_id AND (created_at, id) < (@created_at::timestamptz, @id::uuid) ORDER BY created_at DESC, id DESC LIMIT @most;

-- name: BriefingsBefore :many
SELECT * FROM briefings
WHERE user_id = @user_id AND (created_at, id) < (@created_at::timestamptz, @id::uuid) ORDER BY created_at DESC, id DESC LIMIT @most;

-- name: DeleteBriefing :execrows
DELETE FROM briefings WHERE id = @id AND user_id = @user_id;

-- EraseBriefings deletes some of a user's who is deleted.
-- name: EraseBriefings :execrows
DELETE FROM briefings WHERE id = ANY (ARRAY(SELECT b.id FROM briefings b WHERE b.user_id = @user_id LIMIT 200));

-- name: EraseSchedule :exec
DELETE FROM briefing_schedules WHERE user_id = @user_id;

-- name: UserIsDisabled :one
SELECT (disabled_at IS NOT NULL)::boolean AS disabled FROM users WHERE id = @user_id;
