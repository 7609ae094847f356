//! A tool of somebody else's server as a tool of the gate: what was pinned is what is offered, and nothing else is called.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reeve_gate::{FailureKind, Permitted, TaskCx, Tool, ToolCall, ToolFailure};
use reeve_types::{ActionClass, Digest, ResourceKind, Reversibility, ToolOutput, ToolSpec};
use serde_json::{Map, Value};

use super::server::Server;
use super::settings::ServerSettings;
use super::{Definition, link, outcome};
use crate::wording::visible;

/// Longest description that models get, in characters.
const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// Longest description of one argument, in characters.
const MEMBER_CHARS_MAX: usize = 1_000;
/// How deep a schema may be nested.
const DEPTH_MAX: usize = 32;
/// Longest name of a tool that every model takes.
const NAME_BYTES_MAX: usize = 64;

/// A pinned tool of one server.
pub(super) struct RemoteTool {
    pub(super) server: Arc<Server>,
    /// Its name there.
    pub(super) name: String,
    /// What was pinned when this process began.
    pub(super) digest: Digest,
    pub(super) spec: ToolSpec,
}

impl Tool for RemoteTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run<'a>(&'a self, call: Permitted<ToolCall>, cx: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>> {
        Box::pin(async move {
            let server = self.server.name();
            let peer = match self.server.ready(&self.name, self.digest, cx.remaining()).await {
                Ok(peer) => peer,
                Err(failure) => return Err(failure),
            };
            let (call, _) = call.open();
            let mutates = self.spec.action_class.mutates();
            let cut_off = |kind: FailureKind, why: &str| {
                let kind = if mutates { FailureKind::Unknown } else { kind };
                Err(ToolFailure::new(kind, format!("`{}` of the MCP server `{server}` {why}", self.name)))
            };
            tokio::select! {
                answered = link::call(&peer, &self.name, call.arguments) => {
                    outcome::of_call(server, &self.name, mutates, answered)
                }
                () = cx.cancelled().cancelled() => cut_off(FailureKind::Failed, "was called off before it answered"),
                () = tokio::time::sleep_until(cx.deadline()) => cut_off(FailureKind::Timeout, "did not answer in time"),
            }
        })
    }
}

/// How much harm a tool may do: what it says of itself, never believed below a change unless the configuration says so.
pub(super) fn class_of(settings: &ServerSettings, name: &str, definition: &Definition) -> ActionClass {
    let named = |list: &[String]| list.iter().any(|one| one == name);
    if named(&settings.read) {
        return ActionClass::Read;
    }
    // Who says nothing may destroy: so the protocol has it.
    let harmless = definition.read_only == Some(true) || definition.destructive == Some(false);
    if named(&settings.write) || harmless { ActionClass::Write } else { ActionClass::Destructive }
}

/// The tool as the gate offers it, or why it cannot be offered.
pub(super) fn spec_of(
    server: &str,
    settings: &ServerSettings,
    name: &str,
    definition: &Definition,
) -> Result<ToolSpec, String> {
    let gate_name = gate_name(server, name)?;
    let input_schema = schema(&definition.input_schema)?;
    let class = class_of(settings, name, definition);
    let said = visible(definition.description.trim(), DESCRIPTION_CHARS_MAX);
    let description = format!("`{name}` of the MCP server `{server}`, in its words: {said}");
    let reversibility = match class {
        ActionClass::Read => Reversibility::NotNeeded,
        _ => Reversibility::Irreversible { reason: format!("the MCP server `{server}` has not said how to undo it.") },
    };
    Ok(ToolSpec {
        name: gate_name,
        agent: format!("mcp:{server}"),
        description,
        input_schema,
        action_class: class,
        resource_kind: ResourceKind::Platform,
        target_argument: None,
        reversibility,
        capabilities: Vec::new(),
        supersedes: Vec::new(),
        fleet_eligible: false,
        auto_remediation_eligible: false,
        timeout_ms: u64::try_from(settings.timeout().as_millis()).unwrap_or(u64::MAX),
    })
}

