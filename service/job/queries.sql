-- Sources

-- name: CreateSource :exec
INSERT INTO job_sources (id, user_id, kind, url, name, mapping, etag, last_modified, fetched_at, next_fetch_at, created_at, updated_at)
VALUES (@id, @user_id, @kind, @url, @name, @mapping, @etag, @last_modified, @fetched_at, @next_fetch_at, @created_at, @created_at);

-- name: CountSources :one
SELECT count(*) FROM job_sources WHERE user_id = @user_id;

-- name: Sources :many
SELECT * FROM job_sources WHERE user_id = @user_id AND id > @after ORDER BY id LIMIT @most;

-- name: Source :one
SELECT * FROM job_sources WHERE id = @id AND user_id = @user_id;

-- name: LockSource :one
SELECT * FROM job_sources WHERE id = @id AND user_id = @user_id FOR UPDATE;

-- name: SourceToFetch :one
SELECT s.* FROM job_sources s JOIN users u ON u.id = s.user_id AND u.disabled_at IS NULL WHERE s.id = @id;

-- name: UpdateSource :exec
UPDATE job_sources
SET kind = @kind, url = @url, name = @name, mapping = @mapping, state = @state, problem = @problem, failures = @failures,
    etag = @etag, last_modified = @last_modified, fetched_at = @fetched_at, next_fetch_at = @next_fetch_at, updated_at = @updated_at
WHERE id = @id AND user_id = @user_id;

-- name: DeleteSource :execrows
DELETE FROM job_sources WHERE id = @id AND user_id = @user_id;

-- name: DueSources :many
SELECT s.id FROM job_sources s JOIN users u ON u.id = s.user_id AND u.disabled_at IS NULL
WHERE s.state = 'active' AND s.next_fetch_at <= @now ORDER BY s.next_fetch_at LIMIT @most;

-- name: SourceFetched :execrows
UPDATE job_sources
SET etag = @etag, last_modified = @last_modified, problem = '', failures = 0, fetched_at = @fetched_at, next_fetch_at = @next_fetch_at
WHERE id = @id AND user_id = @user_id AND url = @url;

-- name: SourceFailed :exec
UPDATE job_sources
SET state = CASE WHEN state = 'active' THEN @state ELSE state END, problem = @problem, failures = failures + 1, next_fetch_at = @next_fetch_at
WHERE id = @id AND user_id = @user_id AND url = @url;

-- Postings

-- name: LockPostings :exec
-- One writer of a user's postings at a time: what is new is decided before it is written.
SELECT pg_advisory_xact_lock(hashtextextended('postings ' || @user_id::text, 0));

-- name: KnownItems :many
SELECT external_id, posting_id, digest FROM posting_sources WHERE source_id = @source_id AND external_id = ANY(@external_ids::text[]);

-- name: ForgetItems :exec
DELETE FROM posting_sources WHERE source_id = @source_id;

-- name: SamePostings :many
SELECT p.id, p.fingerprint, p.link_hash FROM postings p WHERE p.user_id = @user_id AND p.fingerprint = ANY(@fingerprints::bytea[])
UNION ALL
SELECT q.id, q.fingerprint, q.link_hash FROM postings q WHERE q.user_id = @user_id AND q.link_hash = ANY(@link_hashes::bytea[]);

-- name: AddPostings :batchexec
INSERT INTO postings (id, user_id, fingerprint, link_hash, title, company, location, url, summary, published_at, found_at)
VALUES (@id, @user_id, @fingerprint, @link_hash, @title, @company, @location, @url, @summary, @published_at, @found_at);

-- name: ChangePostings :batchexec
UPDATE postings
SET fingerprint = @fingerprint, link_hash = @link_hash, title = @title, company = @company, location = @location, url = @url, summary = @summary
WHERE id = @id AND user_id = @user_id;

-- name: SaveItems :batchexec
INSERT INTO posting_sources (source_id, external_id, posting_id, digest, seen_at)
VALUES (@source_id, @external_id, @posting_id, @digest, @seen_at)
ON CONFLICT (source_id, external_id) DO UPDATE SET posting_id = excluded.posting_id, digest = excluded.digest, seen_at = excluded.seen_at;

-- name: Postings :many
SELECT id, title, company, location, url, summary, published_at, found_at, hidden_at FROM postings
WHERE user_id = @user_id AND (published_at, id) < (@before_at::timestamptz, @before_id::uuid) AND (hidden_at IS NOT NULL) = @hidden::boolean
ORDER BY published_at DESC, id DESC LIMIT @most;

-- name: PostingsFound :many
SELECT id, title, company, location, url, summary, published_at, found_at, hidden_at FROM postings
WHERE user_id = @user_id AND found_at >= @since AND (found_at, id) < (@before_at::timestamptz, @before_id::uuid)
  AND (hidden_at IS NOT NULL) = @hidden::boolean
ORDER BY found_at DESC, id DESC LIMIT @most;

-- name: SearchPostings :many
SELECT id, title, company, location, url, summary, published_at, found_at, hidden_at FROM postings
WHERE user_id = @user_id AND search @@ websearch_to_tsquery('english', @query) AND found_at >= @since
  AND (published_at, id) < (@before_at::timestamptz, @before_id::uuid) AND (hidden_at IS NOT NULL) = @hidden::boolean
ORDER BY published_at DESC, id DESC LIMIT @most;

