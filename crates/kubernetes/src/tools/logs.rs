//! The end of a container's log.

use reeve_types::ToolOutput;
use serde_json::json;

use super::define::{Definition, flag, integer, object_name, text};
use super::job::{CORE, Job};
use super::trouble::Trouble;

/// How many lines are given, when nobody says.
const LINES: i64 = 50;
const LINES_MAX: i64 = 2000;
/// How much of a log is read at most, in bytes.
const LOG_BYTES_MAX: &str = "1048576";

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::of_pod(
            "get_pod_logs",
            "The last lines of a container's log; with `previous`, of the run before its last restart, which is where a crash is explained.",
            |job| Box::pin(get_pod_logs(job)),
        )
        .optional("container", object_name("The container; needed when the pod has several."))
        .optional(
            "tail_lines",
            json!({ "type": "integer", "minimum": 1, "maximum": LINES_MAX, "default": LINES, "description": "How many lines at most." }),
        )
        .optional(
            "previous",
            json!({ "type": "boolean", "default": false, "description": "The run before the last restart." }),
        )
        .capabilities(&["logs", "crashes"]),
    ]
}

async fn get_pod_logs(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let (api, namespace) = job.view_of_one()?;
    let pod = job.needed("pod_name")?;
    let lines = integer(job.args(), "tail_lines").unwrap_or(LINES).to_string();
    let (container, previous) = (text(job.args(), "container"), flag(job.args(), "previous"));
    let mut query = vec![("tailLines", lines.as_str()), ("limitBytes", LOG_BYTES_MAX)];
    query.extend(container.map(|container| ("container", container)));
    if previous {
        query.push(("previous", "true"));
    }
    let log = api.text(&[CORE[0], CORE[1], "namespaces", &namespace, "pods", pod, "log"], &query).await?;
    let count = log.lines().count();
    let words = if count == 0 { "the log is empty\n".to_owned() } else { log };
    let data =
        json!({ "pod": pod, "namespace": namespace, "container": container, "previous": previous, "lines": count });
    Ok(ToolOutput::with_data(words, data))
}
