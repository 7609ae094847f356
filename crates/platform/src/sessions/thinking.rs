//! Asking the model, and writing its words down while they come; and answering where there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reeve_gate::TaskCx;
use reeve_gate::model::{ModelEvent, ModelFailureKind};
use reeve_types::model::{Block, Prompt, Reply};
use reeve_types::session::{Happening, TurnEnd};
use reeve_types::{Digest, canonical_json};
use serde_json::json;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::definitions::AgentDefinition;
use super::statements::TO_STATE;
use super::tools::Kit;
use super::transcript::{Transcript, text_of, trim};
use super::turn::{Never, Stop, TurnCx, signed};

/// How often words of a model are written down while they come.
const DELTA_EVERY: Duration = Duration::from_millis(40);
/// Most databases that an agent is told of by name.
const DATABASES_MAX: usize = 30;
/// What a model is taken to read when nobody says.
const CONTEXT_TOKENS: u32 = 128_000;

/// Asks the model, and writes its words down while they come.
pub(super) async fn ask_model(
    cx: &TurnCx,
    definition: &AgentDefinition,
    kit: &Kit,
    transcript: &Transcript,
) -> Result<Happening, Stop> {
    let models = &cx.sessions.core.parts.models;
    let model = cx.session.model.clone().or_else(|| definition.model.clone());
    let known = models.list(cx.tenant());
    let info = known.iter().find(|info| model.as_ref().map_or(info.is_default, |name| *name == info.name));
    let context =
        definition.limits.context_tokens.or(info.and_then(|info| info.context_tokens)).unwrap_or(CONTEXT_TOKENS);
    let mut messages = transcript.messages();
    let fixed = definition.instructions.len()
        + kit.tools.iter().map(|tool| tool.input_schema.to_string().len() + tool.description.len()).sum::<usize>();
    let trimmed = trim(&mut messages, fixed, context, transcript.wholes());
    for whole in trimmed.kept {
        cx.keep(whole).await?;
    }
    let mut system = format!("{}\n\n{}", definition.instructions, surroundings(cx));
    if kit.takes_statements() {
        system.push_str("\n\n");
        system.push_str(TO_STATE);
    }
    let prompt = Prompt {
        system,
        messages,
        tools: kit.tools.clone(),
        thinking_tokens: definition.limits.thinking_tokens,
        ..Prompt::default()
    };
    let digest = Digest::of(&canonical_json(&json!(prompt)).unwrap_or_default());
    let call = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut asked = Vec::new();
    if trimmed.results + trimmed.messages > 0 {
        let (results, messages) = (trimmed.results, trimmed.messages);
        asked.push(Happening::ContextTrimmed { turn: cx.number, results, messages });
    }
    let (number, seen) = (cx.number, Arc::clone(&call));
    cx.note_with(asked, move |row, happened| {
        row.calls += 1;
        seen.store(row.calls, std::sync::atomic::Ordering::Relaxed);
        happened.push(Happening::ModelAsked { turn: number, call: row.calls, digest });
    })
    .await?;
    let call = call.load(std::sync::atomic::Ordering::Relaxed);

    let clock = cx.platform().clock().clone();
    let task = TaskCx::new(clock, cx.cancel.child_token(), cx.sessions.core.parts.options.model_timeout);
    let named = model.as_deref().or(info.map(|info| info.name.as_str())).unwrap_or("default");
    let span = tracing::debug_span!(
        "chat",
        otel.kind = "client",
        otel.name = format!("chat {named}"),
        otel.status_code = Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = info.map(|info| info.kind),
        gen_ai.conversation.id = %cx.id,
        gen_ai.request.model = named,
        gen_ai.response.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
    );
    let counts = &cx.sessions.core.counts;
    let asked_at = Instant::now();
    let heard = hear(cx, call, model.as_deref(), prompt, &task).instrument(span.clone()).await;
    let reply = heard.inspect_err(|stop| {
        if matches!(stop, Stop::Ended(..)) {
            counts.model_failed();
            span.record("otel.status_code", "error");
        }
    })?;
    counts.model_latency.observe(asked_at.elapsed());
    span.record("gen_ai.response.model", reply.model.as_str());
    span.record("gen_ai.usage.input_tokens", signed(reply.usage.input_tokens));
    span.record("gen_ai.usage.output_tokens", signed(reply.usage.output_tokens));
    drop(span);
    let mut happened = Vec::new();
    let text = text_of(&reply.blocks);
    if !text.is_empty() {
        happened.push(Happening::Message { turn: cx.number, text });
    }
    let usage = reply.usage;
    let replied = Happening::ModelReplied { turn: cx.number, call, reply: with_unique_calls(reply, call) };
    happened.push(replied.clone());
    cx.note_with(happened, move |row, _| {
        row.session.usage += usage;
        if let Some(turn) = &mut row.turn {
            turn.usage += usage;
        }
    })
    .await?;
    Ok(replied)
}

/// What the agent should know of where it is.
fn surroundings(cx: &TurnCx) -> String {
    let now = cx.platform().clock().now();
    let mut text = format!("It is {}. You work for {}.", now.strftime("%Y-%m-%d %H:%M UTC"), cx.session.owner);
    if let Some(id) = &cx.session.workspace_id {
        text.push_str(&format!(" Your workspace is `{id}`."));
        if !cx.session.directory.is_empty() {
            text.push_str(&format!(" You work in its directory `{}`.", cx.session.directory));
        }
    }
    let known = cx.platform().inventory_of(&cx.session.tenant);
    if let Some(inventory) = known.filter(|inventory| !inventory.db_servers.is_empty()) {
        let names: Vec<&str> = inventory.db_servers.keys().take(DATABASES_MAX).map(String::as_str).collect();
        let more = if inventory.db_servers.len() > DATABASES_MAX { " and more" } else { "" };
        text.push_str(&format!(" The databases that you can name are {}{more}.", names.join(", ")));
    }
    let default_target = cx.sessions.core.parts.options.default_target.as_ref();
    if let Some(target) = default_target.filter(|_| crate::tenants::has_targets(&cx.session.tenant)) {
        text.push_str(&format!(" When no database is named, `{}` is meant.", reeve_types::mask_dsn(target)));
    }
    text
}

