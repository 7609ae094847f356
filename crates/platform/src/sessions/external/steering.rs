//! What a running agent hears when its session is changed, and what its turns have used.

use std::sync::Arc;

use reeve_store::StoredSession;
use reeve_types::ProblemCode;
use reeve_types::model::{Reply, StopReason};
use reeve_types::session::{Happening, PermissionMode};

use super::{ExternalFailure, ExternalUsage, Live};
use crate::sessions::turn::TurnCx;
use crate::sessions::{SessionError, Sessions};

/// What an agent was told of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) mode: PermissionMode,
    pub(super) model: Option<String>,
}

/// What of a session is another now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::sessions) struct Changed {
    /// What its agent must ask.
    pub(in crate::sessions) mode: bool,
    /// Its model.
    pub(in crate::sessions) model: bool,
}

impl Live {
    /// Tells the agent what it was not told before. `model` is nothing when that can wait.
    pub(super) async fn hears(&self, mode: PermissionMode, model: Option<Option<&str>>) -> Result<(), ExternalFailure> {
        // One after the other, so that what was said last is what holds.
        let mut told = self.told.lock().await;
        if told.mode != mode {
            self.link.set_mode(mode).await;
            told.mode = mode;
        }
        if let Some(model) = model
            && told.model.as_deref() != model
        {
            self.link.set_model(model).await?;
            told.model = model.map(str::to_owned);
        }
        Ok(())
    }
}

impl Sessions {
    /// Whether a session's running agent can be given a model. One that does not run is asked when it is started.
    pub(in crate::sessions) async fn check_model(
        &self,
        row: &StoredSession,
        model: Option<&str>,
    ) -> Result<(), SessionError> {
        let Some(live) = self.running(&row.session.id).await else { return Ok(()) };
        let checked = live.link.check_model(model);
        checked.map_err(|failure| {
            let agent = &row.session.agent;
            SessionError::new(
                ProblemCode::BadRequest,
                format!("`{agent}` is not given another model: {}", failure.message),
            )
        })
    }

    /// Tells a session's running agent what was changed: its mode at once, its model before its next turn.
    pub(in crate::sessions) fn steer(&self, row: &StoredSession, changed: Changed) {
        if changed == Changed::default() {
            return;
        }
        let (this, session) = (self.clone(), row.session.clone());
        self.core.tasks.spawn(async move {
            let Some(live) = this.running(&session.id).await else { return };
            let idle = !session.state.in_turn();
            let hears = live.hears(session.mode, idle.then_some(session.model.as_deref()));
            let told = tokio::select! {
                told = hears => told,
                () = this.core.stop.cancelled() => return,
            };
            if let Err(failure) = told {
                live.peer.note(vec![Happening::Warning { message: failure.message }]).await;
            }
        });
    }

    /// Writes down what a turn has used, also when it has ended otherwise in between.
    pub(super) async fn count_external(&self, cx: &Arc<TurnCx>, used: ExternalUsage) {
        let (number, usage) = (cx.number, used.usage);
        let counted = self.alter(cx.tenant(), &cx.id, move |row, happened| {
            row.calls += 1;
            row.session.usage += usage;
            if let Some(turn) = row.turn.as_mut().filter(|turn| turn.number == number) {
                turn.usage += usage;
            }
            let reply =
                Reply { id: String::new(), model: used.model, blocks: Vec::new(), stop: StopReason::EndTurn, usage };
            happened.push(Happening::ModelReplied { turn: number, call: row.calls, reply });
            Ok(())
        });
        if let Err(error) = counted.await {
            tracing::warn!(session.id = %cx.id, "what an agent has used was not written down: {error}");
        }
    }
}
