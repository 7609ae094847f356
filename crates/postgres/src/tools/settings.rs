//! Settings and extensions.

use reeve_types::{Arguments, ToolOutput};

use super::args;
use super::define::{Definition, boolean, string};
use super::job::Job;
use super::params::Param;
use super::reads::{Part, answer};
use super::render::{banner, table};
use super::rows::{Rows, fetch};
use super::trouble::Trouble;
use crate::connect::Session;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_config_parameter",
            "Settings whose name contains a text, with unit, default and source; without one, the fifteen that matter most.",
            |job| Box::pin(answer(job, config_parameter)),
        )
        .optional("parameter_name", string("Part of the setting's name, taken literally; upper and lower case are the same.", 100))
        .capabilities(&["config"])
        .fleet(),
        Definition::read(
            "get_pg_settings",
            "Settings that differ from the built-in defaults, by category, with the default and where the value comes from.",
            |job| Box::pin(pg_settings(job)),
        )
        .optional("category", string("Only categories whose name contains this text, such as Autovacuum.", 100))
        .optional("show_all", boolean("Also settings that still have their default.", false))
        .capabilities(&["config"])
        .fleet(),
        Definition::read(
            "get_extensions",
            "Installed extensions with their version, the version that is available, and their schema.",
            |job| Box::pin(answer(job, |_, _| Ok(vec![extensions_part()]))),
        )
        .capabilities(&["config", "extensions"])
        .fleet(),
    ]
}

const IMPORTANT: [&str; 15] = [
    "shared_buffers",
    "effective_cache_size",
    "work_mem",
    "maintenance_work_mem",
    "max_connections",
    "max_wal_size",
    "checkpoint_timeout",
    "wal_level",
    "max_wal_senders",
    "max_worker_processes",
    "autovacuum",
    "random_page_cost",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "log_min_duration_statement",
];

pub(super) fn config_parameter(arguments: &Arguments, _: u32) -> Result<Vec<Part>, Trouble> {
    const COLUMNS: &str = "SELECT name, setting, unit, boot_val AS \"default\", CASE WHEN source IN ('client', 'session') THEN 'set by Reeve for its own session' ELSE source END AS source, context, pending_restart, short_desc AS description FROM pg_settings";
    let part = match args::text(arguments, "parameter_name") {
        Some(name) => Part::rows(
            "settings",
            format!("{COLUMNS} WHERE strpos(lower(name), lower($1)) > 0 ORDER BY name <> lower($1), name"),
        )
        .bind(vec![Param::text(name)])
        .when_empty("No setting has that in its name."),
        None => Part::rows(
            "settings",
            format!("{COLUMNS} WHERE name = ANY ($1::text[]) ORDER BY array_position($1::text[], name)"),
        )
        .bind(vec![Param::from(serde_json::json!(IMPORTANT))]),
    };
    Ok(vec![part])
}

async fn pg_settings(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let session = job.look().await?;
    let rows =
        changed_settings(&session, args::text(job.args(), "category"), args::flag(job.args(), "show_all", false))
            .await?;
    Ok(ToolOutput::with_data(by_category(&rows), rows.data()))
}

/// Settings that differ from the defaults. What our own session set is not the server's doing.
pub(super) async fn changed_settings(session: &Session, category: Option<&str>, all: bool) -> Result<Rows, Trouble> {
    let sql = "SELECT category, name, setting, unit, boot_val AS \"default\", source, sourcefile, pending_restart
               FROM pg_settings
               WHERE ($1::boolean OR source NOT IN ('default', 'override', 'client', 'session'))
                     AND ($2::text IS NULL OR strpos(lower(category), lower($2)) > 0)
               ORDER BY category, name";
    let params = [Param::from(serde_json::Value::Bool(all)), Param::optional(category)];
    Ok(fetch(session, sql, &params).await?)
}

/// One table per category.
pub(super) fn by_category(rows: &Rows) -> String {
    if rows.is_empty() {
        return "No setting differs from its default.\n".to_owned();
    }
    let mut text = String::new();
    for group in rows.rows.chunk_by(|a, b| a.get("category") == b.get("category")) {
        if !text.is_empty() {
            text.push('\n');
        }
        let title = group.first().and_then(|row| row.text("category")).unwrap_or("Other");
        text.push_str(&banner(title));
        let mut part = Rows { rows: group.to_vec(), cut: false };
        for row in &mut part.rows {
            row.0.retain(|(name, _)| name != "category");
        }
        text.push_str(&table(&part));
    }
    text
}

pub(super) fn extensions_part() -> Part {
    let sql = "SELECT e.extname AS name, e.extversion AS installed, v.default_version AS available,
                      e.extversion IS DISTINCT FROM v.default_version AND v.default_version IS NOT NULL AS update_available,
                      n.nspname AS schema, v.comment AS description
               FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
               LEFT JOIN pg_available_extensions v ON v.name = e.extname ORDER BY e.extname";
    Part::rows("extensions", sql).when_empty("No extension is installed.")
}
