//! The gate's tools in the hands of an external agent: the same kit that agents of ours have, without the verbs of the
//! workspace, which it has hands of its own for.
//!
//! A call is answered as any call of an agent is: told as an event under its act's id, asked of the gate, waited for while
//! people decide, ended with its record. Programs of other people do not wait as long as people take; a call that takes
//! long is answered with a word by which it is waited for further.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_types::model::ModelTool;
use reeve_types::session::Happening;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::peer::{Peer, new_action};
use super::{OfferedTool, SessionTools, ToolAnswer};
use crate::sessions::calls::answer;
use crate::sessions::deeds::Deeds;
use crate::sessions::lock;
use crate::sessions::tools::Kit;
use crate::sessions::transcript::OpenCall;
use crate::sessions::turn::{Stop, TurnCx, events_after};

/// The tool by which a call is waited for further.
const WAIT_TOOL: &str = "wait_for_call";
/// How long one request waits: less than the minute after which many programs give up.
const PATIENCE: Duration = Duration::from_secs(45);
/// Most calls of one agent that are under way.
const CALLS_MAX: usize = 64;

/// The tools of one running agent.
#[derive(Clone)]
pub(super) struct Toolbox(Arc<Inner>);

struct Inner {
    peer: Weak<Peer>,
    wanted: Vec<String>,
    /// What was offered last: between turns nobody's rights are looked at.
    offered: Mutex<Vec<OfferedTool>>,
    under_way: Mutex<HashMap<String, watch::Receiver<Option<ToolAnswer>>>>,
    patience: Duration,
}

impl Toolbox {
    /// What is wanted, as far as the owner of the turn in flight may use it; `None` when that is nothing.
    pub(super) fn of(peer: Arc<Peer>, wanted: &[String]) -> Option<Arc<dyn SessionTools>> {
        let offered = offered(&kit(&*peer.cx()?, wanted));
        if offered.is_empty() {
            return None;
        }
        Some(Arc::new(Self(Arc::new(Inner {
            peer: Arc::downgrade(&peer),
            wanted: wanted.to_vec(),
            offered: Mutex::new(offered),
            under_way: Mutex::default(),
            patience: PATIENCE,
        }))))
    }

    /// Begins a call, on a task of its own: it ends in the session's events, whoever waits for it.
    fn begin(&self, tool: &str, input: Value) -> Result<(String, watch::Receiver<Option<ToolAnswer>>), ToolAnswer> {
        let gone = || refused("the session is gone");
        let peer = self.0.peer.upgrade().ok_or_else(gone)?;
        let cx = peer.cx().ok_or_else(|| refused("no turn is in flight; nothing is done between turns"))?;
        let call = OpenCall { id: format!("call_{}", new_action(&cx)), name: tool.to_owned(), input, begun: None };
        let id = call.id.clone();
        let (told, answered) = watch::channel(None);
        {
            let mut under_way = lock(&self.0.under_way);
            if under_way.len() >= CALLS_MAX {
                // Ends that nobody asked for make room.
                under_way.retain(|_, answered| answered.borrow().is_none());
            }
            if under_way.len() >= CALLS_MAX {
                return Err(refused(&format!("{CALLS_MAX} calls are under way; wait for one with `{WAIT_TOOL}`")));
            }
            under_way.insert(id.clone(), answered.clone());
        }
        let wanted = self.0.wanted.clone();
        let tasks = peer.sessions.core.tasks.clone();
        tasks.spawn(async move {
            let answer = peer.call(&wanted, &call).await;
            told.send_replace(Some(answer));
        });
        Ok((id, answered))
    }

