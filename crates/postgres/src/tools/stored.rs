//! What is kept of earlier work: answers of tools, and files that people handed in.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::SignedDuration;
use reeve_types::ToolOutput;
use serde_json::{Value, json};

use super::define::{Definition, integer, string};
use super::job::Job;
use super::logs::last_lines;
use super::render::banner;
use super::trouble::Trouble;
use super::{SnapshotQuery, args};

/// How much of all stored answers together is shown, in bytes.
const SNAPSHOT_BYTES_MAX: usize = 32 * 1024;
const SINCE_DEFAULT: &str = "90d";

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_saved_snapshots",
            "Earlier answers of a tool, newest first, to compare with what is true now.",
            |job| Box::pin(saved_snapshots(job)),
        )
        .required("tool_name", string("The tool whose answers are wanted, such as get_baseline.", 100))
        .optional("server_name", string("Only answers about this server, by its inventory id.", 4096))
        .optional("limit", integer("How many answers.", 1, 10, Some(3)))
        .optional(
            "since",
            json!({
                "type": "string", "pattern": "^[0-9]{1,5}[smhdw]$", "default": SINCE_DEFAULT,
                "description": "How far back, such as 12h, 7d or 90d.",
            }),
        )
        .capabilities(&["history", "config"])
        .of_platform(),
        Definition::read(
            "read_uploaded_file",
            "The last lines of a file that a person handed in, such as a log, with an optional filter.",
            |job| Box::pin(uploaded_file(job)),
        )
        .required("upload_id", string("The id that the upload gave.", 100))
        .optional("lines", integer("How many lines at most.", 1, 500, Some(100)))
        .optional(
            "filter",
            string("Only lines that hold this text, taken literally; upper and lower case are the same.", 200),
        )
        .capabilities(&["logs", "uploads"])
        .of_platform(),
    ]
}

/// `90d` and the like.
fn span(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(digits.parse::<u64>().ok()?.checked_mul(secs)?))
}

async fn saved_snapshots(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let tool_name = args::needed(job.args(), "tool_name")?.to_owned();
    let back = args::text(job.args(), "since").unwrap_or(SINCE_DEFAULT);
    let span =
        span(back).ok_or_else(|| Trouble::invalid(format!("`{back}` is not a span of time such as 12h, 7d or 90d")))?;
    let since = SignedDuration::try_from(span)
        .ok()
        .and_then(|span| job.cx.now().checked_sub(span).ok())
        .unwrap_or(jiff::Timestamp::MIN);
    let query = SnapshotQuery {
        tool_name: tool_name.clone(),
        server_name: args::text(job.args(), "server_name").map(str::to_owned),
        since,
        limit: usize::try_from(args::integer(job.args(), "limit").unwrap_or(3)).unwrap_or(3),
    };
    let found = job.kit.archive.snapshots(&job.call.principal, query).await.map_err(Trouble::failed)?;
    if found.is_empty() {
        return Ok(ToolOutput::with_data(
            format!("No answer of {tool_name} was kept in the last {back}.\n"),
            json!([]),
        ));
    }
    let mut text = String::new();
    let mut data = Vec::new();
    for snapshot in &found {
        let outcome = if snapshot.success { "" } else { ", failed" };
        text.push_str(&banner(&format!(
            "{} on {}, {}{outcome} ({})",
            snapshot.tool_name, snapshot.server_name, snapshot.recorded_at, snapshot.result_id
        )));
        let room = SNAPSHOT_BYTES_MAX.saturating_sub(text.len());
        let shown = cut_at(&snapshot.output, room);
        text.push_str(shown.trim_end());
        text.push('\n');
        if shown.len() < snapshot.output.len() {
            let _ = writeln!(text, "[cut: {} bytes left out]", snapshot.output.len() - shown.len());
        }
        text.push('\n');
        data.push(json!({
            "result_id": snapshot.result_id, "server_name": snapshot.server_name, "tool_name": snapshot.tool_name,
            "recorded_at": snapshot.recorded_at, "success": snapshot.success, "output": shown,
        }));
    }
    Ok(ToolOutput::with_data(text, Value::Array(data)))
}

fn cut_at(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

async fn uploaded_file(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let id = args::needed(job.args(), "upload_id")?;
    let upload =
        job.kit.archive.upload(&job.call.principal, id).await.map_err(Trouble::failed)?.ok_or_else(|| {
            Trouble::failed(format!("there is no upload `{id}`; uploads are kept for a limited time"))
        })?;
    let content = String::from_utf8_lossy(&upload.content);
    let lines =
        last_lines(&content, args::text(job.args(), "filter"), args::integer(job.args(), "lines").unwrap_or(100));
    let text = format!("{}{}", banner(&format!("{} ({} bytes)", upload.filename, upload.content.len())), lines.text);
    let data = json!({
        "upload_id": id, "filename": upload.filename, "uploaded_at": upload.uploaded_at,
        "size_bytes": upload.content.len(), "lines": lines.lines,
    });
    Ok(ToolOutput::with_data(text, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        let table =
            [("90d", Some(90 * 86_400)), ("12h", Some(43_200)), ("x", None), ("", None), ("7y", None), ("9ü", None)];
        for (given, secs) in table {
            assert_eq!(span(given), secs.map(Duration::from_secs), "{given}");
        }
    }
}
