//! What is looked at: one statement per check, each of which answers with one JSON value.
//!
//! The statements run with `search_path = pg_catalog`, so that nothing in a database can stand in for a catalog. They
//! take no lock that anybody could wait for, and ask for no file size of a relation that somebody has locked away.

use std::collections::BTreeMap;

use reeve_diagnose::EvidenceSet;
use reeve_diagnose::evidence::{ConfigError, Server, Silence};
use reeve_types::NotChecked;
use serde::Deserialize;

use super::APPLICATION_NAME;

/// What has been gathered so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) evidence: EvidenceSet,
    pub(super) checks_run: u32,
    /// Sizes of databases, which come by a check of their own because they can take long.
    pub(super) sizes: BTreeMap<String, i64>,
    /// Whether the configuration files make transactions read-only.
    pub(super) read_only_file: bool,
    /// How many connections worked on the checks, and which of them fell silent.
    pub(super) connections: usize,
    pub(super) silence: Silence,
}

impl Gathered {
    pub(super) fn not_checked(&mut self, check: &str, reason: impl Into<String>) {
        self.evidence.not_checked.push(NotChecked { check: check.to_owned(), reason: reason.into() });
    }
}

type Store = fn(&mut Gathered, &str) -> serde_json::Result<()>;

/// One check.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) sql: String,
    pub(super) store: Store,
}

macro_rules! check {
    ($name:literal, $file:literal, $field:ident $(, $mark:literal => $text:expr)*) => {
        Check {
            name: $name,
            sql: include_str!(concat!("sql/", $file, ".sql"))
                .replace("{application}", APPLICATION_NAME)
                $(.replace($mark, $text))*,
            store: |gathered, json| {
                gathered.evidence.$field = Some(serde_json::from_str(json)?);
                Ok(())
            },
        }
    };
}

/// What everything else depends on.
pub(super) fn first() -> [Check; 2] {
    [check!("server", "server", server), check!("connections", "connections", connections)]
}

/// All other checks that this server and this role allow, the most telling first. What they do not allow is noted.
pub(super) fn rest(server: &Server, gathered: &mut Gathered) -> Vec<Check> {
    let version = server.version_num;
    let mut checks = sessions(version);
    checks.extend(storage(version));
    checks.extend(replication(version, server));
    let grant = format!("GRANT pg_monitor TO {};", reeve_diagnose::words::identifier(&server.user));
    if server.reads_all_stats {
        checks.push(check!("wal_directory", "wal", wal));
    } else {
        gathered.not_checked(
            "sessions of other roles",
            format!(
                "role {} sees what its own sessions do, and of others only that they are there; {grant}",
                server.user
            ),
        );
        if version < 140_000 {
            gathered.not_checked(
                "lock waits of other roles",
                format!(
                    "since when another role's session waits for a lock is shown to role {} by 14 and newer only; {grant}",
                    server.user
                ),
            );
        }
        gathered.not_checked("wal_directory", format!("role {} may not list it; {grant}", server.user));
    }
    checks.extend(privileged(server, gathered));
    match &server.statements_schema {
        Some(schema) => checks.push(
            check!("statements", "statements", statements, "{schema}" => &reeve_diagnose::words::identifier(schema)),
        ),
        None => gathered.not_checked(
            "statements",
            "pg_stat_statements is not installed in this database; add it to shared_preload_libraries, restart, and CREATE \
             EXTENSION pg_stat_statements;",
        ),
    }
    gathered.not_checked("disk_space", "SQL does not tell how much of the disk is free; `df` on the host does");
    checks
}

fn sessions(version: i32) -> Vec<Check> {
    let waitstart = if version >= 140_000 { "w.waitstart" } else { "NULL::timestamptz" };
    vec![
        check!("lock_waits", "lock_waits", lock_waits, "{waitstart}" => waitstart),
        check!("sessions", "sessions", sessions),
        check!("exclusive_locks", "exclusive_locks", exclusive_locks),
        check!("prepared_transactions", "prepared", prepared),
        check!("settings", "settings", settings),
    ]
}

fn storage(version: i32) -> Vec<Check> {
    let collation = if version >= 150_000 {
        "CASE WHEN d.datcollversion <> pg_database_collation_actual_version(d.oid) \
         THEN json_build_array(d.datcollversion, pg_database_collation_actual_version(d.oid)) END"
    } else {
        "NULL::json"
    };
    vec![
        check!("tables", "tables", tables),
        check!("indexes", "indexes", indexes),
        check!("sequences", "sequences", sequences),
        check!("databases", "databases", databases, "{collation}" => collation),
        Check {
            name: "database_sizes",
            sql: include_str!("sql/database_sizes.sql").to_owned(),
            store: |gathered, json| {
                gathered.sizes = serde_json::from_str(json)?;
                Ok(())
            },
        },
    ]
}

fn replication(version: i32, server: &Server) -> Vec<Check> {
    let inactive = match version {
        170_000.. => "extract(epoch FROM clock_timestamp() - s.inactive_since)",
        _ => "NULL::float8",
    };
    let (ready, oldest) = match server.reads_all_stats {
        true => (
            "(SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')",
            "(SELECT extract(epoch FROM clock_timestamp() - min(modification)) FROM pg_ls_archive_statusdir() \
             WHERE name LIKE '%.ready')",
        ),
        false => ("NULL", "NULL"),
    };
    let mut checks = vec![
        check!("replication_slots", "slots", slots, "{inactive}" => inactive),
        check!("replicas", "replicas", replicas),
        check!("archiver", "archiver", archiver, "{ready}" => ready, "{oldest}" => oldest),
        match version {
            170_000.. => check!("checkpoints", "checkpoints_17", checkpoints),
            _ => check!("checkpoints", "checkpoints_16", checkpoints),
        },
    ];
    if server.in_recovery {
        checks.push(check!("standby", "standby", standby));
    }
    checks
}

/// Files of the server, which only superusers may read by default.
fn privileged(server: &Server, gathered: &mut Gathered) -> Vec<Check> {
    if !server.superuser {
        for check in ["configuration_files", "server_log"] {
            gathered
                .not_checked(check, format!("only a superuser may read the server's files; {} is none", server.user));
        }
        return Vec::new();
    }
    vec![
        Check {
            name: "configuration_files",
            sql: include_str!("sql/config_files.sql").to_owned(),
            store: |gathered, json| {
                let files: ConfigFiles = serde_json::from_str(json)?;
                gathered.evidence.config_errors = Some(files.errors);
                gathered.read_only_file = files.read_only;
                Ok(())
            },
        },
        Check {
            name: "server_log",
            sql: include_str!("sql/log.sql").to_owned(),
            store: |gathered, json| {
                gathered.evidence.log = Some(serde_json::from_str(json)?);
                Ok(())
            },
        },
    ]
}

#[derive(Deserialize)]
struct ConfigFiles {
    errors: Vec<ConfigError>,
    read_only: bool,
}
