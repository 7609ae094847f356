//! Answering what a model calls: looks beside each other, changes in order, each an act that is on disk before it begins.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt as _;
use reeve_gate::masked_arguments;
use reeve_types::session::{FileDiff, Happening, INLINE_RESULT_BYTES_MAX, PermissionMode};
use reeve_types::{ActionId, Arguments, Digest};
use serde_json::{Value, json};

use super::asking::Outcome;
use super::permission::PERMISSION_TOOL;
use super::spent::Spent;
use super::tools::{Kit, Route, Verb, purpose_in, title_of, told_of_program};
use super::transcript::OpenCall;
use super::turn::{Stop, TurnCx};

/// Longest detail of a question, in characters.
const DETAIL_CHARS_MAX: usize = 8000;
/// Calls that only look which run at the same time.
const LOOKS_AT_ONCE: usize = 4;

/// Answers what the model called: looks beside each other, everything else in order.
pub(super) async fn answer_calls(
    cx: &Arc<TurnCx>,
    kit: &Kit,
    calls: Vec<OpenCall>,
    spent: &mut Spent,
) -> Result<Vec<Happening>, Stop> {
    let mut all = Vec::with_capacity(calls.len());
    let mut waiting: VecDeque<OpenCall> = calls.into();
    while let Some(first) = waiting.pop_front() {
        let looks = |call: &OpenCall| kit.route(&call.name).is_some_and(Route::only_looks);
        let mut group = vec![first];
        while looks(&group[0]) && waiting.front().is_some_and(looks) {
            group.extend(waiting.pop_front());
        }
        let answers = futures_util::stream::iter(group.clone())
            .map(|call| async move { answer(cx, kit, &call).await })
            .buffered(LOOKS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        for (call, answer) in group.iter().zip(answers) {
            let Answered { called, finished } = answer?;
            let counted = match &finished {
                Happening::ToolFinished { is_error, content, .. } => spent.count_end(call, is_error.then_some(content)),
                _ => Ok(()),
            };
            all.extend(called.into_iter().chain([finished]));
            counted?;
        }
    }
    Ok(all)
}

/// A call that was answered, as it was written down.
pub(super) struct Answered {
    /// Its beginning, when it began here and not before a crash.
    called: Option<Happening>,
    /// Its end.
    pub(super) finished: Happening,
}

/// One call, from what the model wants to what comes back. What comes back is written down.
pub(super) async fn answer(cx: &TurnCx, kit: &Kit, call: &OpenCall) -> Result<Answered, Stop> {
    cx.look_anew().await?;
    let mut called = None;
    let mut begin = async |kind: &str, action_id: Option<ActionId>| begin(cx, call, kind, action_id, &mut called).await;
    let (outcome, diffs) = match kit.route(&call.name) {
        None => {
            begin("other", None).await?;
            let name: String = call.name.chars().take(80).collect();
            (Outcome::failed(format!("there is no tool `{name}`; there are {}", kit.names())), Vec::new())
        }
        Some(_) if !call.input.is_object() => {
            begin("other", None).await?;
            (Outcome::failed("the arguments are no JSON object; call the tool again with one"), Vec::new())
        }
        Some(Route::Recall) => {
            begin("read", None).await?;
            (cx.recall(&call.input).await, Vec::new())
        }
        Some(route @ Route::Statement) => {
            begin(route.kind(), None).await?;
            (super::claims::answer_statement(cx, &call.input).await?, Vec::new())
        }
        Some(Route::Workspace(verb)) if kit.route(&call.name).is_some_and(Route::only_looks) => {
            begin("read", None).await?;
            (cx.look(*verb, &call.input).await, Vec::new())
        }
        Some(route @ Route::Workspace(Verb::CloseTerminal)) => {
            begin(route.kind(), None).await?;
            (cx.close_terminal(&call.input).await, Vec::new())
        }
        Some(route @ Route::Workspace(verb)) => {
            let action_id = begin(route.kind(), Some(new_action(cx))).await?;
            in_workspace(cx, call, route, *verb, action_id).await?
        }
        Some(route @ Route::Gate(spec)) => {
            let action_id = begin(route.kind(), Some(new_action(cx))).await?;
            let action_id = action_id.unwrap_or_else(|| new_action(cx));
            let mut arguments = arguments_of(cx, spec, call);
            let outcome = match purpose_in(spec, &mut arguments) {
                Ok(purpose) => cx.act(&call.id, &action_id, &spec.name, arguments, purpose).await?,
                Err(reason) => Outcome::failed(reason),
            };
            (outcome, Vec::new())
        }
    };
    let finished = finish(cx, call, outcome, diffs).await?;
    Ok(Answered { called, finished })
}

fn new_action(cx: &TurnCx) -> ActionId {
    let clock = cx.platform().clock();
    ActionId::new(clock.now(), clock.random())
}

/// The model's arguments. With exactly one database to look at, or a default one, it need not name it.
fn arguments_of(cx: &TurnCx, spec: &reeve_types::ToolSpec, call: &OpenCall) -> Arguments {
    let mut arguments = call.input.as_object().cloned().unwrap_or_default();
    if let (Some(key), Some(target)) = (&spec.target_argument, &cx.sessions.core.parts.options.default_target)
        && spec.resource_kind == reeve_types::ResourceKind::Database
        && !arguments.contains_key(key)
    {
        arguments.insert(key.clone(), json!(target));
    }
    arguments
}

/// Writes down that a call begins, under which action; a call that was begun before a crash keeps its own.
async fn begin(
    cx: &TurnCx,
    call: &OpenCall,
    kind: &str,
    action_id: Option<ActionId>,
    called: &mut Option<Happening>,
) -> Result<Option<ActionId>, Stop> {
    if let Some(begun) = &call.begun {
        return Ok(begun.clone());
    }
    let arguments = match call.input.as_object() {
        Some(arguments) => Value::Object(masked_arguments(arguments, Some("connection_string"))),
        None => call.input.clone(),
    };
    let begun = Happening::ToolCalled {
        turn: cx.number,
        call_id: call.id.clone(),
        tool: call.name.clone(),
        title: title_of(&call.name, &call.input),
        kind: kind.to_owned(),
        arguments,
        action_id: action_id.clone(),
    };
    cx.note(vec![begun.clone()]).await?;
    *called = Some(begun);
    Ok(action_id)
}

/// A change in the workspace: prepared, asked of the owner where the session's mode says so, then carried out.
async fn in_workspace(
    cx: &TurnCx,
    call: &OpenCall,
    route: &Route,
    verb: Verb,
    action_id: Option<ActionId>,
) -> Result<(Outcome, Vec<FileDiff>), Stop> {
    let action_id = action_id.unwrap_or_else(|| new_action(cx));
    if cx.mode() == PermissionMode::Plan {
        let refused = "This session only plans: files are not changed and programs are not run. Say what you would do.";
        return Ok((Outcome::failed(refused), Vec::new()));
    }
    let begun = cx.platform().store().action_of(cx.tenant(), &action_id).await?.is_some();
    let prepared = match cx.prepare(verb, &call.input).await {
        Ok(prepared) => prepared,
        // What was begun is found by its id, whatever the file looks like now.
        Err(_) if begun => super::tools::Prepared {
            tool: verb.act(),
            arguments: Arguments::new(),
            diffs: Vec::new(),
            detail: String::new(),
        },
        Err(reason) => return Ok((Outcome::failed(reason), Vec::new())),
    };
    if !begun && route.asks(cx.mode()) {
        let asked = ask_owner(cx, call, &action_id, route.kind(), &prepared.detail).await?;
        if asked.is_error {
            return Ok((asked, Vec::new()));
        }
    }
    let outcome = cx.act(&call.id, &action_id, prepared.tool, prepared.arguments, None).await?;
    if outcome.is_error {
        return Ok((outcome, Vec::new()));
    }
    let (content, is_error) = match verb {
        Verb::RunCommand => told_of_program(outcome.data, outcome.content),
        Verb::OpenTerminal => (cx.told_of_opened(outcome.data).await, false),
        Verb::TypeInTerminal => (cx.told_of_typed(outcome.data).await, false),
        _ => return Ok((outcome, prepared.diffs)),
    };
    Ok((Outcome { is_error, content, data: None, record: outcome.record }, Vec::new()))
}

/// Asks the one the agent works for whether it may do this. A question that was asked before a crash is found again, as
/// long as it is about the same change.
async fn ask_owner(
    cx: &TurnCx,
    call: &OpenCall,
    action_id: &ActionId,
    kind: &str,
    detail: &str,
) -> Result<Outcome, Stop> {
    let arguments = json!({
        "agent": cx.session.agent, "session_id": cx.id, "call_id": call.id, "tool": call.name, "kind": kind,
        "title": title_of(&call.name, &call.input), "detail": detail.chars().take(DETAIL_CHARS_MAX).collect::<String>(),
    });
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let mut question = action_id.question();
    if let Some(asked) = cx.platform().store().action_of(cx.tenant(), &question).await?
        && asked.arguments.get("detail") != arguments.get("detail")
    {
        if let Some(approval_id) = &asked.approval_id {
            cx.withdraw(&call.id, approval_id, "what it was about has changed since").await?;
        }
        question = new_action(cx);
    }
    cx.act(&call.id, &question, PERMISSION_TOOL, arguments, None).await
}

/// Writes down what came back; a text too long for an event is kept beside it.
async fn finish(cx: &TurnCx, call: &OpenCall, outcome: Outcome, diffs: Vec<FileDiff>) -> Result<Happening, Stop> {
    let (content, whole) = cx.fitting(outcome.content).await?;
    let finished = Happening::ToolFinished {
        call_id: call.id.clone(),
        is_error: outcome.is_error,
        content,
        whole,
        record: outcome.record,
        diffs: if diffs.iter().all(|diff| diff.new.len() + diff.old.as_ref().map_or(0, String::len) < 256 * 1024) {
            diffs
        } else {
            Vec::new()
        },
    };
    cx.note(vec![finished.clone()]).await?;
    Ok(finished)
}

impl TurnCx {
    /// A text as events hold it, and where the whole of it is when it was cut.
    pub(super) async fn fitting(&self, text: String) -> Result<(String, Option<Digest>), Stop> {
        if text.len() <= INLINE_RESULT_BYTES_MAX {
            return Ok((text, None));
        }
        let cut = (0..=INLINE_RESULT_BYTES_MAX / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (head, length) = (text[..cut].to_owned(), text.chars().count());
        let digest = self.platform().store().keep_session_text(&self.id, text).await?;
        let note = format!(
            "\n[cut: the whole result has {length} characters; read more with read_kept_result, result \"{digest}\", from {}]",
            head.chars().count()
        );
        Ok((head + &note, Some(digest)))
    }
}
