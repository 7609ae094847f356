//! How many connections are left, and who has the others.

use reeve_types::{Finding, Remedy, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::evidence::{ConnectionCounts, ConnectionGroup};
use crate::{EvidenceSet, Thresholds, words};

/// Connections near or at the limit of what is open to everybody.
pub(super) fn exhaustion(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(counts) = &evidence.connections else { return Vec::new() };
    // Slots that an ordinary role can get; what this look itself uses is gone in a moment and does not count.
    let open = counts.max.saturating_sub(counts.superuser_reserved).saturating_sub(counts.reserved).max(1);
    let used = counts.total.saturating_sub(counts.own).max(0);
    let (of_max, of_open) = (used as f64 / counts.max.max(1) as f64, used as f64 / open as f64);
    let severity = match (of_open >= thresholds.connections_critical, of_max >= thresholds.connections_warning) {
        (true, _) => Severity::Critical,
        (false, true) => Severity::Warning,
        (false, false) => return Vec::new(),
    };
    let left = open.saturating_sub(used).max(0);
    let title = match left {
        0 => format!("no connection slot is left: {used} of {} are in use", counts.max),
        left => format!("{used} of {} connections are in use, {left} left for ordinary roles", counts.max),
    };
    let finding = Draft::new("connection_exhaustion", severity, title)
        .cause(cause(counts, used))
        .data(
            format!(
                "{} active, {} idle ({} of them for 5 min or longer), {} idle in transaction, {} waiting for locks",
                counts.active, counts.idle, counts.idle_over_5_min, counts.idle_in_transaction, counts.lock_waiting
            ),
            "pg_stat_activity",
            json!({ "used": used, "max_connections": counts.max, "open_to_everybody": open, "active": counts.active,
                    "idle": counts.idle, "idle_in_transaction": counts.idle_in_transaction }),
        )
        .fact(
            format!(
                "max_connections = {}, of which {} are reserved for superusers",
                counts.max, counts.superuser_reserved
            ),
            "pg_settings",
        )
        .data(format!("most are held by {}", groups(&counts.groups)), "pg_stat_activity", json!(counts.groups))
        .remedies(remedies(evidence, counts))
        .advice("Limit the pools of the applications or put a pooler (transaction mode) in front; raising max_connections needs a restart and more memory.");
    vec![finding.done()]
}

fn cause(counts: &ConnectionCounts, used: i64) -> String {
    let share = |n: i64| n as f64 / used.max(1) as f64;
    let parts = [
        (counts.lock_waiting, "wait for locks, so the pools open ever more connections behind the same lock"),
        (
            counts.idle_in_transaction,
            "are idle in transaction: their clients hold a connection and a transaction and do nothing",
        ),
        (counts.idle, "are idle: clients or pools keep connections that they do not use"),
        (
            counts.active - counts.lock_waiting,
            "run statements at the same time, more than any server has processors for",
        ),
    ];
    let most = parts.iter().max_by_key(|(n, _)| *n);
    match most {
        Some((n, why)) if share(*n) >= 0.4 => {
            format!("{n} of the {used} sessions {why}. When the last slot is gone, newcomers get \"too many clients\".")
        }
        _ => format!(
            "{used} sessions of different kinds fill the slots. When the last one is gone, newcomers get \"too many clients\"."
        ),
    }
}

fn groups(groups: &[ConnectionGroup]) -> String {
    let told: Vec<String> = groups
        .iter()
        .map(|group| {
            let application = match group.application.is_empty() {
                true => String::new(),
                false => format!(", application {}", group.application),
            };
            format!(
                "user {}{application} ({} {})",
                group.user.as_deref().unwrap_or("unknown"),
                group.count,
                group.state.as_deref().unwrap_or("connections")
            )
        })
        .collect();
    words::list(&told, 3)
}

fn remedies(evidence: &EvidenceSet, counts: &ConnectionCounts) -> Vec<Remedy> {
    let mut remedies = Vec::new();
    if counts.idle_over_5_min > 0 {
        remedies.push(draft::terminate_idle(
            5,
            None,
            format!(
                "frees {}; no transaction is lost, and good pools simply reconnect",
                words::plural(counts.idle_over_5_min, "slot")
            ),
        ));
    } else if counts.idle > 0 {
        remedies.push(draft::terminate_idle(
            0,
            None,
            format!(
                "frees up to {}; none has been idle for 5 minutes yet, so busy pools will reconnect at once",
                words::plural(counts.idle, "slot")
            ),
        ));
    }
    // The oldest ones idle in transaction, one by one: each may have work to lose.
    let stuck =
        evidence.sessions.iter().flatten().filter(|session| session.is_client() && session.is_idle_in_transaction());
    for session in stuck.filter(|session| session.state_secs.is_some_and(|secs| secs >= 5.0)).take(3) {
        let loss =
            if session.has_writes { "its uncommitted changes are rolled back" } else { "it has written nothing" };
        remedies.push(draft::terminate_connection(
            session.pid,
            format!("idle in transaction for {}; {loss}", words::duration(session.state_secs.unwrap_or_default())),
        ));
    }
    remedies
}

/// Roles and databases near a connection limit of their own.
pub(super) fn own_limits(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(counts) = &evidence.connections else { return Vec::new() };
    let near = counts
        .limits
        .iter()
        .filter(|limit| limit.limit > 0 && limit.used as f64 / limit.limit as f64 >= thresholds.connections_critical);
    near.map(|limit| {
        let severity = if limit.used >= limit.limit { Severity::Critical } else { Severity::Warning };
        let (kind, name) = (&limit.kind, &limit.name);
        let database = (kind == "database").then_some(name.as_str());
        Draft::new(
            "connection_limit",
            severity,
            format!("{kind} {name} has {} of its {} connections in use", limit.used, limit.limit),
        )
        .cause(format!(
            "The {kind} has a connection limit of its own, below max_connections. At the limit newcomers get \"too many \
             connections for {kind}\" although the server has free slots."
        ))
        .data(format!("CONNECTION LIMIT {} on {kind} {name}", limit.limit), "pg_roles, pg_database", json!(limit))
        .remedies(database.map(|name| draft::terminate_idle(5, Some(name), "frees the slots of sessions idle for 5 minutes or longer")))
        .advice(format!(
            "ALTER {} {} CONNECTION LIMIT {};",
            kind.to_uppercase(),
            words::identifier(name),
            limit.limit.saturating_mul(2)
        ))
        .done()
    })
    .collect()
}
