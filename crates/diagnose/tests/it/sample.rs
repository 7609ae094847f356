//! Evidence to start from.

use reeve_diagnose::evidence::{
    ConnectionCounts, Database, EvidenceSet, LockWait, Server, Session, Setting, Settings, TableHealth,
};

/// A server that has run for a week with nothing wrong, seen in every respect.
pub(crate) fn healthy() -> EvidenceSet {
    EvidenceSet {
        collected_at: Some("2026-11-21T12:00:00Z".parse().expect("a time")),
        server: Some(Server {
            version_num: 150_018,
            version: "15.18".to_owned(),
            uptime_secs: 604_800.0,
            database: "shop".to_owned(),
            user: "monitor".to_owned(),
            reads_all_stats: true,
            stats_reset_secs: Some(604_800.0),
            ..Server::default()
        }),
        settings: Some(settings()),
        config_errors: Some(Vec::new()),
        connections: Some(ConnectionCounts {
            max: 100,
            superuser_reserved: 3,
            total: 14,
            own: 4,
            active: 2,
            idle: 8,
            ..ConnectionCounts::default()
        }),
        sessions: Some(vec![session(100, "idle", 1.0)]),
        lock_waits: Some(Vec::new()),
        exclusive_locks: Some(Vec::new()),
        prepared: Some(Vec::new()),
        databases: Some(vec![Database {
            name: "shop".to_owned(),
            size_bytes: Some(5_000_000_000),
            allows_connections: true,
            xid_age: 80_000_000,
            mxid_age: 1000,
            commits: 50_000_000,
            blocks_read: 40_000_000,
            blocks_hit: 4_000_000_000,
            stats_reset_secs: Some(604_800.0),
            ..Database::default()
        }]),
        tables: Some(vec![table("orders")]),
        indexes: Some(Default::default()),
        sequences: Some(Vec::new()),
        replicas: Some(Vec::new()),
        slots: Some(Vec::new()),
        archiver: Some(Default::default()),
        wal: Some(Default::default()),
        checkpoints: Some(Default::default()),
        statements: Some(Vec::new()),
        log: Some(Default::default()),
        ..EvidenceSet::default()
    }
}

fn settings() -> Settings {
    let values = [
        ("archive_mode", "on"),
        ("archive_command", "/usr/bin/archive"),
        ("autovacuum", "on"),
        ("autovacuum_freeze_max_age", "200000000"),
        ("autovacuum_vacuum_scale_factor", "0.2"),
        ("autovacuum_vacuum_threshold", "50"),
        ("checkpoint_timeout", "300"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("idle_in_transaction_session_timeout", "0"),
        ("max_slot_wal_keep_size", "-1"),
        ("max_wal_size", "1024"),
        ("synchronous_commit", "on"),
        ("track_counts", "on"),
        ("wal_keep_size", "0"),
        ("work_mem", "4096"),
    ];
    Settings(values.into_iter().map(|(name, value)| (name.to_owned(), setting(value))).collect())
}

pub(crate) fn setting(value: &str) -> Setting {
    Setting { value: value.to_owned(), source: "configuration file".to_owned(), ..Setting::default() }
}

pub(crate) fn set(evidence: &mut EvidenceSet, name: &str, value: &str) {
    let settings = evidence.settings.get_or_insert_default();
    settings.0.insert(name.to_owned(), setting(value));
}

/// A session of the application, in its state for so long.
pub(crate) fn session(pid: i32, state: &str, secs: f64) -> Session {
    Session {
        pid,
        backend_type: Some("client backend".to_owned()),
        user: Some("app".to_owned()),
        database: Some("shop".to_owned()),
        application: "api".to_owned(),
        state: Some(state.to_owned()),
        backend_secs: Some(3600.0),
        xact_secs: (state != "idle").then_some(secs + 2.0),
        query_secs: Some(secs),
        state_secs: Some(secs),
        query: "UPDATE orders SET state = 'paid' WHERE id = 7".to_owned(),
        ..Session::default()
    }
}

/// A session that waits for a row of `orders`.
pub(crate) fn wait(pid: i32, secs: f64, blocked_by: &[i32]) -> LockWait {
    LockWait {
        pid,
        waiting_secs: secs,
        locktype: "transactionid".to_owned(),
        mode: "ShareLock".to_owned(),
        relation: Some("public.orders".to_owned()),
        database: Some("shop".to_owned()),
        blocked_by: blocked_by.to_vec(),
        blocked_by_gid: None,
    }
}

pub(crate) fn table(name: &str) -> TableHealth {
    TableHealth {
        schema: "public".to_owned(),
        name: name.to_owned(),
        heap_bytes: 800_000_000,
        total_bytes: 1_000_000_000,
        live: 5_000_000,
        dead: 100_000,
        planner_rows: 5_000_000.0,
        xid_age: 80_000_000,
        vacuum_secs: Some(3600.0),
        analyze_secs: Some(3600.0),
        row_bytes: Some(120.0),
        index_scans: 1_000_000,
        ..TableHealth::default()
    }
}

/// Head 4711 idle in transaction, 4712 behind it, 4713 behind that.
pub(crate) fn lock_chain() -> EvidenceSet {
    let mut evidence = healthy();
    let mut head = session(4711, "idle in transaction", 192.0);
    head.has_writes = true;
    let mut first = session(4712, "active", 190.0);
    first.wait_event_type = Some("Lock".to_owned());
    first.has_writes = true;
    let mut second = session(4713, "active", 5.0);
    second.wait_event_type = Some("Lock".to_owned());
    evidence.sessions = Some(vec![head, first, second]);
    evidence.lock_waits = Some(vec![wait(4712, 190.0, &[4711]), wait(4713, 5.0, &[4712])]);
    evidence
}