async fn hear(cx: &TurnCx, call: u64, model: Option<&str>, prompt: Prompt, task: &TaskCx) -> Result<Reply, Stop> {
    let ended = |failure: reeve_gate::model::ModelFailure| match failure.kind {
        ModelFailureKind::Cancelled => cx.stop().unwrap_or(Stop::Cancelled),
        _ => Stop::Ended(TurnEnd::Failed, failure.message),
    };
    let models = &cx.sessions.core.parts.models;
    let mut stream = tokio::select! {
        () = cx.stopped() => return Err(cx.stop().unwrap_or(Stop::Cancelled)),
        stream = models.ask(cx.tenant(), model, prompt, task) => stream.map_err(ended)?,
    };
    let (mut words, mut thoughts) = (String::new(), String::new());
    let mut flush_at: Option<tokio::time::Instant> = None;
    loop {
        let next = tokio::select! {
            () = cx.stopped() => return Err(cx.stop().unwrap_or(Stop::Cancelled)),
            () = async { tokio::time::sleep_until(flush_at.unwrap_or_else(tokio::time::Instant::now)).await }, if flush_at.is_some() => None,
            event = stream.next() => Some(event),
        };
        match next {
            None => {
                flush_at = None;
                write_down(cx, &mut words, &mut thoughts).await?;
            }
            Some(Some(Ok(ModelEvent::Text(text)))) => {
                words.push_str(&text);
                flush_at = flush_at.or_else(|| Some(tokio::time::Instant::now() + DELTA_EVERY));
            }
            Some(Some(Ok(ModelEvent::Thinking(text)))) => {
                thoughts.push_str(&text);
                flush_at = flush_at.or_else(|| Some(tokio::time::Instant::now() + DELTA_EVERY));
            }
            Some(Some(Ok(ModelEvent::ToolUse { .. }))) => {}
            Some(Some(Ok(ModelEvent::Retrying { attempt, reason, .. }))) => {
                (words, thoughts, flush_at) = (String::new(), String::new(), None);
                cx.note(vec![Happening::ModelRetrying { call, attempt, reason }]).await?;
            }
            Some(Some(Ok(ModelEvent::Finished(reply)))) => {
                write_down(cx, &mut words, &mut thoughts).await?;
                return Ok(*reply);
            }
            Some(Some(Err(failure))) => return Err(ended(failure)),
            Some(None) => {
                return Err(Stop::Ended(TurnEnd::Failed, "the model's answer broke off before its end".to_owned()));
            }
        }
    }
}

async fn write_down(cx: &TurnCx, words: &mut String, thoughts: &mut String) -> Result<(), Stop> {
    let mut happened = Vec::new();
    if !thoughts.is_empty() {
        happened.push(Happening::Thought { turn: cx.number, text: std::mem::take(thoughts) });
    }
    if !words.is_empty() {
        happened.push(Happening::Delta { turn: cx.number, text: std::mem::take(words) });
    }
    if happened.is_empty() { Ok(()) } else { cx.note(happened).await }
}

/// Some models count their calls anew in each answer; in a session each call has an id of its own.
fn with_unique_calls(mut reply: Reply, call: u64) -> Reply {
    for (n, block) in reply.blocks.iter_mut().enumerate() {
        if let Block::ToolUse { id, .. } = block
            && id.len() < 16
        {
            *id = format!("call_{call}_{n}_{id}");
        }
    }
    reply
}

/// Without a model, questions are routed by their words; the answer says so.
pub(super) async fn answer_without_a_model(cx: &TurnCx, definition: &AgentDefinition) -> Result<Never, Stop> {
    if definition.needs_workspace {
        return Err(Stop::Ended(TurnEnd::Failed, super::NO_MODEL.to_owned()));
    }
    cx.look_anew().await?;
    let store = cx.platform().store();
    let Some(row) = store.session(cx.tenant(), &cx.id).await? else { return Err(Stop::Superseded) };
    let Some(turn) = row.turn else { return Err(Stop::Superseded) };
    let question = crate::routing::Question {
        message: turn.prompt.text,
        target: cx.sessions.core.parts.options.default_target.clone(),
        trace_id: Some(cx.trace_id.clone()),
        purpose: Some(reeve_types::Purpose::Diagnostic),
        ..crate::routing::Question::default()
    };
    let who = cx.who();
    let answer = tokio::select! {
        () = cx.stopped() => return Err(cx.stop().unwrap_or(Stop::Cancelled)),
        answer = cx.platform().ask(&who.principal, question) => answer?,
    };
    let mut text = answer.text;
    text.push_str("\n\n_No model is configured: this answer comes from checks that the words of the question chose._");
    let failed = answer.state == "failed";
    cx.note(vec![Happening::Message { turn: cx.number, text }]).await?;
    let end = if failed { TurnEnd::Failed } else { TurnEnd::Completed };
    let reason = if failed { "nothing could be looked at" } else { "" };
    Err(Stop::Ended(end, reason.to_owned()))
}
