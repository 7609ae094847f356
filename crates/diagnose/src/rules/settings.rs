//! Settings that put data or the server at risk.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::{EvidenceSet, Thresholds, words};

struct Unsafe {
    name: &'static str,
    bad: &'static str,
    severity: Severity,
    harm: &'static str,
    restart: bool,
}

const UNSAFE: &[Unsafe] = &[
    Unsafe {
        name: "fsync",
        bad: "off",
        severity: Severity::Critical,
        restart: false,
        harm: "Nothing is forced to disk: a crash of the machine or loss of power can destroy the whole cluster beyond repair.",
    },
    Unsafe {
        name: "full_page_writes",
        bad: "off",
        severity: Severity::Critical,
        restart: false,
        harm: "Pages that were half written at a crash cannot be repaired from WAL, which damages data silently.",
    },
    Unsafe {
        name: "autovacuum",
        bad: "off",
        severity: Severity::Warning,
        restart: false,
        harm: "Dead rows are never removed, planner statistics go stale, and transaction ids run toward wraparound.",
    },
    Unsafe {
        name: "track_counts",
        bad: "off",
        severity: Severity::Warning,
        restart: false,
        harm: "Without counters autovacuum does not know what to clean, so it cleans nothing.",
    },
    Unsafe {
        name: "zero_damaged_pages",
        bad: "on",
        severity: Severity::Critical,
        restart: false,
        harm: "Damaged pages are emptied in memory instead of reported: rows vanish without an error.",
    },
    Unsafe {
        name: "ignore_checksum_failure",
        bad: "on",
        severity: Severity::Critical,
        restart: false,
        harm: "Pages known to be damaged are used all the same, and damage spreads into backups.",
    },
    Unsafe {
        name: "ignore_system_indexes",
        bad: "on",
        severity: Severity::Warning,
        restart: true,
        harm: "System catalogs are read without their indexes, which is for rescue only and very slow.",
    },
    Unsafe {
        name: "synchronous_commit",
        bad: "off",
        severity: Severity::Info,
        restart: false,
        harm: "Commits are confirmed before they are durable: a crash loses the last ones (up to three times wal_writer_delay), without damage.",
    },
];

/// One finding for each setting that is unsafe as it stands.
pub(super) fn unsafe_settings(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let Some(settings) = &evidence.settings else { return Vec::new() };
    let found = UNSAFE.iter().filter_map(|entry| {
        let setting = settings.0.get(entry.name).filter(|setting| setting.value == entry.bad)?;
        let good = if entry.bad == "off" { "on" } else { "off" };
        let when = if entry.restart { "a restart" } else { "SELECT pg_reload_conf();" };
        let draft = Draft::new("unsafe_setting", entry.severity, format!("{} is {}", entry.name, entry.bad))
            .cause(format!("{} It is set in: {}.", entry.harm, setting.source))
            .data(format!("{} = {} ({})", entry.name, setting.value, setting.source), "pg_settings", json!(setting));
        // A reset reverts ALTER SYSTEM only; a line in postgresql.conf has to be changed there.
        let draft = match setting.boot_value.as_deref() == Some(good) {
            true => draft.remedy(draft::reset_setting(
                entry.name,
                "takes it out of postgresql.auto.conf, so that the default is back unless postgresql.conf itself sets it",
            )),
            false => draft,
        };
        Some(draft.advice(format!("ALTER SYSTEM SET {} = {good}; then {when}", entry.name)).done())
    });
    found.collect()
}

/// Values that wait for a restart.
pub(super) fn pending_restart(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let pending: Vec<&str> = evidence
        .settings
        .iter()
        .flat_map(|settings| &settings.0)
        .filter(|(_, setting)| setting.pending_restart)
        .map(|(name, _)| name.as_str())
        .collect();
    if pending.is_empty() {
        return Vec::new();
    }
    let n = i64::try_from(pending.len()).unwrap_or(i64::MAX);
    let finding = Draft::new(
        "pending_restart",
        Severity::Info,
        format!("{} waiting for a restart: {}", if n == 1 { "1 setting is".to_owned() } else { format!("{n} settings are") }, words::list(&pending, 5)),
    )
    .cause("They were changed in the configuration and can only take effect when the server starts, which may surprise whoever restarts it next.")
    .data(format!("pending_restart: {}", words::list(&pending, 20)), "pg_settings", json!(pending));
    vec![finding.done()]
}

/// Lines in the configuration files that the server cannot take.
pub(super) fn config_errors(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let Some(first) = evidence.config_errors.as_deref().and_then(<[_]>::first) else { return Vec::new() };
    let errors = evidence.config_errors.as_deref().unwrap_or_default();
    let place = |file: &str, line: Option<i64>| match line {
        Some(line) => format!("{file}, line {line}"),
        None => file.to_owned(),
    };
    let mut draft = Draft::new(
        "config_file_error",
        Severity::Warning,
        format!("the configuration has {}: {}", words::plural(i64::try_from(errors.len()).unwrap_or(i64::MAX), "error"), place(&first.file, first.line)),
    )
    .cause("The server runs with what it read before. A reload ignores the new file, and the next restart fails or starts with other settings than intended.");
    for error in errors.iter().take(5) {
        let name = error.name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        draft = draft.data(
            format!("{}{name}: {}", place(&error.file, error.line), error.error),
            "pg_file_settings, pg_hba_file_rules",
            json!(error),
        );
    }
    vec![draft.advice("Correct the line, then SELECT pg_reload_conf(); and look again.").done()]
}
