//! Checkpoints, the background writer, and who writes pages; the views moved with every major version since 16.

use reeve_types::Arguments;

use super::define::Definition;
use super::reads::{Part, answer};
use super::trouble::Trouble;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_bgwriter_stats",
            "Checkpoints (timed and requested), time spent writing and syncing, pages written by checkpoints, background writer and sessions themselves.",
            |job| Box::pin(answer(job, bgwriter)),
        )
        .capabilities(&["checkpoints", "wal", "cache", "io"])
        .fleet(),
    ]
}

pub(super) fn bgwriter(_: &Arguments, version: u32) -> Result<Vec<Part>, Trouble> {
    Ok(if version >= 170_000 { split_views(version) } else { vec![one_view()] })
}

/// Up to 16 one view holds everything.
fn one_view() -> Part {
    Part::one(
        "bgwriter",
        "SELECT checkpoints_timed, checkpoints_req AS checkpoints_requested,
                round(100.0 * checkpoints_req / nullif(checkpoints_timed + checkpoints_req, 0), 1) AS requested_pct,
                checkpoint_write_time::bigint AS write_ms, checkpoint_sync_time::bigint AS sync_ms,
                buffers_checkpoint AS buffers_written_by_checkpoints, buffers_clean AS buffers_written_by_bgwriter,
                maxwritten_clean AS bgwriter_stopped_early, buffers_backend AS buffers_written_by_sessions,
                buffers_backend_fsync AS fsyncs_by_sessions, buffers_alloc AS buffers_allocated, stats_reset
         FROM pg_stat_bgwriter",
    )
}

/// From 17 on checkpoints have a view of their own, and what sessions write is in `pg_stat_io`.
fn split_views(version: u32) -> Vec<Part> {
    let done =
        if version >= 180_000 { "num_done AS checkpoints_done, slru_written AS slru_buffers_written, " } else { "" };
    let checkpointer = format!(
        "SELECT num_timed AS checkpoints_timed, num_requested AS checkpoints_requested, {done}
                round(100.0 * num_requested / nullif(num_timed + num_requested, 0), 1) AS requested_pct,
                restartpoints_timed, restartpoints_req AS restartpoints_requested, restartpoints_done,
                write_time::bigint AS write_ms, sync_time::bigint AS sync_ms,
                buffers_written AS buffers_written_by_checkpoints, stats_reset
         FROM pg_stat_checkpointer"
    );
    let bgwriter = "SELECT buffers_clean AS buffers_written_by_bgwriter, maxwritten_clean AS bgwriter_stopped_early,
                           buffers_alloc AS buffers_allocated, stats_reset FROM pg_stat_bgwriter";
    let sessions = "SELECT coalesce(sum(writes), 0)::bigint AS writes_by_sessions, coalesce(sum(extends), 0)::bigint AS extends_by_sessions,
                           coalesce(sum(fsyncs), 0)::bigint AS fsyncs_by_sessions, max(stats_reset) AS stats_reset
                    FROM pg_stat_io WHERE backend_type = 'client backend' AND object = 'relation'";
    vec![
        Part::one("checkpointer", checkpointer).titled("Checkpointer"),
        Part::one("bgwriter", bgwriter).titled("Background writer"),
        Part::one("sessions", sessions).titled("Sessions (pg_stat_io)"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_follow_the_server_version() {
        let keys = |version| bgwriter(&Arguments::new(), version).unwrap().len();
        assert_eq!([130_000, 160_004, 170_000, 180_001].map(keys), [1, 1, 3, 3]);
    }
}
