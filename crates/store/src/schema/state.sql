-- What follows from the audit log (approvals, actions), and what is not part of it (keys, users, deliveries, results).
CREATE TABLE IF NOT EXISTS meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS approvals (
    approval_id  TEXT PRIMARY KEY,
    action_id    TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    status       TEXT NOT NULL,
    requested_us INTEGER NOT NULL,
    expires_us   INTEGER NOT NULL,
    trace_id     TEXT NOT NULL,
    tool         TEXT NOT NULL,
    agent        TEXT NOT NULL,
    requester    TEXT NOT NULL,
    body         TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS approvals_by_status ON approvals (tenant, status, requested_us);

CREATE TABLE IF NOT EXISTS actions (
    action_id    TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    trace_id     TEXT NOT NULL,
    state        TEXT NOT NULL,
    act_digest   TEXT NOT NULL,
    approval_id  TEXT,
    created_us   INTEGER NOT NULL,
    updated_us   INTEGER NOT NULL,
    collected_us INTEGER,
    body         TEXT NOT NULL,
    result       TEXT,
    error        TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS actions_by_act ON actions (act_digest);
CREATE INDEX IF NOT EXISTS actions_by_state ON actions (state);
CREATE INDEX IF NOT EXISTS actions_by_tenant ON actions (tenant, created_us);

CREATE TABLE IF NOT EXISTS keys (
    key_id     TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    principal  TEXT NOT NULL,
    roles      TEXT NOT NULL,
    note       TEXT NOT NULL,
    hash       TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    revoked_us INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tenants (
    tenant     TEXT PRIMARY KEY,
    made_by    TEXT NOT NULL,
    created_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS idempotency (
    tenant     TEXT NOT NULL,
    principal  TEXT NOT NULL,
    idem_key   TEXT NOT NULL,
    digest     TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    status     INTEGER,
    body       TEXT,
    PRIMARY KEY (tenant, principal, idem_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idempotency_by_time ON idempotency (created_us);

CREATE TABLE IF NOT EXISTS deliveries (
    delivery_id INTEGER PRIMARY KEY,
    tenant      TEXT NOT NULL,
    subject     TEXT NOT NULL,
    channel     TEXT NOT NULL,
    payload     TEXT NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    created_us  INTEGER NOT NULL,
    next_us     INTEGER NOT NULL,
    done_us     INTEGER,
    failed_us   INTEGER,
    last_error  TEXT,
    UNIQUE (subject, channel)
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (done_us, failed_us, next_us);

CREATE TABLE IF NOT EXISTS tool_results (
    result_id   TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL,
    server_name TEXT NOT NULL,
    tool_name   TEXT NOT NULL,
    tool_args   TEXT NOT NULL,
    output      TEXT NOT NULL,
    trace_id    TEXT NOT NULL,
    recorded_by TEXT NOT NULL,
    recorded_us INTEGER NOT NULL,
    success     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tool_results_by_tool ON tool_results (tenant, tool_name, recorded_us);

CREATE TABLE IF NOT EXISTS uploads (
    upload_id   TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL,
    filename    TEXT NOT NULL,
    content     BLOB NOT NULL,
    uploaded_us INTEGER NOT NULL,
    expires_us  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS uploads_by_expiry ON uploads (expires_us);

CREATE TABLE IF NOT EXISTS policy_sets (
    digest  TEXT PRIMARY KEY,
    at_us   INTEGER NOT NULL,
    sources TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS accounts (
    account_id  TEXT PRIMARY KEY,
    number      INTEGER NOT NULL UNIQUE,
    tenant      TEXT NOT NULL,
    email       TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    principal   TEXT NOT NULL,
    roles       TEXT NOT NULL,
    hash        TEXT,
    disabled_us INTEGER,
    created_us  INTEGER NOT NULL,
    UNIQUE (tenant, principal)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS logins (
    login_id   TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    method     TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    seen_us    INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    ended_us   INTEGER,
    address    TEXT NOT NULL,
    agent      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS logins_by_subject ON logins (tenant, subject, created_us);
CREATE INDEX IF NOT EXISTS logins_by_expiry ON logins (expires_us);
CREATE INDEX IF NOT EXISTS logins_by_end ON logins (ended_us);

CREATE TABLE IF NOT EXISTS refresh_tokens (
    hash       TEXT PRIMARY KEY,
    login_id   TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    rotated_us INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refresh_tokens_by_login ON refresh_tokens (login_id);
CREATE INDEX IF NOT EXISTS refresh_tokens_by_expiry ON refresh_tokens (expires_us);

CREATE TABLE IF NOT EXISTS sign_in_links (
    hash       TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    used_us    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sign_in_links_by_expiry ON sign_in_links (expires_us);

CREATE TABLE IF NOT EXISTS workspaces (
    workspace_id TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    owner        TEXT NOT NULL,
    state        TEXT NOT NULL,
    disk_bytes   INTEGER NOT NULL,
    made         INTEGER NOT NULL,
    created_us   INTEGER NOT NULL,
    body         TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS workspaces_by_owner ON workspaces (tenant, owner, workspace_id);

CREATE TABLE IF NOT EXISTS workspace_snapshots (
    snapshot_id  TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    made         INTEGER NOT NULL,
    body         TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS snapshots_by_workspace ON workspace_snapshots (workspace_id);

CREATE TABLE IF NOT EXISTS sessions (
    session_id TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    owner      TEXT NOT NULL,
    state      TEXT NOT NULL,
    agent      TEXT NOT NULL,
    workspace  TEXT,
    parent     TEXT,
    title      TEXT NOT NULL,
    archived   INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_by_owner ON sessions (tenant, owner, session_id);
CREATE INDEX IF NOT EXISTS sessions_by_state ON sessions (state);
CREATE INDEX IF NOT EXISTS sessions_by_parent ON sessions (parent) WHERE parent IS NOT NULL;

CREATE TABLE IF NOT EXISTS session_events (
    session_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    body       TEXT NOT NULL,
    PRIMARY KEY (session_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS session_blobs (
    session_id TEXT NOT NULL,
    digest     TEXT NOT NULL,
    content    TEXT NOT NULL,
    PRIMARY KEY (session_id, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS session_shares (
    hash       TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS session_shares_by_session ON session_shares (session_id);
