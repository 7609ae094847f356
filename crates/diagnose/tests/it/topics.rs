//! One case per fault: from evidence to codes.

use reeve_diagnose::evidence::{
    Archiver, Checkpoints, ConfigError, ConnectionGroup, Database, DuplicateIndex, EvidenceSet, HeldLock, IndexHealth,
    LogTail, PreparedXact, Replica, Sequence, Slot, Standby, StatementStats, TableHealth, WalDirectory,
};
use reeve_diagnose::{Thresholds, diagnose};
use reeve_types::Severity;

use crate::Change;
use crate::sample::{healthy, lock_chain, session, set, table, wait};

const GB: i64 = 1024 * 1024 * 1024;

/// A server with about everything wrong.
pub(crate) fn sick() -> EvidenceSet {
    let mut evidence = lock_chain();
    set(&mut evidence, "fsync", "off");
    if let Some(counts) = &mut evidence.connections {
        (counts.total, counts.own, counts.lock_waiting, counts.idle_over_5_min) = (99, 2, 60, 5);
        counts.groups = vec![ConnectionGroup {
            user: Some("app".to_owned()),
            application: "api".to_owned(),
            state: Some("active".to_owned()),
            count: 60,
            ..Default::default()
        }];
    }
    evidence.config_errors = Some(vec![ConfigError {
        file: "postgresql.conf".to_owned(),
        line: Some(7),
        name: Some("work_mem".to_owned()),
        error: "invalid value".to_owned(),
    }]);
    evidence.prepared = Some(vec![PreparedXact {
        gid: "tx-1".to_owned(),
        owner: "app".to_owned(),
        database: "shop".to_owned(),
        age_secs: 7200.0,
        xid_age: 20_000_000,
    }]);
    evidence.tables = Some(vec![
        TableHealth {
            dead: 6_000_000,
            autovacuum_enabled: Some(false),
            changed_since_analyze: 4_000_000,
            ..table("orders")
        },
        TableHealth { live: 1000, planner_rows: 1000.0, heap_bytes: GB, ..table("bloated") },
    ]);
    evidence.databases = Some(vec![Database {
        name: "shop".to_owned(),
        size_bytes: Some(50 * GB),
        xid_age: 1_700_000_000,
        deadlocks: 900,
        temp_bytes: 900 * GB,
        temp_files: 9000,
        checksum_failures: Some(1),
        blocks_hit: 5_000_000,
        blocks_read: 9_000_000,
        collation_versions: Some(("2.31".to_owned(), "2.36".to_owned())),
        stats_reset_secs: Some(604_800.0),
        ..Database::default()
    }]);
    evidence.replicas = Some(vec![Replica {
        application: "standby1".to_owned(),
        replay_lag_bytes: Some(GB),
        replay_lag_secs: Some(700.0),
        ..Default::default()
    }]);
    evidence.slots = Some(vec![
        Slot {
            name: "gone".to_owned(),
            kind: "logical".to_owned(),
            retained_bytes: Some(20 * GB),
            xmin_age: Some(1_000),
            ..Default::default()
        },
        Slot {
            name: "dead".to_owned(),
            kind: "physical".to_owned(),
            wal_status: Some("lost".to_owned()),
            ..Default::default()
        },
        Slot {
            name: "slow".to_owned(),
            kind: "logical".to_owned(),
            active: true,
            retained_bytes: Some(30 * GB),
            ..Default::default()
        },
    ]);
    evidence.archiver = Some(Archiver {
        failed: 40,
        failed_secs: Some(3.0),
        failed_segment: Some("000000010000000000000042".to_owned()),
        ready: Some(200),
        ..Default::default()
    });
    evidence.wal = Some(WalDirectory { files: 2000, bytes: 32 * GB });
    evidence.checkpoints = Some(Checkpoints {
        timed: 10,
        requested: 9000,
        maxwritten_clean: 200_000,
        buffers_backend: Some(9_000_000),
        stats_reset_secs: Some(604_800.0),
        ..Default::default()
    });
    evidence.sequences = Some(vec![Sequence {
        schema: "public".to_owned(),
        name: "orders_id_seq".to_owned(),
        last: 2_000_000_000,
        max: 2_147_483_647,
        start: 1,
        increment: 1,
        column: Some("orders.id".to_owned()),
        limited_by_column: true,
        ..Default::default()
    }]);
    evidence.statements = Some(vec![StatementStats {
        query: "SELECT * FROM orders".to_owned(),
        calls: 1000,
        total_ms: 9e6,
        mean_ms: 9000.0,
        share: 0.8,
        temp_bytes: GB,
    }]);
    let line = vec!["2026-11-21 12:00:00 UTC [1] PANIC:  could not write: No space left on device".to_owned()];
    evidence.log = Some(LogTail {
        file: "log".to_owned(),
        bytes: 1000,
        panics: line.clone(),
        no_space: line,
        auth_failures: 50,
        ..Default::default()
    });
    if let Some(indexes) = &mut evidence.indexes {
        let index = IndexHealth {
            schema: "public".to_owned(),
            table: "orders".to_owned(),
            name: "orders_x".to_owned(),
            bytes: GB,
            ..Default::default()
        };
        indexes.invalid = vec![index.clone()];
        indexes.unused = vec![index];
        indexes.duplicate = vec![DuplicateIndex {
            schema: "public".to_owned(),
            table: "orders".to_owned(),
            keep: "a".to_owned(),
            drop: "b".to_owned(),
            bytes: GB,
        }];
    }
    evidence
}

