//! Asking a model for somebody who waits for its words.

use futures_util::StreamExt as _;
use reeve_gate::TaskCx;
use reeve_gate::model::{ModelEvent, ModelFailure, ModelFailureKind};
use reeve_types::{ProblemCode, WorkspaceError};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Call, Done, part, told};
use crate::workspaces::access::slot;
use crate::workspaces::models::NO_MODEL;
use crate::workspaces::{Core, Handed, Waiter, lock};

/// Pieces of an answer that wait for whoever reads them.
const PIECES_WAITING: usize = 64;

impl Core {
    pub(super) async fn ask_model(&self, call: Call, cx: &TaskCx, waiter: &mut Option<Waiter>) -> Done {
        let gone = || WorkspaceError::new(ProblemCode::Unavailable, "whoever asked is gone; ask again");
        let (asked, _) = call.open();
        let key = slot(&asked.tool, &asked.arguments, &asked.principal, &asked.trace_id);
        let named: Option<String> = part(&asked.arguments, "model")?;
        let prompt = lock(&self.prompts).remove(&key).ok_or_else(gone)?;
        let models = self.models.get().ok_or_else(|| WorkspaceError::new(ProblemCode::NoModel, NO_MODEL))?;
        let tenant = &asked.principal.tenant;
        let mut answer = models.ask(tenant, named.as_deref(), prompt, cx).await.map_err(|failure| problem(&failure))?;
        let waiter = waiter.take().filter(|waiter| !waiter.to.is_closed()).ok_or_else(gone)?;
        let (follow, mut follower) = mpsc::channel(PIECES_WAITING);
        let heard = futures_util::stream::poll_fn(move |cx| follower.poll_recv(cx)).boxed();
        waiter.to.send(Handed::Answer(heard)).map_err(|_| gone())?;
        loop {
            let piece = tokio::select! {
                piece = answer.next() => piece,
                () = cx.cancelled().cancelled() => {
                    return Err(WorkspaceError::new(ProblemCode::Unavailable, "the server is stopping"));
                }
                () = follow.closed() => return told("nobody waited for the answer any more".to_owned(), &Value::Null),
            };
            let end = match &piece {
                None => Some(Err(WorkspaceError::new(ProblemCode::ModelFailed, "the answer broke off before its end"))),
                Some(Err(failure)) => Some(Err(problem(failure))),
                Some(Ok(ModelEvent::Finished(reply))) => {
                    let data = json!({"model": reply.model, "usage": reply.usage, "stop": reply.stop});
                    Some(told(format!("`{}` answered", reply.model), &data))
                }
                Some(Ok(_)) => None,
            };
            if let Some(piece) = piece {
                tokio::select! {
                    _ = follow.send(piece) => {}
                    () = cx.cancelled().cancelled() => {}
                }
            }
            if let Some(end) = end {
                return end;
            }
        }
    }
}

/// A model's failure as a problem of the workspace it was asked for.
fn problem(failure: &ModelFailure) -> WorkspaceError {
    let code = match failure.kind {
        ModelFailureKind::NotConfigured => ProblemCode::NoModel,
        ModelFailureKind::TooLong => ProblemCode::TooLarge,
        ModelFailureKind::Limited => ProblemCode::RateLimited,
        ModelFailureKind::Unreachable | ModelFailureKind::Cancelled => ProblemCode::Unavailable,
        ModelFailureKind::Timeout => ProblemCode::Timeout,
        ModelFailureKind::Unauthorized | ModelFailureKind::Rejected | ModelFailureKind::Malformed => {
            ProblemCode::ModelFailed
        }
    };
    WorkspaceError::new(code, failure.message.clone())
}