    /// Waits for a call, for a while.
    async fn wait(&self, id: &str, mut answered: watch::Receiver<Option<ToolAnswer>>) -> ToolAnswer {
        match tokio::time::timeout(self.0.patience, answered.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => {
                lock(&self.0.under_way).remove(id);
                answer.clone().unwrap_or_else(|| refused("it has no answer"))
            }
            Ok(Err(_)) => {
                lock(&self.0.under_way).remove(id);
                refused("it was cut off; look before you call it again")
            }
            Err(_) => ToolAnswer {
                is_error: false,
                content: format!(
                    "It has not ended yet: people may have to approve it first. Do not call it again; call `{WAIT_TOOL}` \
                     with call \"{id}\" to wait for its end."
                ),
                record: None,
            },
        }
    }
}

impl SessionTools for Toolbox {
    fn list(&self) -> Vec<OfferedTool> {
        let cx = self.0.peer.upgrade().and_then(|peer| peer.cx());
        let mut known = lock(&self.0.offered);
        if let Some(cx) = cx {
            *known = offered(&kit(&cx, &self.0.wanted));
        }
        known.clone()
    }

    fn call(&self, tool: &str, input: Value) -> BoxFuture<'static, ToolAnswer> {
        let (this, tool) = (self.clone(), tool.to_owned());
        Box::pin(async move {
            if tool != WAIT_TOOL {
                return match this.begin(&tool, input) {
                    Ok((id, answered)) => this.wait(&id, answered).await,
                    Err(refused) => refused,
                };
            }
            let id = input.get("call").and_then(Value::as_str).unwrap_or_default();
            let answered = lock(&this.0.under_way).get(id).cloned();
            match answered {
                Some(answered) => this.wait(id, answered).await,
                None => refused("no such call is under way, or its end was told already"),
            }
        })
    }
}

impl Peer {
    /// Answers a call of a tool, from its event to its record.
    async fn call(&self, wanted: &[String], call: &OpenCall) -> ToolAnswer {
        let _busy = self.heard.busy();
        let cx = match self.turn_cx().await {
            Ok(cx) => cx,
            Err(reason) => return refused(&reason),
        };
        self.flush(true).await;
        let kit = kit(&cx, wanted);
        let answered = match answer(&cx, &kit, call).await {
            Ok(answered) => answered,
            Err(Stop::Ended(_, reason)) => return refused(&reason),
            Err(_) => return refused("the turn has ended before this has"),
        };
        let Happening::ToolFinished { is_error, content, record, .. } = answered.finished else {
            return refused("it has no end");
        };
        // The agent tells of the call, too; what it tells is led to the same record.
        if let Some(told) = self.told_as(&call.name, &call.input) {
            self.has_record(&told, record.clone());
        }
        // By this number the agent can say later what it did.
        let events =
            if kit.takes_statements() { events_after(&cx, cx.after).await.unwrap_or_default() } else { Vec::new() };
        let content = match Deeds::of(&events).act_of(&call.id) {
            Some(act) => format!("[act {act}]\n{content}"),
            None => content,
        };
        ToolAnswer { is_error, content, record }
    }
}

fn kit(cx: &TurnCx, wanted: &[String]) -> Kit {
    Kit::of(wanted, cx.platform().gate().specs().filter(|spec| cx.may_run(spec)), false)
}

fn offered(kit: &Kit) -> Vec<OfferedTool> {
    let mut offered: Vec<OfferedTool> =
        kit.offered().map(|(tool, only_looks)| OfferedTool { tool: tool.clone(), only_looks }).collect();
    if !offered.is_empty() {
        offered.push(OfferedTool { tool: wait_tool(), only_looks: true });
    }
    offered
}

fn wait_tool() -> ModelTool {
    ModelTool {
        name: WAIT_TOOL.to_owned(),
        description:
            "Waits for the end of a call that was answered before it had ended, at most 45 seconds, and gives its \
                      result."
                .to_owned(),
        input_schema: json!({
            "type": "object", "additionalProperties": false, "required": ["call"],
            "properties": {"call": {"type": "string"}},
        }),
    }
}

fn refused(reason: &str) -> ToolAnswer {
    ToolAnswer { is_error: true, content: reason.to_owned(), record: None }
}
