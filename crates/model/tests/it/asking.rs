//! Asking a catalog, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use reeve_gate::model::{ModelEvent, ModelFailure, Models as _};
use reeve_gate::{SystemClock, TaskCx};
use reeve_model::{Catalog, ModelsConfig};
use reeve_types::TenantId;
use reeve_types::model::{Message, ModelTool, Prompt, Reply};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// What came of one question.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<ModelEvent>,
    pub(crate) answer: Result<Reply, ModelFailure>,
}

impl Outcome {
    pub(crate) fn reply(&self) -> &Reply {
        self.answer.as_ref().expect("an answer")
    }

    pub(crate) fn failure(&self) -> &ModelFailure {
        self.answer.as_ref().expect_err("a failure")
    }

    /// Every wait before another attempt, with its reason.
    pub(crate) fn retries(&self) -> Vec<(u32, Duration, &str)> {
        let retry = |event| match event {
            &ModelEvent::Retrying { attempt, after, ref reason } => Some((attempt, after, reason.as_str())),
            _ => None,
        };
        self.events.iter().filter_map(retry).collect()
    }

    /// The words as they came, those of void attempts included.
    pub(crate) fn words(&self) -> String {
        let word = |event: &ModelEvent| match event {
            ModelEvent::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.events.iter().filter_map(word).collect()
    }
}

pub(crate) fn catalog(config: &str) -> Catalog {
    let config: ModelsConfig = toml::from_str(config).unwrap_or_else(|error| panic!("{error}"));
    Catalog::new(config).unwrap_or_else(|error| panic!("{error}"))
}

/// A provider named `p` of a kind at an address, with a key.
pub(crate) fn provider(kind: &str, url: &str) -> String {
    format!("[providers.p]\nkind = '{kind}'\nbase_url = '{url}'\nkey = 'sk-secret'\n")
}

pub(crate) fn cx() -> TaskCx {
    TaskCx::new(Arc::new(SystemClock), CancellationToken::new(), Duration::from_secs(3_600))
}

pub(crate) fn prompt() -> Prompt {
    Prompt { system: "Be brief.".to_owned(), messages: vec![Message::user("How is prod?")], ..Prompt::default() }
}

pub(crate) fn tools() -> Vec<ModelTool> {
    let tool = |name: &str, properties| ModelTool {
        name: name.to_owned(),
        description: format!("Does {name}."),
        input_schema: json!({ "type": "object", "properties": properties, "additionalProperties": false }),
    };
    vec![tool("list_sessions", json!({ "database": { "type": "string" } })), tool("list_locks", json!({}))]
}

pub(crate) async fn ask(catalog: &Catalog, model: &str, prompt: Prompt) -> Outcome {
    ask_within(catalog, Some(model), prompt, &cx()).await
}

pub(crate) async fn ask_within(catalog: &Catalog, model: Option<&str>, prompt: Prompt, cx: &TaskCx) -> Outcome {
    let mut stream = match catalog.ask(&TenantId::default_tenant(), model, prompt, cx).await {
        Ok(stream) => stream,
        Err(failure) => return Outcome { events: Vec::new(), answer: Err(failure) },
    };
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        let answer = match event {
            Ok(ModelEvent::Finished(reply)) => Ok(*reply),
            Err(failure) => Err(failure),
            Ok(event) => {
                events.push(event);
                continue;
            }
        };
        assert!(stream.next().await.is_none(), "nothing comes after the end");
        return Outcome { events, answer };
    }
    panic!("the stream ended without an end: {events:?}");
}
