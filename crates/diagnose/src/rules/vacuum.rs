//! Dead rows, bloat, what holds vacuum back, and stale statistics.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::evidence::TableHealth;
use crate::{EvidenceSet, Thresholds, words};

/// Why autovacuum will not take care of a table by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Neglect {
    /// Switched off for the table.
    OffForTable,
    /// Switched off for the server.
    OffForServer,
    /// On and overdue, and something is known to be in its way.
    Late,
    /// On and due. The rows may have died a moment ago, so this is for knowing only.
    Due,
}

/// Tables with many dead rows that autovacuum will not clean by itself.
pub(super) fn needed(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let mut tables: Vec<(&TableHealth, Neglect)> = evidence
        .tables
        .iter()
        .flatten()
        .filter(|table| table.dead >= thresholds.dead_rows_min && !table.being_vacuumed)
        .filter(|table| dead_share(table) >= thresholds.dead_share)
        .filter_map(|table| Some((table, neglect(evidence, thresholds, table)?)))
        .collect();
    tables.sort_by_key(|(table, _)| std::cmp::Reverse(table.dead));
    let Some((worst, why)) = tables.first().copied() else { return Vec::new() };
    let share = dead_share(worst);
    let name = words::relation(&worst.qualified()).to_owned();
    let due_only = tables.iter().all(|(_, why)| *why == Neglect::Due);
    let severity = if due_only { Severity::Info } else { Severity::Warning };
    let title = match tables.len() {
        1 => format!("table {name} has {} dead rows, {} of all", words::count(worst.dead), words::percent(share)),
        n => format!(
            "{n} tables need a vacuum, {name} has {} dead rows ({})",
            words::count(worst.dead),
            words::percent(share)
        ),
    };
    let urgency =
        if share >= thresholds.dead_share_urgent { " More rows are dead than alive: it is bloating." } else { "" };
    let mut draft = Draft::new("vacuum_needed", severity, title).cause(format!(
        "{} Scans read the dead rows too, and the table keeps growing instead of reusing their space.{urgency}",
        neglect_in_words(why, &name)
    ));
    for (table, why) in tables.iter().take(5) {
        let fact = format!(
            "{}: {} dead of {} rows ({}), {}, last vacuum {}",
            words::relation(&table.qualified()),
            words::count(table.dead),
            words::count(table.dead.saturating_add(table.rows())),
            words::percent(dead_share(table)),
            words::bytes(table.total_bytes),
            ago(table.vacuum_secs)
        );
        draft = draft.data(fact, "pg_stat_user_tables", json!(table));
        draft = match draft::run_vacuum(
            &table.schema,
            &table.name,
            "makes the space of dead rows reusable; runs beside readers and writers",
        ) {
            Ok(remedy) => draft.remedy(remedy),
            Err(statement) => draft.advice(statement),
        };
        if *why == Neglect::OffForTable {
            draft = draft.advice(format!(
                "ALTER TABLE {}.{} RESET (autovacuum_enabled);",
                words::identifier(&table.schema),
                words::identifier(&table.name)
            ));
        }
    }
    vec![draft.done()]
}

fn neglect_in_words(why: Neglect, table: &str) -> String {
    match why {
        Neglect::OffForTable => format!(
            "Autovacuum is switched off for {table} (autovacuum_enabled = off), so nothing removes its dead rows."
        ),
        Neglect::OffForServer => {
            "Autovacuum is switched off for the whole server, so nothing removes dead rows.".to_owned()
        }
        Neglect::Late => format!(
            "Autovacuum should have cleaned {table} by now, but all its workers are busy, or an old snapshot keeps it from \
             removing the rows."
        ),
        Neglect::Due => format!("Autovacuum is due for {table}; it should come within autovacuum_naptime."),
    }
}

fn neglect(evidence: &EvidenceSet, thresholds: &Thresholds, table: &TableHealth) -> Option<Neglect> {
    // A standby vacuums nothing; its primary does.
    if evidence.in_recovery() {
        return None;
    }
    if table.autovacuum_enabled == Some(false) {
        return Some(Neglect::OffForTable);
    }
    if evidence.setting_on("autovacuum") == Some(false) || evidence.setting_on("track_counts") == Some(false) {
        return Some(Neglect::OffForServer);
    }
    let base =
        table.vacuum_threshold.or_else(|| evidence.setting_number("autovacuum_vacuum_threshold")).unwrap_or(50.0);
    let scale =
        table.vacuum_scale_factor.or_else(|| evidence.setting_number("autovacuum_vacuum_scale_factor")).unwrap_or(0.2);
    // Three times the trigger: between once and twice is the normal saw-tooth of a busy table.
    let overdue = table.dead as f64 > 3.0 * (base + scale * table.rows() as f64);
    let quiet = table.vacuum_secs.unwrap_or_else(|| {
        evidence.server.as_ref().map_or(0.0, |server| server.counting_secs().min(server.uptime_secs))
    });
    if !overdue || quiet < thresholds.autovacuum_late_secs {
        return None;
    }
    Some(if is_held_up(evidence, thresholds) { Neglect::Late } else { Neglect::Due })
}