/// Severity of the finding of a code, in evidence that begins healthy.
fn severity_of(code: &str, change: impl FnOnce(&mut EvidenceSet)) -> Option<Severity> {
    let mut evidence = healthy();
    change(&mut evidence);
    diagnose(&evidence, &Thresholds::default()).into_iter().find(|f| f.code == code).map(|f| f.severity)
}

#[test]
fn a_demo_of_two_sessions_blocked_for_two_seconds_is_found() {
    let severity = severity_of("lock_chain", |e| {
        e.sessions =
            Some(vec![session(1, "idle in transaction", 2.5), session(2, "active", 2.0), session(3, "active", 1.5)]);
        e.lock_waits = Some(vec![wait(2, 2.0, &[1]), wait(3, 1.5, &[2])]);
    });
    assert_eq!(severity, Some(Severity::Warning));
}

#[test]
fn a_chain_grows_worse_with_time_and_waiters() {
    let chain = |secs: f64, waiters: i32| {
        severity_of("lock_chain", |e| {
            e.sessions = Some(vec![session(1, "active", secs)]);
            e.lock_waits = Some((2..2 + waiters).map(|pid| wait(pid, secs, &[1])).collect());
        })
    };
    assert_eq!(chain(4.0, 1), None);
    assert_eq!(chain(6.0, 1), Some(Severity::Warning));
    assert_eq!(chain(61.0, 1), Some(Severity::Critical));
    assert_eq!(chain(6.0, 5), Some(Severity::Critical));
}

#[test]
fn heads_with_the_same_waiters_share_one_finding() {
    let mut evidence = healthy();
    evidence.sessions = Some(vec![session(1, "active", 60.0), session(2, "active", 70.0), session(3, "active", 30.0)]);
    evidence.lock_waits = Some(vec![wait(3, 30.0, &[1, 2])]);
    let findings = diagnose(&evidence, &Thresholds::default());
    let chains: Vec<_> = findings.iter().filter(|f| f.code == "lock_chain").collect();
    assert_eq!(chains.len(), 1);
    assert_eq!(chains[0].title, "pids 1 and 2 block 1 session on table orders for 30 s");
}

