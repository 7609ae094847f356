-- The audit log: a database of its own, append-only. Whoever opens it with SQL is refused an update or a deletion too.
CREATE TABLE IF NOT EXISTS events (
    seq          INTEGER PRIMARY KEY,
    event_id     TEXT NOT NULL UNIQUE,
    at_us        INTEGER NOT NULL,
    event_type   TEXT NOT NULL,
    tenant       TEXT NOT NULL,
    trace_id     TEXT NOT NULL,
    action_id    TEXT,
    action_class TEXT,
    principal    TEXT,
    agent        TEXT,
    tool_name    TEXT,
    origin       TEXT,
    purpose      TEXT,
    effect       TEXT,
    outcome      TEXT,
    session_id   TEXT,
    canonical    TEXT NOT NULL,
    prev_hash    BLOB NOT NULL,
    event_hash   BLOB NOT NULL,
    leaf_hash    BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_trace ON events (trace_id, seq);
CREATE INDEX IF NOT EXISTS events_by_type ON events (event_type, seq);

-- Complete tiles of the Merkle tree (C2SP tlog-tiles, 256 hashes each) and the root over each.
CREATE TABLE IF NOT EXISTS tiles (
    level  INTEGER NOT NULL,
    idx    INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    root   BLOB NOT NULL,
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;

-- Signed heads of the tree (C2SP tlog-checkpoint).
CREATE TABLE IF NOT EXISTS checkpoints (
    size  INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    note  TEXT NOT NULL
) STRICT;

-- What witnesses elsewhere have said of a checkpoint (C2SP tlog-cosignature).
CREATE TABLE IF NOT EXISTS cosignatures (
    size    INTEGER NOT NULL,
    witness TEXT NOT NULL,
    at_us   INTEGER NOT NULL,
    note    TEXT NOT NULL,
    PRIMARY KEY (size, witness)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER IF NOT EXISTS events_no_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_no_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS tiles_no_update BEFORE UPDATE ON tiles
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS tiles_no_delete BEFORE DELETE ON tiles
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS checkpoints_no_update BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS checkpoints_no_delete BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