/// Whether autovacuum has no worker left, or an old snapshot makes its work vain.
fn is_held_up(evidence: &EvidenceSet, thresholds: &Thresholds) -> bool {
    let sessions = || evidence.sessions.iter().flatten();
    let workers = sessions().filter(|session| session.is_autovacuum()).count();
    let most = evidence.setting_number("autovacuum_max_workers").unwrap_or(3.0);
    let old_snapshot = sessions().any(|session| {
        session.xmin_age.is_some() && session.xact_secs.is_some_and(|secs| secs >= thresholds.idle_in_transaction_secs)
    });
    let old_prepared = evidence.prepared.iter().flatten().any(|prepared| prepared.age_secs >= thresholds.prepared_secs);
    let slot = evidence.slots.iter().flatten().any(|slot| !slot.active && slot.xmin_age.is_some_and(|age| age > 0));
    workers as f64 >= most.max(1.0) || old_snapshot || old_prepared || slot
}

fn dead_share(table: &TableHealth) -> f64 {
    let all = table.dead.saturating_add(table.rows()).max(1);
    table.dead.max(0) as f64 / all as f64
}

fn ago(secs: Option<f64>) -> String {
    secs.map_or_else(|| "never".to_owned(), |secs| format!("{} ago", words::duration(secs)))
}

/// Tables much larger than their rows need, as far as statistics tell.
pub(super) fn bloat(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let mut tables: Vec<(&TableHealth, i64, f64)> = evidence
        .tables
        .iter()
        .flatten()
        .filter_map(|table| {
            let (wasted, share) = estimated_waste(table)?;
            (wasted >= thresholds.bloat_bytes_min && share >= thresholds.bloat_share).then_some((table, wasted, share))
        })
        .collect();
    tables.sort_by_key(|(_, wasted, _)| std::cmp::Reverse(*wasted));
    let Some((worst, wasted, share)) = tables.first().copied() else { return Vec::new() };
    let name = words::relation(&worst.qualified()).to_owned();
    let title = match tables.len() {
        1 => format!(
            "about {} of table {name} ({}) are empty or dead space",
            words::bytes(wasted),
            words::percent(share)
        ),
        n => format!("{n} tables are bloated, {name} by about {}", words::bytes(wasted)),
    };
    let mut draft = Draft::new("table_bloat", Severity::Warning, title).cause(format!(
        "{name} takes {} for rows that need about {}. It grew while dead rows were not vacuumed in time; vacuum makes the \
         space reusable but gives it back to the system only from the end of the file. This is an estimate from the \
         planner's statistics, not a measurement.",
        words::bytes(worst.heap_bytes),
        words::bytes(worst.heap_bytes.saturating_sub(wasted))
    ));
    for (table, wasted, share) in tables.iter().take(5) {
        draft = draft.data(
            format!(
                "{}: {} on disk, about {} ({}) of it unused",
                words::relation(&table.qualified()),
                words::bytes(table.heap_bytes),
                words::bytes(*wasted),
                words::percent(*share)
            ),
            "pg_stats, pg_class",
            json!(table),
        );
        draft = match draft::run_vacuum(
            &table.schema,
            &table.name,
            "makes the space reusable, so that the table stops growing",
        ) {
            Ok(remedy) => draft.remedy(remedy),
            Err(statement) => draft.advice(statement),
        };
    }
    let draft = draft.advice(format!(
        "To give the space back: VACUUM FULL {}.{}; rewrites the table under ACCESS EXCLUSIVE, so only in a maintenance \
         window; pg_repack does it online. SELECT * FROM pgstattuple_approx('…'); measures first.",
        words::identifier(&worst.schema),
        words::identifier(&worst.name)
    ));
    vec![draft.done()]
}

/// Bytes of the heap that rows do not account for, and their share.
fn estimated_waste(table: &TableHealth) -> Option<(i64, f64)> {
    const TUPLE_OVERHEAD: f64 = 28.0; // item pointer and header, before alignment
    const PAGE_USABLE: f64 = 8168.0 / 8192.0;
    let row = table.row_bytes? + TUPLE_OVERHEAD;
    if table.heap_bytes <= 0 || !row.is_finite() {
        return None;
    }
    // Alignment to 8 bytes costs 4 on average for each row.
    let fill = (table.fillfactor.unwrap_or(100.0) / 100.0).clamp(0.1, 1.0);
    let needed = (row + 4.0) * table.rows() as f64 / PAGE_USABLE / fill;
    let wasted = table.heap_bytes as f64 - needed;
    (wasted > 0.0).then_some((wasted as i64, wasted / table.heap_bytes as f64))
}

