//! The common form of reads: a few statements, each shown as a table or as fields, and the same as data.

use reeve_types::{Arguments, ToolOutput};
use serde_json::{Map, Value};

use super::job::Job;
use super::params::Param;
use super::render::{banner, fields, table};
use super::rows::{Rows, fetch};
use super::trouble::Trouble;
use crate::connect::Session;

/// One statement of an answer.
pub(super) struct Part {
    key: &'static str,
    title: Option<&'static str>,
    sql: String,
    params: Vec<Param>,
    empty: &'static str,
    single: bool,
}

impl Part {
    /// A statement that gives any number of rows.
    pub(super) fn rows(key: &'static str, sql: impl Into<String>) -> Self {
        Self { key, title: None, sql: sql.into(), params: Vec::new(), empty: "None.", single: false }
    }
    /// A statement that gives one row, shown as fields.
    pub(super) fn one(key: &'static str, sql: impl Into<String>) -> Self {
        Self { single: true, ..Self::rows(key, sql) }
    }
    pub(super) fn titled(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }
    pub(super) fn bind(mut self, params: Vec<Param>) -> Self {
        self.params = params;
        self
    }
    /// What is said when there are no rows.
    pub(super) fn when_empty(mut self, words: &'static str) -> Self {
        self.empty = words;
        self
    }
}

/// What a server hides from roles without `pg_read_all_stats`.
const HIDDEN: &str = "<insufficient privilege>";
const HIDDEN_NOTE: &str =
    "Note: what other roles run is hidden from this role; GRANT pg_monitor to it to see everything.\n";

/// Chooses the parts that arguments and server version (as in `server_version_num`) call for.
pub(super) type Chosen = fn(&Arguments, u32) -> Result<Vec<Part>, Trouble>;

/// Runs the parts that arguments and server version (as in `server_version_num`) call for.
pub(super) async fn answer(job: &Job<'_>, parts: Chosen) -> Result<ToolOutput, Trouble> {
    let session = job.borrow().await?;
    let parts = parts(job.args(), session.server_version_num())?;
    let shown = show(&session, &parts).await?;
    session.give_back();
    Ok(shown)
}

/// Runs the parts and shows their rows. One part gives its rows as data, several give an object by their keys.
pub(super) async fn show(session: &Session, parts: &[Part]) -> Result<ToolOutput, Trouble> {
    let mut text = String::new();
    let mut data = Map::new();
    let mut hidden = false;
    for part in parts {
        let rows = fetch(session, &part.sql, &part.params).await?;
        if !text.is_empty() {
            text.push('\n');
        }
        if let Some(title) = part.title {
            text.push_str(&banner(title));
        }
        text.push_str(&shown(part, &rows));
        hidden |= rows.rows.iter().flat_map(|row| &row.0).any(|(_, value)| value == HIDDEN);
        data.insert(part.key.to_owned(), rows.into_data(part.single));
    }
    if hidden {
        text.push_str(HIDDEN_NOTE);
    }
    let data = match (parts.len(), data.len()) {
        (1, 1) => data.into_iter().next().map_or(Value::Null, |(_, value)| value),
        _ => Value::Object(data),
    };
    Ok(ToolOutput::with_data(text, data))
}

fn shown(part: &Part, rows: &Rows) -> String {
    match rows.first() {
        None => format!("{}\n", part.empty),
        Some(row) if part.single => fields(row),
        Some(_) => table(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{activity, databases, io, locks, replication, server, settings, tables};
    use super::*;

    /// Servers of every supported version cannot all be had for a test; their grammar can.
    #[test]
    fn the_statements_for_every_version_can_be_parsed() {
        let families: [Chosen; 13] = [
            server::server_info,
            server::connection_stats,
            databases::database_info,
            databases::database_stats,
            databases::disk_usage,
            activity::active_connections,
            activity::wait_events,
            locks::lock_info,
            locks::blocking_queries,
            tables::vacuum_status,
            replication::replication_status,
            settings::config_parameter,
            io::bgwriter,
        ];
        for version in [130_000, 140_000, 150_000, 160_000, 170_000, 180_000] {
            for family in families {
                for part in family(&Arguments::new(), version).unwrap() {
                    let parsed =
                        pg_query::parse(&part.sql, 0).unwrap_or_else(|e| panic!("{version} {}: {e}", part.sql));
                    assert_eq!(parsed.protobuf.stmts.len(), 1, "{}", part.sql);
                }
            }
        }
    }
}