/// `SERVER__TOOL`, in the letters that every model takes.
pub(super) fn gate_name(server: &str, tool: &str) -> Result<String, String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = format!("{server}__{}", tool.chars().map(plain).collect::<String>());
    if tool.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("its name would be longer than {NAME_BYTES_MAX} characters"));
    }
    Ok(name)
}

/// A schema that the gate and models can be given: no references to elsewhere, nothing hidden in its words.
fn schema(given: &Value) -> Result<Value, String> {
    let Value::Object(members) = given else { return Err("its schema is no object".to_owned()) };
    let mut members = members.clone();
    // Some servers leave it out for tools without arguments.
    members.entry("type").or_insert_with(|| "object".into());
    if members.get("type") != Some(&Value::from("object")) {
        return Err("its arguments are no object".to_owned());
    }
    clean(&Value::Object(members), 0)
}

fn clean(value: &Value, depth: usize) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err(format!("its schema is nested deeper than {DEPTH_MAX} levels"));
    }
    Ok(match value {
        Value::Object(members) => {
            let mut kept = Map::new();
            for (key, member) in members {
                match (key.as_str(), member) {
                    ("$ref" | "$dynamicRef", Value::String(to)) if !to.starts_with('#') => {
                        return Err("its schema refers to another document".to_owned());
                    }
                    // Copies an argument into a header on the way; whoever relays calls must decide that, not the server.
                    ("x-mcp-header", _) => continue,
                    ("description" | "title" | "$comment", Value::String(text)) => {
                        kept.insert(key.clone(), visible(text, MEMBER_CHARS_MAX).into());
                    }
                    _ => {
                        kept.insert(key.clone(), clean(member, depth + 1)?);
                    }
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| clean(item, depth + 1)).collect::<Result<_, _>>()?),
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(read_only: Option<bool>, destructive: Option<bool>) -> Definition {
        let input_schema = json!({"type": "object"});
        Definition {
            description: String::new(),
            title: None,
            input_schema,
            output_schema: None,
            read_only,
            destructive,
        }
    }

    #[test]
    fn no_tool_is_a_mere_look_because_it_says_so() {
        let settings = ServerSettings { read: vec!["look".into()], write: vec!["put".into()], ..Default::default() };
        for (name, read_only, destructive, class) in [
            ("other", Some(true), None, ActionClass::Write),
            ("other", None, Some(false), ActionClass::Write),
            ("other", None, None, ActionClass::Destructive),
            ("other", Some(false), Some(true), ActionClass::Destructive),
            ("put", None, Some(true), ActionClass::Write),
            ("look", None, None, ActionClass::Read),
        ] {
            let found = class_of(&settings, name, &definition(read_only, destructive));
            assert_eq!(found, class, "{name} {read_only:?} {destructive:?}");
        }
    }

    #[test]
    fn schemas_that_lead_elsewhere_or_hide_something_are_not_offered() {
        for (given, why) in [
            (json!({"type": "object", "properties": {"a": {"$ref": "https://h/x.json"}}}), "another document"),
            (json!({"type": "array"}), "no object"),
            (json!("x"), "no object"),
        ] {
            assert!(schema(&given).unwrap_err().contains(why), "{given}");
        }
        let mut deep = json!({"type": "string"});
        for _ in 0..40 {
            deep = json!({"type": "object", "properties": {"a": deep}});
        }
        assert!(schema(&deep).unwrap_err().contains("nested"));
        let cleaned =
            schema(&json!({"properties": {"a": {"description": "x\u{200b}y", "x-mcp-header": "A"}}})).unwrap();
        assert_eq!(cleaned, json!({"type": "object", "properties": {"a": {"description": "xy"}}}));
    }

    #[test]
    fn names_are_those_that_every_model_takes() {
        assert_eq!(gate_name("git-hub", "issues.create").unwrap(), "git-hub__issues_create");
        assert!(gate_name("a", &"x".repeat(80)).is_err());
    }
}
