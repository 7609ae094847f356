//! Running programs in a workspace: whole, or followed as they go.

use axum::Json;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::{Stream, StreamExt as _, stream};
use reeve_platform::workspaces::{Asker, Execution, Workspaces};
use reeve_types::workspace::processes::{ExecEvent, ExecRequest, ExecResult, Language, OutputStream};
use reeve_types::{ExecutionId, WorkspaceError, WorkspaceId};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::told::{Decoder, told};
use super::wire::read;
use super::{Acting, Ids, Undone, asker, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::idempotency::{self, Reply};
use crate::routes::tools::Awaiting;
use crate::server::Stopping;

#[derive(Serialize, ToSchema)]
pub(crate) struct Languages {
    languages: Vec<Language>,
}

/// The languages that files can be run in, and whether this workspace has what each takes.
#[utoipa::path(get, path = "/workspaces/{id}/languages", tag = "programs", operation_id = "list_languages",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The languages.", body = Languages)))]
pub(crate) async fn languages(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Languages>, Undone> {
    Ok(Json(Languages { languages: service(&app.platform)?.languages(&asker(&app, &caller)?, &id).await? }))
}

/// Runs a program.
///
/// With `Accept: text/event-stream` it is followed: `{"event":"start"}`, `{"event":"stdout","text":…}`,
/// `{"event":"stderr","text":…}`, and `{"event":"exit",…}` last. Otherwise the answer comes when it has ended. Closing
/// the connection ends the program with all that it started.
#[utoipa::path(post, path = "/workspaces/{id}/executions", tag = "programs", operation_id = "execute",
    params(("id" = String, Path, description = "The workspace's id."),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice; not for streams.")),
    request_body = ExecRequest,
    responses((status = 200, description = "How it ended, with its output; or server-sent events.", body = ExecResult),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn execute(
    acting: Acting,
    stop: Stopping,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<Value>,
) -> Result<Response, Undone> {
    let what = idempotency::request("execute", id.as_str(), &body);
    let wanted: ExecRequest = read(body)?;
    if wants_stream(&acting.headers) {
        let (workspaces, asker) = acting.begin()?;
        return Ok(told(followed(workspaces.execute(&asker, &id, &wanted).await?), stop));
    }
    let execute = |workspaces: Workspaces, asker: Asker| async move {
        Ok(Reply::new(StatusCode::OK, json!(workspaces.execute_whole(&asker, &id, &wanted).await?)))
    };
    Ok(acting.once(what, execute).await?)
}

pub(crate) fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|line| line.split(',')).any(|kind| kind.trim().starts_with("text/event-stream"))
}

/// A program's events as clients read them: output as text, a character that comes in two pieces as one.
pub(crate) fn followed(execution: Execution) -> impl Stream<Item = Result<Value, WorkspaceError>> + Send + 'static {
    let decoders = (Decoder::default(), Decoder::default());
    let events = execution.events.scan(decoders, |(out, err), event| {
        let told: Vec<Result<Value, WorkspaceError>> = match event {
            Ok(ExecEvent::Output { stream, data }) => {
                let (word, text) = match stream {
                    OutputStream::Stdout => ("stdout", out.take(&data)),
                    OutputStream::Stderr => ("stderr", err.take(&data)),
                };
                if text.is_empty() { Vec::new() } else { vec![Ok(json!({"event": word, "text": text}))] }
            }
            Ok(ExecEvent::Exit(outcome)) => {
                let rests = [("stdout", out.end()), ("stderr", err.end())];
                let rests = rests.into_iter().filter(|(_, text)| !text.is_empty());
                let mut told: Vec<_> = rests.map(|(word, text)| Ok(json!({"event": word, "text": text}))).collect();
                told.push(Ok(json!(ExecEvent::Exit(outcome))));
                told
            }
            Ok(start @ ExecEvent::Start { .. }) => vec![Ok(json!(start))],
            Err(error) => vec![Err(error)],
        };
        std::future::ready(Some(stream::iter(told)))
    });
    events.flatten()
}

/// Ends a program with all that it started.
#[utoipa::path(delete, path = "/workspaces/{id}/executions/{eid}", tag = "programs", operation_id = "cancel_execution",
    params(("id" = String, Path, description = "The workspace's id."), ("eid" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "It is told to end: `{\"cancelled\": true}`.", body = Value)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Ids(id, execution): Ids<WorkspaceId, ExecutionId>,
) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.cancel(&caller.principal, &id, &execution).await?;
    Ok(Json(json!({"cancelled": true})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_is_told_as_text_and_the_end_comes_last() {
        let id: ExecutionId = "exe_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        let output = |stream, data: &[u8]| ExecEvent::Output { stream, data: data.to_vec() };
        let outcome =
            json!({"event": "exit", "exit_code": 0, "phase": "run", "duration_ms": 1, "cpu_ms": 1, "max_rss_bytes": 1});
        let events = vec![
            ExecEvent::Start {
                id: id.clone(),
                phase: reeve_types::workspace::processes::ExecPhase::Run,
                argv: vec!["true".to_owned()],
            },
            output(OutputStream::Stdout, b"gr\xc3"),
            output(OutputStream::Stderr, b"\xe2\x9c"),
            output(OutputStream::Stdout, b"\xb6\xc3\x9fe"),
            serde_json::from_value(outcome).unwrap(),
        ];
        let execution = Execution { id, events: stream::iter(events.into_iter().map(Ok)).boxed() };
        let told: Vec<Value> = followed(execution).map(Result::unwrap).collect().await;
        let words: Vec<_> =
            told.iter().map(|event| (event["event"].as_str().unwrap(), event["text"].as_str())).collect();
        let expected = [
            ("start", None),
            ("stdout", Some("gr")),
            ("stdout", Some("öße")),
            ("stderr", Some("\u{FFFD}")),
            ("exit", None),
        ];
        assert_eq!(words, expected);
    }
}
