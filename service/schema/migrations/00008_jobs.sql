-- phase: expand
-- Jobs: feeds of postings, and what the user did about them.

-- +goose Up
CREATE TABLE job_sources (
    id            uuid        PRIMARY KEY,
    user_id       uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind          text        NOT NULL CHECK (kind IN ('feed', 'api')),
    url           text        NOT NULL CHECK (length(url) <= 2000),
    name          text        NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    mapping       jsonb       NOT NULL DEFAULT '{}',
    state         text        NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'failed')),
    problem       text        NOT NULL DEFAULT '',
    failures      integer     NOT NULL DEFAULT 0,
    etag          text        NOT NULL DEFAULT '',
    last_modified text        NOT NULL DEFAULT '',
    fetched_at    timestamptz,
    next_fetch_at timestamptz NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    UNIQUE (user_id, url)
);

COMMENT ON COLUMN job_sources.mapping IS 'of a JSON API: where in an answer the postings and their fields are';

CREATE INDEX job_sources_due_idx ON job_sources (next_fetch_at) WHERE state = 'active';

CREATE TABLE postings (
    id           uuid        PRIMARY KEY,
    user_id      uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    fingerprint  bytea       NOT NULL CHECK (length(fingerprint) = 32),
    link_hash    bytea       CHECK (length(link_hash) = 32),
    title        text        NOT NULL,
    company      text        NOT NULL DEFAULT '',
    location     text        NOT NULL DEFAULT '',
    url          text        NOT NULL DEFAULT '',
    summary      text        NOT NULL DEFAULT '',
    search       tsvector    NOT NULL GENERATED ALWAYS AS (
        to_tsvector('english', title || ' ' || company || ' ' || location || ' ' || summary)
    ) STORED,
    published_at timestamptz NOT NULL,
    found_at     timestamptz NOT NULL,
    hidden_at    timestamptz,
    UNIQUE (user_id, fingerprint)
);

COMMENT ON COLUMN postings.fingerprint IS 'SHA-256 of what makes two postings the same job';
COMMENT ON COLUMN postings.link_hash IS 'SHA-256 of link and title, which tell a job as well; NULL without a link';

CREATE INDEX postings_published_idx ON postings (user_id, published_at DESC, id DESC);
CREATE INDEX postings_found_idx ON postings (user_id, found_at DESC, id DESC);
CREATE INDEX postings_link_idx ON postings (user_id, link_hash);
CREATE INDEX postings_search_idx ON postings USING gin (search);

CREATE TABLE posting_sources (
    source_id   uuid        NOT NULL REFERENCES job_sources (id) ON DELETE CASCADE,
    external_id text        NOT NULL CHECK (length(external_id) <= 2000),
    posting_id  uuid        NOT NULL REFERENCES postings (id) ON DELETE CASCADE,
    digest      bytea       NOT NULL DEFAULT '',
    seen_at     timestamptz NOT NULL,
    PRIMARY KEY (source_id, external_id)
);

COMMENT ON COLUMN posting_sources.digest IS 'SHA-256 of what the source said last, so that what it says again changes nothing';

CREATE INDEX posting_sources_posting_id_idx ON posting_sources (posting_id);

CREATE TABLE applications (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    posting_id uuid        REFERENCES postings (id) ON DELETE SET NULL,
    company    text        NOT NULL CHECK (length(company) <= 200),
    title      text        NOT NULL DEFAULT '' CHECK (length(title) <= 300),
    url        text        NOT NULL DEFAULT '' CHECK (length(url) <= 2000),
    status     text        NOT NULL CHECK (status IN ('interested', 'applied', 'interview', 'offer', 'accepted', 'rejected', 'withdrawn')),
    notes      bytea       NOT NULL,
    version    integer     NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

COMMENT ON COLUMN applications.notes IS 'sealed';

CREATE INDEX applications_updated_idx ON applications (user_id, updated_at DESC, id DESC);
CREATE INDEX applications_status_idx ON applications (user_id, status, updated_at DESC, id DESC);
CREATE INDEX applications_posting_idx ON applications (posting_id);

CREATE TABLE application_events (
    id             uuid        PRIMARY KEY,
    application_id uuid        NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    user_id        uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at             timestamptz NOT NULL,
    kind           text        NOT NULL CHECK (kind IN ('created', 'status', 'changed', 'note')),
    from_status    text        NOT NULL DEFAULT '',
    to_status      text        NOT NULL DEFAULT '',
    note           bytea       NOT NULL,
    email_id       uuid        REFERENCES emails (id) ON DELETE SET NULL
);

COMMENT ON COLUMN application_events.note IS 'sealed';

CREATE INDEX application_events_application_idx ON application_events (application_id, at DESC, id DESC);
CREATE INDEX application_events_user_idx ON application_events (user_id, at DESC, id DESC);
CREATE INDEX application_events_email_idx ON application_events (email_id);

-- What a mail seems to say about an application. Nothing moves before the user says so.
CREATE TABLE application_suggestions (
    id             uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    application_id uuid        REFERENCES applications (id) ON DELETE CASCADE,
    email_id       uuid        NOT NULL REFERENCES emails (id) ON DELETE CASCADE,
    company        text        NOT NULL DEFAULT '',
    title          text        NOT NULL DEFAULT '',
    to_status      text        NOT NULL,
    reason         text        NOT NULL,
    state          text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'accepted', 'dismissed')),
    created_at     timestamptz NOT NULL,
    decided_at     timestamptz,
    UNIQUE (email_id)
);

COMMENT ON COLUMN application_suggestions.application_id IS 'NULL suggests a new application';

CREATE INDEX application_suggestions_user_idx ON application_suggestions (user_id, state, created_at DESC, id DESC);
CREATE INDEX application_suggestions_application_idx ON application_suggestions (application_id);

-- +goose Down
DROP TABLE application_suggestions;
DROP TABLE application_events;
DROP TABLE applications;
DROP TABLE posting_sources;
DROP TABLE postings;
DROP TABLE job_sources;