-- name: Posting :one
SELECT id, title, company, location, url, summary, published_at, found_at, hidden_at FROM postings
WHERE id = @id AND user_id = @user_id;

-- name: HidePosting :one
UPDATE postings SET hidden_at = CASE WHEN @hidden::boolean THEN coalesce(hidden_at, @now) END
WHERE id = @id AND user_id = @user_id
RETURNING id, title, company, location, url, summary, published_at, found_at, hidden_at;

-- Applications

-- name: LockApplications :exec
-- One acceptance of a user's at a time: whether an application is there is decided before it is made.
SELECT pg_advisory_xact_lock(hashtextextended('applications ' || @user_id::text, 0));

-- name: CreateApplication :exec
INSERT INTO applications (id, user_id, posting_id, company, title, url, status, notes, created_at, updated_at)
VALUES (@id, @user_id, @posting_id, @company, @title, @url, @status, @notes, @created_at, @created_at);

-- name: Application :one
SELECT * FROM applications WHERE id = @id AND user_id = @user_id;

-- name: LockApplication :one
SELECT * FROM applications WHERE id = @id AND user_id = @user_id FOR UPDATE;

-- name: Applications :many
SELECT * FROM applications WHERE user_id = @user_id AND (updated_at, id) < (@before_at::timestamptz, @before_id::uuid)
ORDER BY updated_at DESC, id DESC LIMIT @most;

-- name: ApplicationsOfStatus :many
SELECT * FROM applications WHERE user_id = @user_id AND status = @status AND (updated_at, id) < (@before_at::timestamptz, @before_id::uuid)
ORDER BY updated_at DESC, id DESC LIMIT @most;

-- name: UpdateApplication :exec
UPDATE applications
SET company = @company, title = @title, url = @url, status = @status, notes = @notes, version = @version, updated_at = @updated_at
WHERE id = @id AND user_id = @user_id;

-- name: DeleteApplication :exec
DELETE FROM applications WHERE id = @id AND user_id = @user_id;

-- name: CreateEvent :exec
INSERT INTO application_events (id, application_id, user_id, at, kind, from_status, to_status, note, email_id)
VALUES (@id, @application_id, @user_id, @at, @kind, @from_status, @to_status, @note, @email_id);

-- name: Events :many
SELECT * FROM application_events
WHERE application_id = @application_id AND user_id = @user_id AND (at, id) < (@before_at::timestamptz, @before_id::uuid)
ORDER BY at DESC, id DESC LIMIT @most;

-- name: Changes :many
SELECT e.id, e.application_id, e.at, e.kind, e.from_status, e.to_status, a.company, a.title
FROM application_events e JOIN applications a ON a.id = e.application_id
WHERE e.user_id = @user_id AND e.at >= @since AND e.at < @until
ORDER BY e.at DESC, e.id DESC LIMIT @most;

-- name: EventsOfUser :many
SELECT * FROM application_events WHERE user_id = @user_id AND (at, id) < (@before_at::timestamptz, @before_id::uuid)
ORDER BY at DESC, id DESC LIMIT @most;

-- Suggestions

-- name: ApplicationsToMatch :many
SELECT id, company, title, url, status FROM applications WHERE user_id = @user_id ORDER BY updated_at DESC, id DESC LIMIT @most;

-- name: CreateSuggestion :execrows
INSERT INTO application_suggestions (id, user_id, application_id, email_id, company, title, to_status, reason, created_at)
VALUES (@id, @user_id, @application_id, @email_id, @company, @title, @to_status, @reason, @created_at)
ON CONFLICT (email_id) DO NOTHING;

-- name: Suggestions :many
SELECT * FROM application_suggestions
WHERE user_id = @user_id AND state = @state AND (created_at, id) < (@before_at::timestamptz, @before_id::uuid)
ORDER BY created_at DESC, id DESC LIMIT @most;

-- name: SuggestedApplications :many
SELECT company, title FROM application_suggestions
WHERE user_id = @user_id AND state = 'open' AND application_id IS NULL ORDER BY created_at DESC, id DESC LIMIT @most;

-- name: LockSuggestion :one
SELECT * FROM application_suggestions WHERE id = @id AND user_id = @user_id FOR UPDATE;

-- name: DecideSuggestion :exec
UPDATE application_suggestions SET state = @state, application_id = @application_id, decided_at = @decided_at
WHERE id = @id AND user_id = @user_id;

-- Of a user who is deleted, some at a time

-- name: EraseSuggestions :execrows
DELETE FROM application_suggestions WHERE id = ANY (ARRAY(SELECT s.id FROM application_suggestions s WHERE s.user_id = @user_id LIMIT 500));

-- name: EraseEvents :execrows
DELETE FROM application_events WHERE id = ANY (ARRAY(SELECT e.id FROM application_events e WHERE e.user_id = @user_id LIMIT 500));

-- name: EraseApplications :execrows
DELETE FROM applications WHERE id = ANY (ARRAY(SELECT a.id FROM applications a WHERE a.user_id = @user_id LIMIT 500));

-- name: ErasePostings :execrows
DELETE FROM postings WHERE id = ANY (ARRAY(SELECT p.id FROM postings p WHERE p.user_id = @user_id LIMIT 500));

-- name: EraseSources :execrows
DELETE FROM job_sources WHERE id = ANY (ARRAY(SELECT s.id FROM job_sources s WHERE s.user_id = @user_id LIMIT 10));
