//! How other people's servers stand, for whoever looks after them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reeve_types::Digest;
use serde::Serialize;
use serde_json::Value;

use super::pins::Pin;
use super::server::Server;
use super::{Definition, tool, usable};

/// How a server stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerReport {
    /// Its name in the configuration.
    pub name: String,
    /// `command` or `url`.
    pub way: &'static str,
    /// `connected`, `idle` (it is connected when a tool is called), `unreachable` or `never_seen`.
    pub state: &'static str,
    /// Why it cannot be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The revision of the protocol that was agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// Its tools.
    pub tools: Vec<ToolReport>,
    /// Stands for everything that it offers now; given back with the acceptance, so that what is accepted was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Whether some are offered from the next start on only.
    pub needs_restart: bool,
    /// Whether a person should look: `reeve mcp accept NAME` accepts what is there now.
    pub needs_accepting: bool,
}

/// How a tool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolState {
    /// Agents get it.
    Offered,
    /// It was accepted and is offered from the next start on.
    AfterRestart,
    /// It differs from what was pinned, and is not called.
    Changed,
    /// It was not there when the server was pinned, and is not offered.
    New,
    /// The server lists it no more.
    Gone,
    /// The configuration leaves it out.
    NotConfigured,
    /// It cannot be offered.
    Unusable,
}

/// One tool of a server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolReport {
    /// Its name there.
    pub name: String,
    /// Its name here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// How it stands.
    pub state: ToolState,
    /// How much harm it may do.
    pub action_class: &'static str,
    /// Why it cannot be offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was pinned and what is there now, member by member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Value>,
}

/// Stands for all that a server offers.
pub(super) fn digest_of(tools: &BTreeMap<String, Definition>) -> Option<Digest> {
    Digest::of_value(&serde_json::to_value(tools).ok()?).ok()
}

pub(super) fn of(
    server: &Arc<Server>,
    pins: Option<BTreeMap<String, Pin>>,
    offered: &BTreeMap<(String, String), Digest>,
    connected: bool,
) -> ServerReport {
    let seen = server.seen();
    let state = match (&pins, &seen.trouble, connected) {
        (_, Some(_), _) => "unreachable",
        (None, ..) => "never_seen",
        (_, _, true) => "connected",
        _ => "idle",
    };
    let pins = pins.unwrap_or_default();
    let now = seen.tools.as_ref();
    let names: BTreeSet<&String> = pins.keys().chain(now.into_iter().flat_map(BTreeMap::keys)).collect();
    let tools: Vec<ToolReport> = names
        .into_iter()
        .map(|name| {
            let given = offered.get(&(server.name().to_owned(), name.clone()));
            tool_report(server, name, pins.get(name), now, given)
        })
        .collect();
    let found = now.and_then(digest_of).map(|digest| digest.to_string());
    let (server_said, protocol_version) = seen.about.unzip();
    ServerReport {
        name: server.name().to_owned(),
        way: server.settings.way(),
        state,
        reason: seen.trouble,
        server: server_said,
        protocol_version,
        found,
        needs_restart: tools.iter().any(|tool| tool.state == ToolState::AfterRestart),
        needs_accepting: tools.iter().any(|tool| matches!(tool.state, ToolState::Changed | ToolState::New)),
        tools,
    }
}

fn tool_report(
    server: &Arc<Server>,
    name: &str,
    pin: Option<&Pin>,
    now: Option<&BTreeMap<String, Definition>>,
    given: Option<&Digest>,
) -> ToolReport {
    let found = now.and_then(|tools| tools.get(name));
    let definition = pin.map(|pin| &pin.definition).or(found);
    let class = definition.map(|definition| tool::class_of(&server.settings, name, definition).as_str());
    let report = |state: ToolState| ToolReport {
        name: crate::wording::visible(name, 120),
        tool: tool::gate_name(server.name(), name).ok(),
        state,
        action_class: class.unwrap_or("destructive"),
        reason: None,
        difference: None,
    };
    if !server.settings.wants(name) {
        return report(ToolState::NotConfigured);
    }
    let Some(pin) = pin else { return report(ToolState::New) };
    if let Some(drifted) = &pin.drifted {
        let difference = Some(pin.definition.differences(drifted));
        return ToolReport { difference, ..report(ToolState::Changed) };
    }
    if now.is_some() && found.is_none() {
        return report(ToolState::Gone);
    }
    match (usable(server, name, &pin.definition), given) {
        (Err(why), _) => ToolReport { reason: Some(why), ..report(ToolState::Unusable) },
        (Ok((digest, _)), Some(given)) if digest == *given => report(ToolState::Offered),
        (Ok(_), _) => report(ToolState::AfterRestart),
    }
}
