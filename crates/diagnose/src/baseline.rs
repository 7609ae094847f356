//! What has changed since a saved look at the same server.

use std::collections::BTreeMap;

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::Draft;
use crate::evidence::{Database, TableHealth};
use crate::{EvidenceSet, Thresholds, words};

/// Findings about differences between a baseline and now. Codes begin with `changed_` or `grown_`.
pub fn compare(baseline: &EvidenceSet, now: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let since = since(baseline, now);
    let mut findings = Vec::new();
    findings.extend(server(baseline, now, &since));
    findings.extend(settings(baseline, now, &since));
    findings.extend(databases(baseline, now, thresholds, &since));
    findings.extend(tables(baseline, now, thresholds, &since));
    findings.extend(connections(baseline, now, thresholds, &since));
    findings
}

fn since(baseline: &EvidenceSet, now: &EvidenceSet) -> String {
    match (baseline.collected_at, now.collected_at) {
        (Some(then), Some(now)) => {
            format!("since the baseline {} ago", words::duration(now.duration_since(then).as_secs_f64()))
        }
        _ => "since the baseline".to_owned(),
    }
}

fn server(baseline: &EvidenceSet, now: &EvidenceSet, since: &str) -> Vec<Finding> {
    let (Some(old), Some(new)) = (&baseline.server, &now.server) else { return Vec::new() };
    let mut findings = Vec::new();
    if old.version_num != new.version_num {
        findings.push(
            Draft::new(
                "changed_version",
                Severity::Info,
                format!("PostgreSQL went from {} to {}", old.version, new.version),
            )
            .cause(format!("The server was updated {since}."))
            .fact(format!("server_version {} → {}", old.version, new.version), "baseline")
            .done(),
        );
    }
    if old.in_recovery != new.in_recovery {
        let (was, is) = if new.in_recovery { ("primary", "standby") } else { ("standby", "primary") };
        findings.push(
            Draft::new("changed_role", Severity::Warning, format!("the server was a {was} and is a {is} now"))
                .cause(format!(
                    "It was promoted, rebuilt or replaced {since}; clients may still point at the other one."
                ))
                .fact(format!("pg_is_in_recovery() {} → {}", old.in_recovery, new.in_recovery), "baseline")
                .done(),
        );
    }
    if let (Some(then), Some(at)) = (baseline.collected_at, now.collected_at) {
        let elapsed = at.duration_since(then).as_secs_f64();
        if elapsed > 0.0 && new.uptime_secs + 5.0 < elapsed {
            findings.push(
                Draft::new(
                    "changed_restarted",
                    Severity::Info,
                    format!("the server was restarted {} ago", words::duration(new.uptime_secs)),
                )
                .cause(format!("It has not run through {since}; counters and caches may have begun anew."))
                .fact(format!("uptime {}", words::duration(new.uptime_secs)), "pg_postmaster_start_time")
                .done(),
            );
        }
    }
    findings
}

fn settings(baseline: &EvidenceSet, now: &EvidenceSet, since: &str) -> Option<Finding> {
    let (old, new) = (baseline.settings.as_ref()?, now.settings.as_ref()?);
    let changed: Vec<(&str, &str, &str)> = new
        .0
        .iter()
        .filter_map(|(name, setting)| {
            let before = old.get(name)?;
            (before != setting.value).then_some((name.as_str(), before, setting.value.as_str()))
        })
        .collect();
    let names: Vec<&str> = changed.iter().map(|(name, ..)| *name).collect();
    if changed.is_empty() {
        return None;
    }
    let n = i64::try_from(changed.len()).unwrap_or(i64::MAX);
    let mut draft = Draft::new(
        "changed_settings",
        Severity::Info,
        format!("{} changed: {}", words::plural(n, "setting"), words::list(&names, 4)),
    )
    .cause(format!("Their values are not what they were {since}."));
    for (name, before, after) in changed.iter().take(10) {
        draft = draft.data(
            format!("{name}: {before} → {after}"),
            "pg_settings, baseline",
            json!({ "name": name, "before": before, "after": after }),
        );
    }
    Some(draft.done())
}

