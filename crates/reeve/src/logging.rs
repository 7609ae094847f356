//! Where log lines go: to standard error, so that standard output stays data.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging for this process; a second call changes nothing. A server logs as configured; other commands speak for
/// themselves, so of what runs below them only errors are shown.
pub(crate) fn start(config: &LogConfig, is_server: bool) {
    let level = if is_server { config.level.as_str() } else { "error" };
    // The level was checked when the configuration was loaded.
    let filter = EnvFilter::builder().parse_lossy(level);
    let plain = crate::config::surroundings::variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!plain && std::io::stderr().is_terminal())
        .with_writer(BoxMakeWriter::new(std::io::stderr));
    let _ = match config.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