#[test]
fn wraparound_vacuum_at_the_head_is_not_to_be_killed() {
    let mut evidence = healthy();
    let mut vacuum = session(9, "active", 600.0);
    vacuum.backend_type = Some("autovacuum worker".to_owned());
    vacuum.query = "autovacuum: VACUUM public.orders (to prevent wraparound)".to_owned();
    evidence.sessions = Some(vec![vacuum, session(10, "active", 90.0)]);
    evidence.lock_waits = Some(vec![wait(10, 90.0, &[9])]);
    let findings = diagnose(&evidence, &Thresholds::default());
    let chain = findings.iter().find(|f| f.code == "lock_chain").expect("a chain");
    assert!(chain.remedies.is_empty(), "{:#?}", chain.remedies);
    assert!(chain.advice.iter().any(|line| line.starts_with("Do not kill it")), "{:#?}", chain.advice);
}

#[test]
fn each_fault_has_its_code() {
    let table: Vec<(&str, Severity, Change)> = vec![
        ("multixact_wraparound", Severity::Warning, |e| {
            e.databases.iter_mut().flatten().for_each(|d| d.mxid_age = 1_000_000_000);
        }),
        ("xid_wraparound", Severity::Critical, |e| {
            e.databases.iter_mut().flatten().for_each(|d| d.xid_age = 1_700_000_000);
        }),
        ("xmin_horizon_held", Severity::Warning, |e| {
            let mut old = session(5, "active", 100.0);
            old.xmin_age = Some(50_000_000);
            e.sessions = Some(vec![old]);
        }),
        ("long_transaction", Severity::Warning, |e| {
            let mut long = session(5, "active", 1.0);
            long.xact_secs = Some(7200.0);
            e.sessions = Some(vec![long]);
        }),
        ("io_waits", Severity::Warning, |e| {
            let waiting = |pid| {
                let mut slow = session(pid, "active", 3.0);
                slow.wait_event_type = Some("IO".to_owned());
                slow.wait_event = Some("DataFileRead".to_owned());
                slow
            };
            e.sessions = Some((1..=5).map(waiting).collect());
        }),
        ("exclusive_lock_held", Severity::Warning, |e| {
            e.sessions = Some(vec![session(5, "active", 20.0)]);
            e.exclusive_locks = Some(vec![HeldLock { pid: 5, relation: "public.orders".to_owned() }]);
        }),
        ("connection_limit", Severity::Critical, |e| {
            let limit = reeve_diagnose::evidence::ConnectionLimit {
                kind: "role".to_owned(),
                name: "app".to_owned(),
                limit: 10,
                used: 10,
            };
            if let Some(counts) = &mut e.connections {
                counts.limits = vec![limit];
            }
        }),
        ("low_cache_hit_ratio", Severity::Warning, |e| {
            e.databases.iter_mut().flatten().for_each(|d| d.blocks_hit = d.blocks_read);
        }),
        ("missing_index", Severity::Warning, |e| {
            e.tables = Some(vec![TableHealth { seq_scans: 1_000_000, seq_rows: 5_000_000_000_000, ..table("orders") }]);
        }),
        ("checkpoints_too_frequent", Severity::Warning, |e| {
            e.checkpoints = Some(Checkpoints {
                timed: 100,
                requested: 9000,
                stats_reset_secs: Some(604_800.0),
                ..Default::default()
            });
        }),
        ("bgwriter_limited", Severity::Info, |e| {
            e.checkpoints = Some(Checkpoints {
                timed: 2000,
                maxwritten_clean: 200_000,
                buffers_backend: Some(9_000_000),
                stats_reset_secs: Some(604_800.0),
                ..Default::default()
            });
        }),
        ("slot_lost", Severity::Critical, |e| {
            e.slots =
                Some(vec![Slot { name: "s".to_owned(), wal_status: Some("lost".to_owned()), ..Default::default() }]);
        }),
        ("replication_lag", Severity::Critical, |e| {
            e.replicas =
                Some(vec![Replica { application: "s".to_owned(), replay_lag_secs: Some(900.0), ..Default::default() }]);
        }),
        ("standby_disconnected", Severity::Warning, |e| {
            e.standby = Some(Standby { has_primary: true, receiver: None, ..Default::default() });
        }),
        ("disk_full", Severity::Critical, |e| {
            e.log =
                Some(LogTail { no_space: vec!["PANIC:  No space left on device".to_owned()], ..Default::default() });
        }),
        ("checksum_failures", Severity::Critical, |e| {
            e.databases.iter_mut().flatten().for_each(|d| d.checksum_failures = Some(2));
        }),
        ("collation_version_changed", Severity::Warning, |e| {
            e.databases
                .iter_mut()
                .flatten()
                .for_each(|d| d.collation_versions = Some(("1".to_owned(), "2".to_owned())));
        }),
        ("stale_statistics", Severity::Warning, |e| {
            e.tables = Some(vec![TableHealth {
                changed_since_analyze: 4_000_000,
                autovacuum_enabled: Some(false),
                ..table("orders")
            }]);
        }),
        ("vacuum_needed", Severity::Info, |e| {
            e.tables = Some(vec![TableHealth { dead: 9_000_000, vacuum_secs: Some(90_000.0), ..table("due") }]);
        }),
        ("vacuum_needed", Severity::Warning, |e| {
            let mut old = session(5, "idle in transaction", 4000.0);
            old.xmin_age = Some(5000);
            e.sessions = Some(vec![old]);
            e.tables = Some(vec![TableHealth { dead: 9_000_000, vacuum_secs: Some(90_000.0), ..table("held_up") }]);
        }),
        ("slow_statement", Severity::Info, |e| {
            e.statements = Some(vec![StatementStats { calls: 10, mean_ms: 5000.0, share: 0.9, ..Default::default() }]);
        }),
        ("failed_logins", Severity::Info, |e| {
            e.log = Some(LogTail { auth_failures: 40, ..Default::default() });
        }),
    ];
    for (code, severity, change) in table {
        assert_eq!(severity_of(code, change), Some(severity), "{code}");
    }
}

