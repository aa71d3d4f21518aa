-- name: KnownFingerprints :many
SELECT id, fingerprint FROM emails WHERE user_id = @user_id AND fingerprint = ANY (@fingerprints::bytea[]);

-- name: InsertEmails :batchone
INSERT INTO emails (
    id, user_id, fingerprint, connection_id, message_id, from_name, from_address, recipients, subject, received_at, size, attachments,
    category, score, reason, classifier, snippet, body, search, created_at
) VALUES (
    @id, @user_id, @fingerprint, @connection_id, @message_id, @from_name, @from_address, @recipients, @subject, @received_at, @size, @attachments,
    @category, @score, @reason, @classifier, @snippet, @body, CAST(@search::text AS tsvector), @created_at
) ON CONFLICT (user_id, fingerprint) DO NOTHING
RETURNING id;

-- name: InsertAttachments :batchexec
INSERT INTO attachments (id, email_id, user_id, position, name, content_type, size, content)
VALUES (@id, @email_id, @user_id, @position, @name, @content_type, @size, @content);

-- name: InsertEmbeddings :batchexec
INSERT INTO embeddings (item_id, model, user_id, kind, vector, created_at)
SELECT e.id, @model, e.user_id, 'email', @vector::real[], @created_at FROM emails e WHERE e.id = @email_id AND e.user_id = @user_id
ON CONFLICT (item_id, model) DO NOTHING;

-- name: EmailsOfOrigins :many
SELECT o.external_id, o.email_id FROM email_origins o JOIN connections c ON c.id = o.connection_id
WHERE o.connection_id = @connection_id AND o.external_id = ANY (@external_ids::text[]) AND c.user_id = @user_id;

-- name: InsertOrigins :exec
INSERT INTO email_origins (connection_id, external_id, email_id)
SELECT c.id, unnest(@external_ids::text[]), unnest(@email_ids::uuid[]) FROM connections c WHERE c.id = @connection_id AND c.user_id = @user_id
ON CONFLICT (connection_id, external_id) DO NOTHING;

-- name: ListEmails :many
SELECT id, from_name, from_address, subject, received_at, category, score, reason, snippet, attachments FROM emails
WHERE user_id = @user_id AND received_at >= @since AND (received_at, id) < (@before::timestamptz, @before_id::uuid)
ORDER BY received_at DESC, id DESC LIMIT @most;

-- name: ListEmailsOfCategory :many
SELECT id, from_name, from_address, subject, received_at, category, score, reason, snippet, attachments FROM emails
WHERE user_id = @user_id AND category = @category AND received_at >= @since AND (received_at, id) < (@before::timestamptz, @before_id::uuid)
ORDER BY received_at DESC, id DESC LIMIT @most;

-- name: SearchEmails :many
SELECT id, from_name, from_address, subject, received_at, category, score, reason, snippet, attachments FROM emails
WHERE user_id = @user_id AND search @@ CAST(@query::text AS tsquery) AND (@category::text = '' OR category = @category)
  AND received_at >= @since AND (received_at, id) < (@before::timestamptz, @before_id::uuid)
ORDER BY received_at DESC, id DESC LIMIT @most;

-- name: EmailsByID :many
SELECT id, from_name, from_address, subject, received_at, category, score, reason, snippet, attachments FROM emails
WHERE user_id = @user_id AND id = ANY (@ids::uuid[]);

-- name: GetEmail :one
SELECT id, from_name, from_address, subject, received_at, category, score, reason, snippet, attachments, message_id, recipients, size, body
FROM emails WHERE user_id = @user_id AND id = @id;

-- name: ExportEmails :many
SELECT id, from_name, from_address, subject, received_at, category, score, reason, snippet, attachments, message_id, recipients, size, body
FROM emails WHERE user_id = @user_id AND (received_at, id) < (@before::timestamptz, @before_id::uuid)
ORDER BY received_at DESC, id DESC LIMIT @most;

-- name: Attachments :many
SELECT id, email_id, name, content_type, size FROM attachments WHERE user_id = @user_id AND email_id = ANY (@emails::uuid[]) ORDER BY email_id, position;

-- name: Attachment :one
SELECT name, content_type, content FROM attachments WHERE user_id = @user_id AND email_id = @email_id AND id = @id;

-- name: CorrectCategory :execrows
UPDATE emails SET category = @category, score = 1, reason = @reason, classifier = 0 WHERE user_id = @user_id AND id = @id;

-- name: DeleteEmail :execrows
DELETE FROM emails WHERE user_id = @user_id AND id = @id;

-- name: DeleteEmbeddings :exec
DELETE FROM embeddings WHERE user_id = @user_id AND item_id = @item_id;

-- name: OutdatedEmails :many
SELECT id, user_id, from_name, from_address, subject, body FROM emails
WHERE classifier > 0 AND classifier < @version ORDER BY classifier, id LIMIT @most FOR UPDATE SKIP LOCKED;

-- name: Reclassify :batchexec
UPDATE emails SET category = @category, score = @score, reason = @reason, classifier = @classifier WHERE user_id = @user_id AND id = @id;

-- name: EmailVector :one
SELECT vector FROM embeddings WHERE user_id = @user_id AND item_id = @item_id AND model = @model;

-- name: EmailsToEmbed :many
SELECT e.id, e.from_name, e.subject, e.body FROM emails e
WHERE e.user_id = @user_id AND e.id = ANY (@ids::uuid[])
  AND EXISTS (SELECT FROM users u WHERE u.id = e.user_id AND u.disabled_at IS NULL)
  AND NOT EXISTS (SELECT FROM embeddings m WHERE m.item_id = e.id AND m.model = @model);

-- name: EmailsFrom :many
SELECT e.id, e.user_id, (m.item_id IS NOT NULL)::boolean AS embedded FROM emails e
LEFT JOIN embeddings m ON m.item_id = e.id AND m.model = @model
WHERE e.id > @after ORDER BY e.id LIMIT @most;

-- name: DeleteEmailsOf :execrows
-- A few at a time, with their attachments.
DELETE FROM emails WHERE id = ANY (ARRAY(
    SELECT e.id FROM emails e WHERE e.user_id = @user_id ORDER BY e.received_at DESC, e.id DESC LIMIT 500
));

-- name: DeleteEmbeddingsOf :execrows
DELETE FROM embeddings d WHERE d.user_id = @user_id AND d.item_id = ANY (ARRAY(
    SELECT v.item_id FROM embeddings v WHERE v.user_id = @user_id ORDER BY v.kind, v.model LIMIT 2000
));

-- name: OwnAddresses :many
-- Of the user, who writes from them: the account's and those of connected mailboxes.
SELECT lower(u.email)::text AS address FROM users u WHERE u.id = @user_id
UNION SELECT lower(c.account)::text FROM connections c WHERE c.user_id = @user_id;
