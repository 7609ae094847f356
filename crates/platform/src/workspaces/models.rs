//! Asking a model about a workspace's files: an act like any other, so that policy may forbid it and a record says who
//! asked which model, when and what for. What was asked stands in no record, only its digest: it holds the files.

use std::sync::Arc;

use futures_util::StreamExt as _;
use reeve_gate::model::{ModelInfo, ModelStream, Models};
use reeve_types::model::Prompt;
use reeve_types::{Digest, ProblemCode, TenantId, WorkspaceId, canonical_json};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::access::slot;
use super::{Asker, Handed, NotDone, Workspaces, lock};

/// What is said when there is no model.
pub(super) const NO_MODEL: &str = "no model is configured on this server; see docs/models.md for how to name one";

/// What a model is asked for, as policies and records name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedFor {
    /// An answer in words.
    Chat,
    /// A change of a file.
    Change,
    /// What may follow at the cursor.
    Completion,
}

impl AskedFor {
    /// The word of the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Change => "change",
            Self::Completion => "completion",
        }
    }
}

impl Workspaces {
    /// The models that a tenant can ask; empty where none is configured.
    pub fn models(&self, tenant: &TenantId) -> Vec<ModelInfo> {
        self.core.models.get().map(|models| models.list(tenant)).unwrap_or_default()
    }

    /// Knows models from now on.
    pub(crate) fn know_models(&self, models: Arc<dyn Models>) {
        let _ = self.core.models.set(models);
    }

    /// Asks a model. Its answer comes as it is given; dropping it ends the asking.
    pub async fn ask_model(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        what_for: AskedFor,
        model: Option<&str>,
        prompt: Prompt,
    ) -> Result<ModelStream, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        if self.models(&asker.principal.tenant).is_empty() {
            return Err(NotDone::new(ProblemCode::NoModel, NO_MODEL));
        }
        let digest = Digest::of(&canonical_json(&json!(prompt)).unwrap_or_default());
        let mut arguments = json!({"workspace_id": id, "for": what_for.as_str(), "prompt_sha256": digest});
        if let Some(model) = model {
            arguments["model"] = json!(model);
        }
        let key = match &arguments {
            Value::Object(arguments) => slot("workspace_ask_model", arguments, &asker.principal, &asker.trace_id),
            _ => return Err(NotDone::new(ProblemCode::Internal, "the arguments of an act are no object")),
        };
        lock(&self.core.prompts).insert(key, prompt);
        let (sender, handed) = oneshot::channel();
        let (core, asker) = (Arc::clone(&self.core), asker.clone());
        // The act goes on by itself while the caller reads the answer.
        let act = tokio::spawn(async move {
            let completed = core.submit(&asker, "workspace_ask_model", arguments, sender).await;
            lock(&core.prompts).remove(&key);
            completed
        });
        match handed.await {
            Ok(Handed::Answer(answer)) => return Ok(answer.boxed()),
            Ok(Handed::Problem(problem)) => return Err(NotDone::Problem(problem)),
            Ok(Handed::Execution(_) | Handed::Pipe(_)) | Err(_) => {}
        }
        let completed = act.await.map_err(|_| NotDone::new(ProblemCode::Internal, "the act was interrupted"))??;
        match completed.outcome {
            Ok(_) => {
                Err(NotDone::new(ProblemCode::Conflict, "it was asked already, and the answer is gone; ask again"))
            }
            Err(failure) => Err(NotDone::new(ProblemCode::Unavailable, failure.message)),
        }
    }
}
