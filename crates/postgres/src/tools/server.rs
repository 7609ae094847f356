//! The server as a whole: whether it answers, what it is, and how full it is.

use reeve_types::{Arguments, ToolOutput};
use serde_json::{Value, json};

use super::define::Definition;
use super::job::Job;
use super::reads::{Part, answer};
use super::render::fields;
use super::rows::fetch_one;
use super::trouble::Trouble;
use crate::connect::Session;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "check_connection",
            "Connects to the database and says which server answered: version, database, user, address, role.",
            |job| Box::pin(check_connection(job)),
        )
        .capabilities(&["connections", "availability"])
        .fleet(),
        Definition::read(
            "get_server_info",
            "Version, start and uptime, configuration files, log location, database size, primary or replica, connections in use.",
            |job| Box::pin(answer(job, server_info)),
        )
        .capabilities(&["config", "connections", "server"])
        .fleet(),
        Definition::read(
            "get_connection_stats",
            "Sessions per database by state (active, idle, idle in transaction, waiting for a lock), held against max_connections.",
            |job| Box::pin(answer(job, connection_stats)),
        )
        .capabilities(&["connections", "sessions"])
        .fleet(),
        Definition::read(
            "get_status_summary",
            "One JSON object: status, version, uptime, connections, max_connections and cache hit ratio. The cheapest health check.",
            |job| Box::pin(status_summary(job)),
        )
        .capabilities(&["connections", "cache", "server", "availability"])
        .supersedes(&["get_server_info", "get_connection_stats"])
        .fleet(),
    ]
}

/// Sessions of clients. Where the kind of a session is hidden from the role, having a database tells.
pub(super) const CLIENT_SESSIONS: &str =
    "coalesce(a.backend_type, 'client backend') = 'client backend' AND a.datid IS NOT NULL";

async fn check_connection(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let session = job.look().await?;
    let row = fetch_one(
        &session,
        "SELECT version() AS version, current_database() AS database, current_user AS \"user\",
                host(inet_server_addr()) AS server_address, inet_server_port() AS server_port,
                CASE WHEN pg_is_in_recovery() THEN 'replica' ELSE 'primary' END AS role",
        &[],
    )
    .await?;
    Ok(ToolOutput::with_data(format!("Connection successful!\n{}", fields(&row)), row.object()))
}

pub(super) fn server_info_part() -> Part {
    let file = |name: &str| format!("(SELECT setting FROM pg_settings WHERE name = '{name}') AS {name}");
    let files = ["data_directory", "config_file", "hba_file", "ident_file", "log_directory", "log_filename"].map(file);
    Part::one(
        "server",
        format!(
            "SELECT version() AS version, pg_postmaster_start_time() AS started_at,
                    round(extract(epoch FROM now() - pg_postmaster_start_time()))::bigint AS uptime_seconds,
                    {},
                    current_database() AS database, pg_database_size(current_database()) AS database_size_bytes,
                    CASE WHEN pg_is_in_recovery() THEN 'replica' ELSE 'primary' END AS role,
                    count(*) AS total_connections, count(*) FILTER (WHERE a.state = 'active') AS active_connections,
                    current_setting('max_connections')::int AS max_connections
             FROM pg_stat_activity a WHERE {CLIENT_SESSIONS}",
            files.join(", ")
        ),
    )
}

pub(super) fn server_info(_: &Arguments, _: u32) -> Result<Vec<Part>, Trouble> {
    Ok(vec![server_info_part()])
}

pub(super) fn connection_stats(_: &Arguments, _: u32) -> Result<Vec<Part>, Trouble> {
    let by_database = format!(
        "SELECT a.datname AS database, count(*) AS total, count(*) FILTER (WHERE a.state = 'active') AS active,
                count(*) FILTER (WHERE a.state = 'idle') AS idle,
                count(*) FILTER (WHERE a.state LIKE 'idle in transaction%') AS idle_in_transaction,
                count(*) FILTER (WHERE a.wait_event_type = 'Lock') AS waiting_for_lock,
                count(*) FILTER (WHERE a.state IS NULL) AS hidden
         FROM pg_stat_activity a WHERE {CLIENT_SESSIONS} GROUP BY a.datname ORDER BY total DESC, database"
    );
    let limits = format!(
        "SELECT count(*) AS in_use, current_setting('max_connections')::int AS max_connections,
                current_setting('superuser_reserved_connections')::int AS reserved_for_superusers,
                greatest(current_setting('max_connections')::int
                         - current_setting('superuser_reserved_connections')::int - count(*), 0) AS left_for_others,
                round(100.0 * count(*) / current_setting('max_connections')::int, 1) AS in_use_pct
         FROM pg_stat_activity a WHERE {CLIENT_SESSIONS}"
    );
    Ok(vec![
        Part::rows("databases", by_database).when_empty("No client is connected."),
        Part::one("limits", limits).titled("Limits"),
    ])
}

async fn status_summary(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let summary = async {
        let session = job.borrow().await?;
        let summary = summary_of(&session).await?;
        session.give_back();
        Ok(summary)
    };
    let summary = summary.await.map_err(|trouble: Trouble| trouble.noted(json!({ "status": "error" }).to_string()))?;
    Ok(ToolOutput::with_data(summary.to_string(), summary))
}

async fn summary_of(session: &Session) -> Result<Value, Trouble> {
    let row = fetch_one(
        session,
        &format!(
            "SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
                    extract(epoch FROM now() - pg_postmaster_start_time())::bigint AS uptime,
                    (SELECT count(*) FROM pg_stat_activity a WHERE {CLIENT_SESSIONS}) AS connections,
                    current_setting('max_connections')::int AS max_connections,
                    (SELECT round(100.0 * sum(blks_hit) / nullif(sum(blks_hit) + sum(blks_read), 0), 2)
                     FROM pg_stat_database) AS cache_hit_ratio"
        ),
        &[],
    )
    .await?;
    let uptime = row.int("uptime").unwrap_or(0).max(0);
    Ok(json!({
        "status": "ok",
        "version": format!("PG {}", row.text("version").unwrap_or("?")),
        "uptime": format!("{}d {}h", uptime / 86_400, uptime % 86_400 / 3600),
        "connections": row.get("connections"),
        "max_connections": row.get("max_connections"),
        "cache_hit_ratio": row.get("cache_hit_ratio"),
    }))
}
