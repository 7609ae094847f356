//! Which tools there are for whom: the gate's, and Reeve's own about sessions and acts.

use std::sync::Arc;

use reeve_platform::{Permission, Platform};
use reeve_types::{ActionClass, Principal, ResourceKind, Reversibility, ToolSpec};
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value};

use super::actions::ActionVerb;
use super::answers::Refused;
use super::session_words::SessionVerb;

/// What tools about sessions need. Whose sessions they may touch, the service knows.
pub(crate) const SESSIONS: Permission = Permission::UseSessions;

/// What a name leads to.
pub(crate) enum Found {
    /// A tool of the gate.
    Gate(Box<ToolSpec>),
    /// A question about an act.
    Action(ActionVerb),
    /// A tool about sessions.
    Session(SessionVerb),
    /// There is no such tool, as far as this caller is concerned.
    Nothing,
}

/// One of Reeve's own tools, in words.
pub(crate) struct OwnTool {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) properties: Value,
    pub(crate) required: &'static [&'static str],
    pub(crate) permission: Permission,
    pub(crate) class: ActionClass,
    /// Whether doing it twice is the same as doing it once.
    pub(crate) idempotent: bool,
}

impl OwnTool {
    fn tool(self) -> Tool {
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("properties".to_owned(), self.properties);
        if !self.required.is_empty() {
            schema.insert("required".to_owned(), self.required.into());
        }
        schema.insert("additionalProperties".to_owned(), false.into());
        Tool::new(self.name, self.description, Arc::new(schema)).with_annotations(hints(self.class, self.idempotent))
    }
}

/// Every tool that a caller may ask for, by name.
pub(crate) fn tools_for(platform: &Platform, caller: &Principal) -> Vec<Tool> {
    let gate = platform.gate().specs().filter(|spec| is_offered(spec) && permission_of(spec).allows(caller));
    let actions = ActionVerb::ALL.into_iter().map(ActionVerb::words);
    let sessions = SessionVerb::ALL.into_iter().map(SessionVerb::words).filter(|_| platform.sessions().is_some());
    let mut tools: Vec<Tool> = actions
        .chain(sessions)
        .filter(|own| own.permission.allows(caller))
        .map(OwnTool::tool)
        .chain(gate.map(of_spec))
        .collect();
    tools.sort_by(|one, other| one.name.cmp(&other.name));
    tools.dedup_by(|one, other| one.name == other.name);
    tools
}

/// What a name leads to for a caller; refused when it is there and they may not use it.
pub(crate) fn find(platform: &Platform, caller: &Principal, name: &str) -> Result<Found, Refused> {
    let allowed = |permission: Permission, found: Found| {
        if permission.allows(caller) { Ok(found) } else { Err(Refused::lacks(caller, permission)) }
    };
    if let Some(verb) = ActionVerb::ALL.into_iter().find(|verb| verb.words().name == name) {
        return allowed(verb.words().permission, Found::Action(verb));
    }
    if let Some(verb) = SessionVerb::ALL.into_iter().find(|verb| verb.words().name == name) {
        return allowed(verb.words().permission, Found::Session(verb));
    }
    match platform.gate().spec(name).filter(|spec| is_offered(spec)) {
        Some(spec) => allowed(permission_of(spec), Found::Gate(Box::new(spec.clone()))),
        None => Ok(Found::Nothing),
    }
}

/// What agents ask of the one they work for is a question of a session's, not something to call.
fn is_offered(spec: &ToolSpec) -> bool {
    spec.resource_kind != ResourceKind::Agent
}

/// What a caller must be allowed to do to ask for a tool: the same as over HTTP.
fn permission_of(spec: &ToolSpec) -> Permission {
    match spec.resource_kind {
        ResourceKind::Workspace => Permission::UseWorkspaces,
        kind => Permission::to_run(kind),
    }
}

fn of_spec(spec: &ToolSpec) -> Tool {
    let schema = match &spec.input_schema {
        Value::Object(schema) => schema.clone(),
        _ => Map::new(),
    };
    let mut description = spec.description.clone();
    if let Reversibility::Irreversible { reason } = &spec.reversibility {
        description.push_str(&format!(" It cannot be undone: {reason}"));
    }
    // A look changes nothing however often it is repeated; of changes nobody has said so.
    let idempotent = !spec.action_class.mutates();
    Tool::new(spec.name.clone(), description, Arc::new(schema)).with_annotations(hints(spec.action_class, idempotent))
}

fn hints(class: ActionClass, idempotent: bool) -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(class == ActionClass::Read)
        .destructive(class == ActionClass::Destructive)
        .idempotent(idempotent)
        .open_world(false)
}
