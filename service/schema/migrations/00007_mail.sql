-- phase: expand
-- Mail: where it comes from, and what came. What says "sealed" is encrypted by the service (service/encryption).

-- +goose Up
CREATE TABLE connections (
    id             uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind           text        NOT NULL CHECK (kind IN ('gmail', 'imap')),
    name           text        NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    account        text        NOT NULL DEFAULT '',
    settings       jsonb       NOT NULL DEFAULT '{}',
    secret         bytea,
    state          text        NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'reconnect', 'paused', 'leaving')),
    problem        text        NOT NULL DEFAULT '',
    failures       integer     NOT NULL DEFAULT 0,
    skipped        integer     NOT NULL DEFAULT 0,
    cursor         jsonb       NOT NULL DEFAULT '{}',
    lease          uuid,
    again          boolean     NOT NULL DEFAULT false,
    last_synced_at timestamptz,
    next_sync_at   timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);

COMMENT ON COLUMN connections.account IS 'whose mailbox: an address at Gmail, user@host:port of IMAP';
COMMENT ON COLUMN connections.secret IS 'sealed: OAuth tokens, or the password of IMAP';
COMMENT ON COLUMN connections.state IS 'reconnect: the credentials are refused; leaving: the user removed it, and what hangs on it is being removed';
COMMENT ON COLUMN connections.skipped IS 'messages that were too large to keep, or that the server did not hand out';
COMMENT ON COLUMN connections.lease IS 'the sync that runs; it has until next_sync_at and makes that later while it works';
COMMENT ON COLUMN connections.again IS 'a sync was asked for while one ran';
COMMENT ON COLUMN connections.cursor IS 'how far a sync got: Gmail''s history id, or UIDVALIDITY and UID of each mailbox of IMAP';

CREATE UNIQUE INDEX connections_account_idx ON connections (user_id, kind, account) WHERE state <> 'leaving';
CREATE INDEX connections_user_id_idx ON connections (user_id);
CREATE INDEX connections_due_idx ON connections (next_sync_at) WHERE state = 'active';

CREATE TABLE emails (
    id              uuid        PRIMARY KEY,
    user_id         uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    fingerprint     bytea       NOT NULL CHECK (length(fingerprint) = 32),
    connection_id   uuid        REFERENCES connections (id) ON DELETE SET NULL,
    message_id      text        NOT NULL DEFAULT '',
    from_name       text        NOT NULL DEFAULT '',
    from_address    text        NOT NULL DEFAULT '',
    recipients      text        NOT NULL DEFAULT '',
    subject         text        NOT NULL DEFAULT '',
    received_at     timestamptz NOT NULL,
    size            bigint      NOT NULL,
    attachments     integer     NOT NULL DEFAULT 0,
    category        text        NOT NULL CHECK (category IN ('application', 'interview', 'offer', 'rejection', 'newsletter', 'other')),
    score           real        NOT NULL CHECK (score BETWEEN 0 AND 1),
    reason          text        NOT NULL,
    classifier      integer     NOT NULL,
    snippet         bytea       NOT NULL,
    body            bytea       NOT NULL,
    search          tsvector    NOT NULL,
    created_at      timestamptz NOT NULL,
    UNIQUE (user_id, fingerprint)
);

COMMENT ON COLUMN emails.fingerprint IS 'HMAC under the user''s key of what makes two copies the same message';
COMMENT ON COLUMN emails.snippet IS 'sealed';
COMMENT ON COLUMN emails.body IS 'sealed: the text and what else the classifier looks at, as JSON';
COMMENT ON COLUMN emails.search IS 'HMACs under the user''s key of the words of sender, subject and text, with their positions';
COMMENT ON COLUMN emails.classifier IS 'version of the classifier that said category, score and reason; 0 for the user';

CREATE INDEX emails_received_idx ON emails (user_id, received_at DESC, id DESC);
CREATE INDEX emails_category_idx ON emails (user_id, category, received_at DESC, id DESC);
CREATE INDEX emails_search_idx ON emails USING gin (search);
CREATE INDEX emails_connection_idx ON emails (connection_id);
CREATE INDEX emails_classifier_idx ON emails (classifier, id);

-- Names of messages where they came from, so that one is not fetched twice.
CREATE TABLE email_origins (
    connection_id uuid NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    external_id   text NOT NULL CHECK (length(external_id) <= 500),
    email_id      uuid REFERENCES emails (id) ON DELETE SET NULL,
    PRIMARY KEY (connection_id, external_id)
);

CREATE INDEX email_origins_email_id_idx ON email_origins (email_id);

CREATE TABLE attachments (
    id           uuid    PRIMARY KEY,
    email_id     uuid    NOT NULL REFERENCES emails (id) ON DELETE CASCADE,
    user_id      uuid    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    position     integer NOT NULL,
    name         bytea   NOT NULL,
    content_type text    NOT NULL,
    size         bigint  NOT NULL,
    content      bytea   NOT NULL,
    UNIQUE (email_id, position)
);

COMMENT ON COLUMN attachments.name IS 'sealed';
COMMENT ON COLUMN attachments.content IS 'sealed';

CREATE INDEX attachments_user_id_idx ON attachments (user_id);

-- A vector stands for an e-mail's or a posting's text: cosine similarity is similarity of meaning, as far as the model knows.
CREATE TABLE embeddings (
    item_id    uuid        NOT NULL,
    model      text        NOT NULL,
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind       text        NOT NULL CHECK (kind IN ('email', 'posting')),
    vector     real[]      NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (item_id, model)
);

CREATE INDEX embeddings_user_idx ON embeddings (user_id, kind, model);

-- +goose Down
DROP TABLE embeddings;
DROP TABLE attachments;
DROP TABLE email_origins;
DROP TABLE emails;
DROP TABLE connections;
