//! The end of the server's log, read through the server itself.

use reeve_types::ToolOutput;
use serde_json::json;

use super::args;
use super::define::{Definition, integer, string};
use super::job::Job;
use super::masking::masked;
use super::render::banner;
use super::rows::{Row, fetch, fetch_one};
use super::trouble::Trouble;
use crate::connect::Session;

/// How much of the newest log file is read, in bytes.
const LOG_BYTES_MAX: i64 = 128 * 1024;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "read_pg_log",
            "The last lines of the server's newest log file (at most its last 128 KiB), with an optional filter. Needs logging_collector and pg_monitor.",
            |job| Box::pin(read_log(job)),
        )
        .optional("lines", integer("How many lines at most.", 1, 500, Some(100)))
        .optional("filter", string("Only lines that hold this text, taken literally; upper and lower case are the same.", 200))
        .capabilities(&["logs", "errors"]),
    ]
}

/// The last lines of a text.
pub(super) struct Lines {
    pub(super) text: String,
    pub(super) lines: Vec<String>,
}

/// The last `most` lines that hold `filter`, passwords masked.
pub(super) fn last_lines(content: &str, filter: Option<&str>, most: i64) -> Lines {
    let filter = filter.map(str::to_lowercase);
    let matching: Vec<&str> = content
        .lines()
        .filter(|line| filter.as_ref().is_none_or(|wanted| line.to_lowercase().contains(wanted)))
        .collect();
    let most = usize::try_from(most).unwrap_or(0);
    let shown = matching.get(matching.len().saturating_sub(most)..).unwrap_or_default();
    let lines: Vec<String> = shown.iter().map(|line| masked(line).into_owned()).collect();
    let text = match (lines.is_empty(), matching.len() - lines.len()) {
        (true, _) if filter.is_some() => "No line holds that text.\n".to_owned(),
        (true, _) => "It is empty.\n".to_owned(),
        (false, 0) => format!("{}\n", lines.join("\n")),
        (false, earlier) => format!("({earlier} earlier lines not shown)\n{}\n", lines.join("\n")),
    };
    Lines { text, lines }
}

async fn read_log(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let session = job.look().await?;
    may_read(&session).await?;
    let file = newest(&session).await?;
    let name = file.text("path").unwrap_or_default();
    let size = file.int("size_bytes").unwrap_or(0);
    let from = (size - LOG_BYTES_MAX).max(0);
    let row = session
        .query_one("SELECT pg_read_binary_file($1::text, $2::bigint, $3::bigint)", &[&name, &from, &LOG_BYTES_MAX])
        .await
        .map_err(|error| Trouble::from(error).noted(READ_GRANT))?;
    let bytes: Vec<u8> = row.try_get(0)?;
    let content = String::from_utf8_lossy(&bytes);
    // The first line of a part is most likely the end of a line.
    let content = if from > 0 { content.split_once('\n').map_or("", |(_, rest)| rest) } else { &content };
    let lines =
        last_lines(content, args::text(job.args(), "filter"), args::integer(job.args(), "lines").unwrap_or(100));
    let modified = file.text("modified_at").unwrap_or("?");
    let data = json!({ "file": name, "size_bytes": size, "modified_at": modified, "lines": lines.lines });
    let heading = banner(&format!("{name} ({size} bytes, last written {modified})"));
    Ok(ToolOutput::with_data(format!("{heading}{}", lines.text), data))
}

const READ_GRANT: &str = "To let this role read it: GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint) TO the role, and GRANT pg_monitor TO the role.";

/// Says exactly what stands in the way, before the server says it less clearly.
async fn may_read(session: &Session) -> Result<(), Trouble> {
    let row = fetch_one(
        session,
        "SELECT current_user AS \"user\",
                has_function_privilege('pg_ls_logdir()', 'EXECUTE') AS may_list,
                has_function_privilege('pg_read_binary_file(text, bigint, bigint)', 'EXECUTE') AS may_read,
                (SELECT setting FROM pg_settings WHERE name = 'logging_collector') AS collector,
                (SELECT setting FROM pg_settings WHERE name = 'log_destination') AS destination",
        &[],
    )
    .await?;
    let user = row.text("user").unwrap_or("the role");
    if row.text("collector") == Some("off") {
        return Err(Trouble::failed(format!(
            "logging_collector is off: the server writes its log to {} of its own process and has no log file to read from; set logging_collector = on and restart the server, or read the log on its host",
            row.text("destination").unwrap_or("stderr")
        )));
    }
    if !row.is("may_list") {
        return Err(Trouble::failed(format!(
            "role \"{user}\" may not list the log directory; GRANT pg_monitor TO \"{user}\""
        )));
    }
    if !row.is("may_read") {
        return Err(Trouble::failed(format!(
            "role \"{user}\" may not read the log file; GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint) TO \"{user}\", and GRANT pg_read_server_files TO \"{user}\" when the log is outside the data directory"
        )));
    }
    Ok(())
}

async fn newest(session: &Session) -> Result<Row, Trouble> {
    let sql = "SELECT coalesce((SELECT setting FROM pg_settings WHERE name = 'log_directory'), 'log') || '/' || l.name AS path,
                      l.size AS size_bytes, l.modification AS modified_at
               FROM pg_ls_logdir() l ORDER BY l.modification DESC, l.name DESC LIMIT 1";
    let rows = fetch(session, sql, &[]).await?;
    rows.rows.into_iter().next().ok_or_else(|| {
        Trouble::failed("logging_collector is on, but the log directory holds no file yet; was the server restarted after it was turned on?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_matching_lines_are_given_without_passwords() {
        let log = "LOG: a\nERROR: one 100%_\nLOG: b\nerror: two password 'x'\n";
        assert_eq!(last_lines(log, Some("ERROR"), 10).lines, ["ERROR: one 100%_", "error: two password '***'"]);
        assert_eq!(last_lines(log, Some("%_"), 10).lines, ["ERROR: one 100%_"]);
        assert_eq!(last_lines(log, None, 1).text, "(3 earlier lines not shown)\nerror: two password '***'\n");
        assert_eq!(last_lines(log, Some("zzz"), 10).text, "No line holds that text.\n");
    }
}
