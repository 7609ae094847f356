//! Checkpoints and the background writer.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::{EvidenceSet, Thresholds, words};

/// Checkpoints forced by WAL volume rather than by the clock.
pub(super) fn forced(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(points) = &evidence.checkpoints else { return Vec::new() };
    let all = points.timed.saturating_add(points.requested);
    let counting = points.stats_reset_secs.unwrap_or(0.0);
    let share = points.requested as f64 / all.max(1) as f64;
    if all < thresholds.checkpoints_min || counting < thresholds.habit_secs || share < thresholds.checkpoints_forced {
        return Vec::new();
    }
    let interval = counting / all.max(1) as f64;
    let timeout = evidence.setting_number("checkpoint_timeout").unwrap_or(300.0);
    if interval >= timeout {
        return Vec::new();
    }
    let max = evidence.setting("max_wal_size").unwrap_or("unknown");
    let finding = Draft::new(
        "checkpoints_too_frequent",
        Severity::Warning,
        format!("{} of checkpoints are forced, one every {}", words::percent(share), words::duration(interval)),
    )
    .cause(format!(
        "WAL reaches max_wal_size ({max} MB) before checkpoint_timeout ({}) is over. Each checkpoint writes out all dirty \
         buffers and makes the next change of every page write the whole page to WAL, so this costs twice.",
        words::duration(timeout)
    ))
    .data(
        format!("{} timed and {} forced in {}", points.timed, points.requested, words::duration(counting)),
        "pg_stat_bgwriter, pg_stat_checkpointer",
        json!(points),
    )
    .advice("ALTER SYSTEM SET max_wal_size = '…'; to what is written in checkpoint_timeout at peak, then SELECT pg_reload_conf(); crash recovery takes longer in proportion.");
    vec![finding.done()]
}

/// A background writer that stops at its limit while sessions write buffers themselves.
pub(super) fn background_writer(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(points) = &evidence.checkpoints else { return Vec::new() };
    let counting = points.stats_reset_secs.unwrap_or(0.0);
    let backend = points.buffers_backend.unwrap_or(0);
    let all = points.buffers_checkpoint.saturating_add(points.buffers_clean).saturating_add(backend);
    let limited = points.maxwritten_clean as f64 / counting.max(1.0) * 60.0 >= 1.0;
    if counting < thresholds.habit_secs || !limited || backend.saturating_mul(2) < all {
        return Vec::new();
    }
    let pages = evidence.setting("bgwriter_lru_maxpages").unwrap_or("100");
    let draft = Draft::new(
        "bgwriter_limited",
        Severity::Info,
        format!("sessions write {} of all buffers themselves", words::percent(backend as f64 / all.max(1) as f64)),
    )
    .cause(format!(
        "The background writer stopped {} times because it had written bgwriter_lru_maxpages ({pages}) buffers, so sessions \
         have to write dirty buffers out before they can use them.",
        words::count(points.maxwritten_clean)
    ))
    .data(
        format!("{} by checkpoints, {} by the background writer, {} by sessions", words::count(points.buffers_checkpoint), words::count(points.buffers_clean), words::count(backend)),
        "pg_stat_bgwriter",
        json!(points),
    );
    let lowered = pages.parse::<i64>().is_ok_and(|pages| pages < 100);
    let draft = match lowered {
        true => draft.remedy(draft::reset_setting("bgwriter_lru_maxpages", "goes back to its default of 100")),
        false => draft.advice("ALTER SYSTEM SET bgwriter_lru_maxpages = 500; SELECT pg_reload_conf();"),
    };
    vec![draft.done()]
}