fn databases(baseline: &EvidenceSet, now: &EvidenceSet, thresholds: &Thresholds, since: &str) -> Vec<Finding> {
    let (Some(old), Some(new)) = (baseline.databases.as_deref(), now.databases.as_deref()) else { return Vec::new() };
    let before: BTreeMap<&str, &Database> = old.iter().map(|database| (database.name.as_str(), database)).collect();
    let mut findings = Vec::new();
    for database in new {
        let Some(was) = before.get(database.name.as_str()) else { continue };
        if let (Some(then), Some(size)) = (was.size_bytes, database.size_bytes)
            && grown(then, size, thresholds)
        {
            findings.push(
                Draft::new(
                    "grown_database",
                    Severity::Info,
                    format!("database {} grew from {} to {}", database.name, words::bytes(then), words::bytes(size)),
                )
                .cause(format!("It gained {} {since}.", words::bytes(size.saturating_sub(then))))
                .fact(format!("{} → {}", words::bytes(then), words::bytes(size)), "pg_database_size, baseline")
                .done(),
            );
        }
        // A counter that went back was reset, and then its value is all that came since.
        let deadlocks =
            if database.deadlocks >= was.deadlocks { database.deadlocks - was.deadlocks } else { database.deadlocks };
        if deadlocks > 0 {
            findings.push(
                Draft::new(
                    "grown_deadlocks",
                    Severity::Warning,
                    format!("{} in {} {since}", words::plural(deadlocks, "new deadlock"), database.name),
                )
                .cause("Transactions locked the same rows in different order; the server cancelled one of each circle.")
                .fact(format!("deadlocks {} → {}", was.deadlocks, database.deadlocks), "pg_stat_database, baseline")
                .done(),
            );
        }
    }
    findings
}

fn grown(then: i64, now: i64, thresholds: &Thresholds) -> bool {
    now.saturating_sub(then) >= thresholds.growth_bytes_min && now as f64 >= then as f64 * thresholds.growth_factor
}

fn tables(baseline: &EvidenceSet, now: &EvidenceSet, thresholds: &Thresholds, since: &str) -> Option<Finding> {
    let (old, new) = (baseline.tables.as_deref()?, now.tables.as_deref()?);
    let before: BTreeMap<String, &TableHealth> = old.iter().map(|table| (table.qualified(), table)).collect();
    let mut grew: Vec<(String, i64, i64)> = new
        .iter()
        .filter_map(|table| {
            let name = table.qualified();
            let then = before.get(&name)?.total_bytes;
            grown(then, table.total_bytes, thresholds).then_some((name, then, table.total_bytes))
        })
        .collect();
    grew.sort_by_key(|(_, then, now)| std::cmp::Reverse(now.saturating_sub(*then)));
    let (name, then, size) = grew.first()?;
    let mut draft = Draft::new(
        "grown_table",
        Severity::Info,
        format!("table {} grew from {} to {}", words::relation(name), words::bytes(*then), words::bytes(*size)),
    )
    .cause(format!("It gained more than the others {since}."));
    for (name, then, size) in grew.iter().take(5) {
        draft = draft.fact(
            format!("{}: {} → {}", words::relation(name), words::bytes(*then), words::bytes(*size)),
            "pg_total_relation_size, baseline",
        );
    }
    Some(draft.done())
}

fn connections(baseline: &EvidenceSet, now: &EvidenceSet, thresholds: &Thresholds, since: &str) -> Option<Finding> {
    let (old, new) = (baseline.connections.as_ref()?, now.connections.as_ref()?);
    let (then, used) = (old.total.saturating_sub(old.own), new.total.saturating_sub(new.own));
    // Twice as many matters only where it comes near the limit.
    let near = used as f64 >= 0.5 * thresholds.connections_warning * new.max.max(1) as f64;
    if used < then.saturating_mul(2) || !near {
        return None;
    }
    let finding = Draft::new("grown_connections", Severity::Info, format!("connections grew from {then} to {used}"))
        .cause(format!("There are at least twice as many as {since}; at {} none is left.", new.max))
        .fact(format!("{then} → {used} of {}", new.max), "pg_stat_activity, baseline");
    Some(finding.done())
}