/// Who keeps the oldest snapshot, when it is so old that dead rows pile up.
pub(super) fn horizon(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let sessions = evidence
        .sessions
        .iter()
        .flatten()
        .filter(|s| s.is_client())
        .filter_map(|s| Some((s.xmin_age?, Holder::Session(s.pid))));
    let prepared = evidence.prepared.iter().flatten().map(|p| (p.xid_age, Holder::Prepared(p.gid.as_str())));
    let slots =
        evidence.slots.iter().flatten().filter_map(|s| Some((s.xmin_age.max(s.catalog_xmin_age)?, Holder::Slot(s))));
    let Some((age, holder)) = sessions.chain(prepared).chain(slots).max_by_key(|(age, _)| *age) else {
        return Vec::new();
    };
    if age < thresholds.xmin_age {
        return Vec::new();
    }
    let (name, remedy, advice) = match holder {
        Holder::Session(pid) => (
            super::who(evidence, pid),
            Some(draft::terminate_connection(pid, "releases its snapshot; vacuum can then remove what died since")),
            None,
        ),
        Holder::Prepared(gid) => (
            format!("prepared transaction {}", words::literal(gid)),
            None,
            Some(format!("ROLLBACK PREPARED {};", words::literal(gid))),
        ),
        Holder::Slot(slot) => (
            format!("replication slot {}", slot.name),
            (!slot.active)
                .then(|| draft::drop_slot(&slot.name, "releases the horizon; its consumer must be set up anew")),
            slot.active.then(|| {
                "Its standby or subscriber holds it with hot_standby_feedback or a slow consumer: look there."
                    .to_owned()
            }),
        ),
    };
    let finding = Draft::new(
        "xmin_horizon_held",
        Severity::Warning,
        format!("{name} keeps vacuum from removing rows that died in the last {} transactions", words::count(age)),
    )
    .cause(format!(
        "{name} holds the oldest snapshot in the cluster. Vacuum must keep every row version that it might still look at, so \
         dead rows pile up in all tables and indexes however often vacuum runs."
    ))
    .data(format!("age of the horizon: {} transactions", words::count(age)), "pg_stat_activity, pg_prepared_xacts, pg_replication_slots", json!({ "xmin_age": age }))
    .remedies(remedy)
    .advices(advice);
    vec![finding.done()]
}

enum Holder<'a> {
    Session(i32),
    Prepared(&'a str),
    Slot(&'a crate::evidence::Slot),
}

/// Tables whose planner statistics are far from what they hold.
pub(super) fn stale_statistics(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let mut stale: Vec<&TableHealth> = evidence
        .tables
        .iter()
        .flatten()
        .filter(|table| table.changed_since_analyze >= thresholds.stale_rows_min)
        .filter(|table| table.changed_since_analyze as f64 >= thresholds.stale_share * table.rows().max(1) as f64)
        .filter(|table| neglect_of_analyze(evidence, thresholds, table))
        .collect();
    stale.sort_by_key(|table| std::cmp::Reverse(table.changed_since_analyze));
    let Some(worst) = stale.first() else { return Vec::new() };
    let name = words::relation(&worst.qualified()).to_owned();
    let title = match stale.len() {
        1 => format!(
            "planner statistics of {name} are stale: {} rows changed since the last ANALYZE",
            words::count(worst.changed_since_analyze)
        ),
        n => format!(
            "planner statistics of {n} tables are stale, of {name} by {} rows",
            words::count(worst.changed_since_analyze)
        ),
    };
    // Where autoanalyze is on it may be on its way: the rows may have changed a moment ago.
    let severity = if stale.iter().any(|table| is_off(evidence, table)) { Severity::Warning } else { Severity::Info };
    let mut draft = Draft::new("stale_statistics", severity, title)
        .cause("The planner decides by what it saw at the last ANALYZE. After that many changes it may choose plans that were right for another table.");
    for table in stale.iter().take(5) {
        draft = draft.data(
            format!(
                "{}: {} rows changed, {} rows live, last analyze {}",
                words::relation(&table.qualified()),
                words::count(table.changed_since_analyze),
                words::count(table.rows()),
                ago(table.analyze_secs)
            ),
            "pg_stat_user_tables",
            json!(table),
        );
        draft = match draft::run_vacuum(&table.schema, &table.name, "vacuums and analyzes it") {
            Ok(remedy) => draft.remedy(remedy),
            Err(statement) => draft.advice(statement),
        };
    }
    vec![draft.done()]
}

fn neglect_of_analyze(evidence: &EvidenceSet, thresholds: &Thresholds, table: &TableHealth) -> bool {
    if evidence.in_recovery() || table.being_vacuumed {
        return false;
    }
    let quiet = table.analyze_secs.unwrap_or_else(|| {
        evidence.server.as_ref().map_or(0.0, |server| server.counting_secs().min(server.uptime_secs))
    });
    is_off(evidence, table) || quiet >= thresholds.autovacuum_late_secs * 6.0
}

fn is_off(evidence: &EvidenceSet, table: &TableHealth) -> bool {
    table.autovacuum_enabled == Some(false)
        || evidence.setting_on("autovacuum") == Some(false)
        || evidence.setting_on("track_counts") == Some(false)
}
