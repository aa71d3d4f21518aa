-- name: BeginAnswer :execrows
-- Takes the key for a first call, or for a call whose first one has been left without an answer.
INSERT INTO idempotency_keys (user_id, key, request_hash, created_at) VALUES (@user_id, @key, @request_hash, @now)
ON CONFLICT (user_id, key) DO UPDATE SET created_at = excluded.created_at, request_hash = excluded.request_hash
WHERE idempotency_keys.status IS NULL AND idempotency_keys.created_at < @left_before AND idempotency_keys.request_hash = ANY (@request_hashes::bytea[]);

-- name: Answer :one
SELECT request_hash, status, answer FROM idempotency_keys WHERE user_id = @user_id AND key = @key;

-- name: KeepAnswer :exec
UPDATE idempotency_keys SET status = @status, answer = @answer WHERE user_id = @user_id AND key = @key;

-- name: ForgetAnswer :exec
DELETE FROM idempotency_keys WHERE user_id = @user_id AND key = @key AND status IS NULL;

-- name: SweepAnswers :execrows
DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT o.ctid FROM idempotency_keys o WHERE o.created_at < @before ORDER BY o.created_at LIMIT 500 FOR UPDATE SKIP LOCKED
));