#[test]
fn roots_explain_what_they_cause() {
    let findings = diagnose(&sick(), &Thresholds::default());
    let cause = |code: &str| {
        findings.iter().find(|f| f.code == code).unwrap_or_else(|| panic!("no {code}")).explained_by.as_deref()
    };
    assert_eq!(cause("connection_exhaustion"), Some("lock_chain"));
    assert_eq!(cause("vacuum_needed"), Some("prepared_transaction"));
    assert_eq!(cause("xid_wraparound"), Some("prepared_transaction"));
    assert_eq!(cause("wal_retention"), Some("archiver_failing"));
    assert_eq!(cause("disk_full"), Some("archiver_failing"));
    assert_eq!(findings[0].code, "lock_chain", "what users feel now comes first");
}

#[test]
fn a_root_is_as_grave_as_what_it_causes() {
    let mut evidence = healthy();
    evidence.standby = Some(Standby {
        paused: true,
        replay_lag_bytes: Some(GB),
        replayed_xact_secs: Some(4000.0),
        receiver: Some("streaming".to_owned()),
        ..Default::default()
    });
    let findings = diagnose(&evidence, &Thresholds::default());
    let severity = |code: &str| findings.iter().find(|f| f.code == code).map(|f| f.severity);
    assert_eq!(severity("replication_lag"), Some(Severity::Critical));
    assert_eq!(severity("wal_replay_paused"), Some(Severity::Critical));
}

#[test]
fn a_table_with_an_odd_name_gets_a_statement_instead_of_a_tool() {
    let mut evidence = healthy();
    evidence.tables =
        Some(vec![TableHealth { dead: 9_000_000, autovacuum_enabled: Some(false), ..table("Order Items") }]);
    let findings = diagnose(&evidence, &Thresholds::default());
    let finding = findings.iter().find(|f| f.code == "vacuum_needed").expect("found");
    assert!(finding.remedies.is_empty());
    assert!(finding.advice.contains(&"VACUUM (ANALYZE) public.\"Order Items\";".to_owned()), "{:#?}", finding.advice);
}
