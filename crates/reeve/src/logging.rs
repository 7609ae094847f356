//! Where log lines go: to standard error, so that standard output stays data.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{LogConfig, LogFormat};
use crate::telemetry::{Lines, Telemetry};

/// Starts logging for this process; a second call changes nothing. A server logs as configured; other commands speak for
/// themselves, so of what runs below them only errors are shown. Spans are taken for traces only where there is telemetry.
pub(crate) fn start(config: &LogConfig, is_server: bool, telemetry: Option<&Telemetry>) {
    let level = if is_server { config.level.as_str() } else { "error" };
    // The level was checked when the configuration was loaded.
    let filter = EnvFilter::builder().parse_lossy(level);
    let plain = crate::config::surroundings::variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = !plain && std::io::stderr().is_terminal();
    let Some(telemetry) = telemetry else {
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(ansi)
            .with_writer(BoxMakeWriter::new(std::io::stderr));
        let _ = match config.format {
            LogFormat::Text => lines.try_init(),
            LogFormat::Json => lines.json().flatten_event(true).try_init(),
        };
        return;
    };
    let lines = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(BoxMakeWriter::new(std::io::stderr));
    let format = tracing_subscriber::fmt::format();
    let lines: Lines = match config.format {
        LogFormat::Text => lines.event_format(Placed::Text(format.with_ansi(ansi))).with_filter(filter).boxed(),
        LogFormat::Json => lines
            .event_format(Placed::Json(format.json().flatten_event(true)))
            .fmt_fields(JsonFields::new())
            .with_filter(filter)
            .boxed(),
    };
    let _ = tracing_subscriber::registry().with(lines).with(telemetry.layer()).try_init();
}

/// Log lines that say in which trace they were written.
enum Placed<L> {
    /// At their end.
    Text(L),
    /// As the first fields of the object.
    Json(L),
}

impl<S, N, L> FormatEvent<S, N> for Placed<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    L: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (Self::Text(lines) | Self::Json(lines)) = self;
        let Some(here) = crate::telemetry::here() else {
            return lines.format_event(ctx, to, event);
        };
        let (trace, span) = (here.trace_id, here.span_id);
        let mut line = String::new();
        lines.format_event(ctx, Writer::new(&mut line), event)?;
        match (self, line.strip_prefix('{')) {
            (Self::Json(_), Some(fields)) => write!(to, "{{\"traceId\":\"{trace}\",\"spanId\":\"{span}\",{fields}"),
            _ => writeln!(to, "{} traceId={trace} spanId={span}", line.trim_end_matches('\n')),
        }
    }
}
