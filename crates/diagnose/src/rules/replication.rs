//! Replication, from the side of the primary and of the standby.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::evidence::{Replica, Standby};
use crate::{EvidenceSet, Thresholds, words};

/// Standbys that are behind, as their primary sees them.
pub(super) fn lag(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    evidence.replicas.iter().flatten().filter_map(|replica| lagging(replica, thresholds)).collect()
}

fn lagging(replica: &Replica, thresholds: &Thresholds) -> Option<Finding> {
    if replica.state.as_deref() == Some("backup") {
        return None;
    }
    let behind_bytes = replica.behind_bytes();
    let behind_secs = replica.replay_lag_secs.unwrap_or(0.0);
    let severity = match () {
        () if behind_secs >= thresholds.replication_lag_critical_secs => Severity::Critical,
        () if behind_secs >= thresholds.replication_lag_secs || behind_bytes >= thresholds.replication_lag_bytes => {
            Severity::Warning
        }
        () => return None,
    };
    let name = if replica.application.is_empty() { "without a name".to_owned() } else { replica.application.clone() };
    let (cause, advice) = where_it_hangs(replica, behind_bytes);
    let time = match replica.replay_lag_secs {
        Some(secs) => format!(" and {}", words::duration(secs)),
        None => String::new(),
    };
    let finding = Draft::new(
        "replication_lag",
        severity,
        format!("standby {name} is {}{time} behind", words::bytes(behind_bytes)),
    )
    .cause(cause)
    .data(
        format!(
            "{} not sent, {} sent and not flushed there, {} flushed there and not replayed; state {}, {}",
            words::bytes(replica.send_lag_bytes.unwrap_or(0)),
            words::bytes(replica.flush_lag_bytes.unwrap_or(0)),
            words::bytes(replica.replay_lag_bytes.unwrap_or(0)),
            replica.state.as_deref().unwrap_or("hidden"),
            replica.sync_state.as_deref().unwrap_or("mode hidden")
        ),
        "pg_stat_replication",
        json!(replica),
    )
    .advice(advice);
    Some(finding.done())
}

fn where_it_hangs(replica: &Replica, behind: i64) -> (String, &'static str) {
    let most = |part: Option<i64>| part.is_some_and(|part| part.saturating_mul(2) > behind);
    if most(replica.send_lag_bytes) {
        return (
            "Most of it has not even been sent: the network is slower than the WAL, or the standby does not read."
                .to_owned(),
            "Look at the network between the two and at the load of the standby; wal_compression = on halves the volume.",
        );
    }
    if most(replica.flush_lag_bytes) {
        return (
            "It is sent but not flushed on the standby: its storage is too slow.".to_owned(),
            "Look at the storage of the standby (iostat).",
        );
    }
    (
        "It has arrived on the standby but is not replayed: replay is paused there, waits for a query that it conflicts \
         with (max_standby_streaming_delay), or the single replay process is too slow."
            .to_owned(),
        "Diagnose the standby itself: SELECT pg_is_wal_replay_paused(); there tells whether it is paused, and resume_wal_replay goes on.",
    )
}

/// How a standby does, seen on itself.
pub(super) fn standby(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(standby) = &evidence.standby else { return Vec::new() };
    let behind = standby.replay_lag_bytes.unwrap_or(0);
    let mut findings = Vec::new();
    if standby.paused {
        findings.push(paused(standby, behind));
    }
    // The age of the last replayed transaction means lag only while something waits to be replayed.
    let secs = standby.replayed_xact_secs.filter(|_| behind > 0).unwrap_or(0.0) - standby.apply_delay_secs;
    let late = secs >= thresholds.replication_lag_secs || (standby.paused && behind > 0);
    if late || behind >= thresholds.replication_lag_bytes {
        findings.push(behind_on_standby(standby, behind, secs, thresholds));
    }
    findings.extend(cut_off(standby, thresholds));
    findings
}

fn paused(standby: &Standby, behind: i64) -> Finding {
    Draft::new("wal_replay_paused", Severity::Warning, "WAL replay is paused on this standby")
        .cause(
            "Somebody ran pg_wal_replay_pause(), or recovery reached its target with recovery_target_action = pause. The \
             standby still receives WAL and answers queries, but from the past, and a failover would wait for the replay.",
        )
        .data(
            format!(
                "pg_is_wal_replay_paused() is true; {} received and not replayed; last replayed transaction {} ago",
                words::bytes(behind),
                standby.replayed_xact_secs.map_or_else(|| "unknown".to_owned(), words::duration)
            ),
            "pg_is_wal_replay_paused",
            json!(standby),
        )
        .remedy(draft::resume_replay("replay goes on and catches up; pause it again with pg_wal_replay_pause()"))
        .done()
}

fn behind_on_standby(standby: &Standby, behind: i64, secs: f64, thresholds: &Thresholds) -> Finding {
    let severity =
        if secs >= thresholds.replication_lag_critical_secs { Severity::Critical } else { Severity::Warning };
    let cause = match standby.paused {
        true => "Replay is paused, so all that arrives waits.",
        false => {
            "WAL arrives faster than the single replay process applies it, or replay waits for a query on this standby that \
             it conflicts with (max_standby_streaming_delay)."
        }
    };
    let title = match secs >= 1.0 {
        true => {
            format!(
                "this standby is {} and {} behind what it has received",
                words::bytes(behind),
                words::duration(secs)
            )
        }
        false => format!("this standby is {} behind what it has received", words::bytes(behind)),
    };
    Draft::new("replication_lag", severity, title)
        .cause(cause)
        .data(
            format!(
                "{} received and not replayed; the last replayed transaction was committed {} ago",
                words::bytes(behind),
                standby.replayed_xact_secs.map_or_else(|| "unknown".to_owned(), words::duration)
            ),
            "pg_last_wal_replay_lsn, pg_last_xact_replay_timestamp",
            json!(standby),
        )
        .done()
}

fn cut_off(standby: &Standby, thresholds: &Thresholds) -> Option<Finding> {
    if !standby.has_primary {
        return None;
    }
    let (title, fact) = match (&standby.receiver, standby.receiver_silent_secs) {
        (None, _) => ("this standby is not connected to its primary".to_owned(), "there is no WAL receiver".to_owned()),
        (Some(state), Some(secs)) if secs >= thresholds.receiver_silent_secs => (
            format!("this standby has heard nothing from its primary for {}", words::duration(secs)),
            format!("WAL receiver is {state}, last message {} ago", words::duration(secs)),
        ),
        _ => return None,
    };
    let finding = Draft::new("standby_disconnected", Severity::Warning, title)
        .cause(
            "primary_conninfo is set, but nothing streams: the primary is down or unreachable, rejects the connection \
             (password, pg_hba.conf, slot), or no longer has the WAL that is asked for. The standby falls behind until then.",
        )
        .data(fact, "pg_stat_wal_receiver", json!(standby))
        .advice("The log of the standby names the error of each attempt; \"requested WAL segment … has already been removed\" means it must be built anew.");
    Some(finding.done())
}
