//! Transaction ids and multixacts that run out.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::evidence::Database;
use crate::{EvidenceSet, Thresholds, words};

/// Half of the 32-bit circle: no transaction may be older.
const LIMIT: f64 = 2_147_483_648.0;

/// Databases on their way to wraparound.
pub(super) fn ages(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(databases) = evidence.databases.as_deref() else { return Vec::new() };
    let xid = worst(databases, |database| database.xid_age);
    let mxid = worst(databases, |database| database.mxid_age);
    let kinds = [
        ("xid_wraparound", xid, "transaction ids", "autovacuum_freeze_max_age"),
        ("multixact_wraparound", mxid, "multixact ids", "autovacuum_multixact_freeze_max_age"),
    ];
    kinds
        .into_iter()
        .filter_map(|(code, worst, what, setting)| {
            let (database, age) = worst?;
            let used = age as f64 / LIMIT;
            // Whoever lets autovacuum begin later than our line wants it so.
            let begins = evidence.setting_number(setting).unwrap_or(200_000_000.0) / LIMIT;
            let severity = match used {
                used if used >= thresholds.xid_critical => Severity::Critical,
                used if used >= thresholds.xid_warning.max(begins * 1.1) => Severity::Warning,
                _ => return None,
            };
            Some(finding(evidence, Story { code, what, setting, database, age, used }, severity))
        })
        .collect()
}

fn worst(databases: &[Database], age: fn(&Database) -> i64) -> Option<(&Database, i64)> {
    databases.iter().map(|database| (database, age(database))).max_by_key(|(_, age)| *age)
}

struct Story<'a> {
    code: &'a str,
    what: &'a str,
    setting: &'a str,
    database: &'a Database,
    age: i64,
    used: f64,
}

fn finding(evidence: &EvidenceSet, story: Story<'_>, severity: Severity) -> Finding {
    let Story { code, what, setting, database, age, used } = story;
    let left = (LIMIT as i64).saturating_sub(age).max(0);
    let mut draft = Draft::new(
        code,
        severity,
        format!("database {} has used {} of its {what}; {} are left", database.name, words::percent(used), words::count(left)),
    )
    .cause(format!(
        "The oldest unfrozen row of database {} is {} {what} old. Autovacuum starts to freeze at {setting} = {}, and has \
         not kept up. At the limit PostgreSQL refuses all writes until a vacuum has finished.",
        database.name,
        words::count(age),
        evidence.setting(setting).unwrap_or("200000000")
    ))
    .data(format!("age of {} is {}", database.name, words::count(age)), "pg_database", json!(database));
    let is_here = evidence.server.as_ref().is_some_and(|server| server.database == database.name);
    let mut tables: Vec<_> = evidence.tables.iter().flatten().filter(|_| is_here && code == "xid_wraparound").collect();
    tables.sort_by_key(|table| std::cmp::Reverse(table.xid_age));
    for table in tables.into_iter().take(3) {
        draft = draft.data(
            format!(
                "{} is {} transactions old, {}",
                words::relation(&table.qualified()),
                words::count(table.xid_age),
                words::bytes(table.total_bytes)
            ),
            "pg_class",
            json!(table),
        );
        draft = match draft::run_vacuum(&table.schema, &table.name, "freezes its old rows") {
            Ok(remedy) => draft.remedy(remedy),
            Err(statement) => draft.advice(statement),
        };
    }
    if !is_here {
        draft = draft.advice(format!(
            "Connect to database {} and vacuum its oldest tables there.",
            words::identifier(&database.name)
        ));
    }
    draft
        .advice("First end what holds the horizon (long transactions, prepared transactions, stale slots): vacuum cannot freeze past it.")
        .advice("Do not cancel autovacuum workers that say \"to prevent wraparound\".")
        .done()
}
