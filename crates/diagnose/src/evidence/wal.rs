//! WAL, archiving, checkpoints and the server's log.

use serde::{Deserialize, Serialize};

/// How archiving does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Archiver {
    /// Segments archived.
    pub archived: i64,
    /// Attempts that failed.
    pub failed: i64,
    /// Since the last success.
    pub archived_secs: Option<f64>,
    /// Since the last failure.
    pub failed_secs: Option<f64>,
    /// The segment that failed last.
    pub failed_segment: Option<String>,
    /// Segments that wait to be archived; `None` when they may not be listed.
    pub ready: Option<i64>,
    /// Age of the oldest of them.
    pub oldest_ready_secs: Option<f64>,
}

/// The WAL directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WalDirectory {
    /// Segment files.
    pub files: i64,
    /// Their size.
    pub bytes: i64,
}

/// Checkpointer and background writer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoints {
    /// Checkpoints that came by the clock.
    pub timed: i64,
    /// Checkpoints that were forced, mostly by WAL volume.
    pub requested: i64,
    /// Time spent writing, in milliseconds.
    pub write_ms: f64,
    /// Time spent syncing, in milliseconds.
    pub sync_ms: f64,
    /// Buffers written by checkpoints.
    pub buffers_checkpoint: i64,
    /// Buffers written by the background writer.
    pub buffers_clean: i64,
    /// How often the background writer stopped because it had written enough.
    pub maxwritten_clean: i64,
    /// Buffers that sessions had to write themselves; `None` from 17 on.
    pub buffers_backend: Option<i64>,
    /// Since the counters were reset.
    pub stats_reset_secs: Option<f64>,
}

/// What the end of the server's log says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogTail {
    /// The file.
    pub file: String,
    /// How many bytes of its end were read.
    pub bytes: i64,
    /// Lines with `PANIC:`, newest last, at most five.
    pub panics: Vec<String>,
    /// Lines that say the disk is full, newest last, at most five.
    pub no_space: Vec<String>,
    /// Lines that speak of damaged data, newest last, at most five.
    pub corruption: Vec<String>,
    /// Lines that say a server process was killed or crashed, newest last, at most five.
    pub crashes: Vec<String>,
    /// Failed log-ins.
    pub auth_failures: i64,
}
