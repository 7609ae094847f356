//! The archiver, the WAL directory, and what the log says of disk, crashes and damage.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::Draft;
use crate::{EvidenceSet, Thresholds, words};

/// Archiving that fails: WAL piles up, and point-in-time recovery ends at the last success.
pub(super) fn archiver(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(archiver) = &evidence.archiver else { return Vec::new() };
    let mode = evidence.setting("archive_mode").unwrap_or("off");
    let failing = match (archiver.failed_secs, archiver.archived_secs) {
        (Some(failed), Some(archived)) => failed < archived,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if mode == "off" || !failing {
        return Vec::new();
    }
    let ready = archiver.ready.unwrap_or(0);
    let severity = if ready >= thresholds.archive_ready_critical { Severity::Critical } else { Severity::Warning };
    let segment = archiver.failed_segment.as_deref().unwrap_or("unknown");
    let command = match evidence.setting("archive_library").filter(|library| !library.is_empty()) {
        Some(library) => format!("archive_library {library}"),
        None => format!("archive_command {}", evidence.setting("archive_command").unwrap_or_default()),
    };
    let waiting = archiver.ready.map(|n| format!("; {} waiting", words::plural(n, "segment"))).unwrap_or_default();
    let finding = Draft::new(
        "archiver_failing",
        severity,
        format!("WAL archiving fails: {} failed attempts{waiting}", words::count(archiver.failed)),
    )
    .cause(format!(
        "{command} fails for segment {segment} and is tried again and again; later segments wait behind it. Unarchived WAL \
         is never removed, so pg_wal grows until the disk is full, and backups cannot be restored past the last success ({}).",
        archiver.archived_secs.map_or_else(|| "there was none".to_owned(), |secs| format!("{} ago", words::duration(secs)))
    ))
    .data(
        format!(
            "last failure {} ago on {segment}, {} archived, {} failed{waiting}",
            archiver.failed_secs.map_or_else(|| "unknown".to_owned(), words::duration),
            words::count(archiver.archived),
            words::count(archiver.failed)
        ),
        "pg_stat_archiver, pg_ls_archive_statusdir",
        json!(archiver),
    )
    .advice("Run the command by hand as the server's user for that segment: its message, and the server's log, say what is wrong (rights, full target, changed path).")
    .advice("Never delete files from pg_wal. Once archiving works again the backlog goes by itself.");
    vec![finding.done()]
}

/// A WAL directory far larger than the settings explain.
pub(super) fn directory(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    const MB: f64 = 1024.0 * 1024.0;
    let Some(wal) = &evidence.wal else { return Vec::new() };
    let (Some(max), keep) =
        (evidence.setting_number("max_wal_size"), evidence.setting_number("wal_keep_size").unwrap_or(0.0))
    else {
        return Vec::new();
    };
    let expected = (max + keep) * MB;
    if wal.bytes < thresholds.wal_bytes_min || (wal.bytes as f64) < expected * thresholds.wal_over_max {
        return Vec::new();
    }
    let finding = Draft::new(
        "wal_retention",
        Severity::Warning,
        format!("pg_wal holds {}, while max_wal_size is {}", words::bytes(wal.bytes), words::bytes((max * MB) as i64)),
    )
    .cause(
        "Something keeps WAL from being removed or recycled. In order of likelihood: archiving that fails, a replication slot \
         that nobody reads, or a burst of writes faster than checkpoints.",
    )
    .data(format!("{} in {}", words::bytes(wal.bytes), words::plural(wal.files, "segment")), "pg_ls_waldir", json!(wal))
    .fact(
        format!("max_wal_size = {} MB, wal_keep_size = {keep} MB", max),
        "pg_settings",
    )
    .advice("Never delete files from pg_wal by hand: the server would not start again.");
    vec![finding.done()]
}

/// What the end of the server's log says about disk, crashes, damage and log-ins.
pub(super) fn log(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(log) = &evidence.log else { return Vec::new() };
    let mut findings = Vec::new();
    let stories = [
        (
            &log.no_space,
            "disk_full",
            Severity::Critical,
            "the server has run out of disk space",
            "Writes failed with \"No space left on device\". If it is the disk of pg_wal, the server stops with PANIC.",
            "Free space elsewhere on the file system first (old logs, temporary files, dumps); never delete files from pg_wal.",
        ),
        (
            &log.corruption,
            "data_corruption",
            Severity::Critical,
            "the server reports damaged data",
            "Pages or files do not hold what they should: failing storage, a crash with fsync off, or a bug.",
            "Take a file-level copy before anything else; find the damaged relation with pg_amcheck; restore it from a backup.",
        ),
        (
            &log.panics,
            "server_panic",
            Severity::Critical,
            "the server has stopped with PANIC",
            "A PANIC ends all sessions and forces crash recovery. The message names the reason.",
            "Read the lines before it; out of space in pg_wal and failed fsync are the usual ones.",
        ),
        (
            &log.crashes,
            "process_crash",
            Severity::Warning,
            "a server process was killed or crashed",
            "When one server process dies by a signal, the postmaster ends all others and recovers. Signal 9 is mostly the kernel's out-of-memory killer.",
            "Look at dmesg for out-of-memory kills; lower work_mem × connections, and set vm.overcommit_memory = 2.",
        ),
    ];
    for (lines, code, severity, title, cause, advice) in stories {
        if let Some(last) = lines.last() {
            let finding = Draft::new(code, severity, title)
                .cause(cause)
                .data(last.clone(), "server log", json!({ "file": log.file, "lines": lines }))
                .advice(advice);
            findings.push(finding.done());
        }
    }
    if log.auth_failures >= thresholds.auth_failures_min {
        let finding = Draft::new(
            "failed_logins",
            Severity::Info,
            format!("{} log-ins failed recently", words::count(log.auth_failures)),
        )
        .cause(
            "Somebody keeps trying with a wrong password, user or address: a client with an old password, or a scan.",
        )
        .fact(format!("in the last {} of {}", words::bytes(log.bytes), log.file), "server log");
        findings.push(finding.done());
    }
    findings
}
