//! How a tool is declared: its name, what it takes, how much harm it could do, and the function that does it.

use futures_util::future::BoxFuture;
use reeve_gate::ProbeVerdict;
use reeve_types::{ActionClass, Arguments, ResourceKind, Reversibility, ToolOutput, ToolSpec};
use serde_json::{Map, Value, json};

use super::job::Job;
use super::trouble::Trouble;

/// What a tool does with one call.
pub(super) type Body = for<'a> fn(&'a Job<'a>) -> BoxFuture<'a, Result<ToolOutput, Trouble>>;
/// How a tool finds out afterwards whether it took effect.
pub(super) type Probe = for<'a> fn(&'a Job<'a>) -> BoxFuture<'a, Result<ProbeVerdict, Trouble>>;

/// The longest a read may take.
const READ_TIMEOUT_MS: u64 = 60_000;
/// The longest a change may take, unless the tool says otherwise.
const CHANGE_TIMEOUT_MS: u64 = 120_000;
/// The argument that names the database.
pub(super) const TARGET: &str = "connection_string";

/// One tool.
pub(super) struct Definition {
    pub(super) spec: ToolSpec,
    pub(super) body: Body,
    pub(super) probe: Option<Probe>,
    class: Option<fn(&Arguments) -> ActionClass>,
}

impl Definition {
    /// A tool that looks at a database.
    pub(super) fn read(name: &str, description: &str, body: Body) -> Self {
        Self::new(name, description, ActionClass::Read, Reversibility::NotNeeded, READ_TIMEOUT_MS, body)
    }

    /// A tool that changes something on a database.
    pub(super) fn change(
        name: &str,
        description: &str,
        class: ActionClass,
        reversibility: Reversibility,
        body: Body,
    ) -> Self {
        Self::new(name, description, class, reversibility, CHANGE_TIMEOUT_MS, body)
    }

    fn new(
        name: &str,
        description: &str,
        action_class: ActionClass,
        reversibility: Reversibility,
        timeout_ms: u64,
        body: Body,
    ) -> Self {
        let mut spec = ToolSpec {
            name: name.to_owned(),
            agent: "database".to_owned(),
            description: description.to_owned(),
            input_schema: json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {},
                "required": [],
                "additionalProperties": false,
            }),
            action_class,
            resource_kind: ResourceKind::Database,
            target_argument: Some(TARGET.to_owned()),
            reversibility,
            capabilities: Vec::new(),
            supersedes: Vec::new(),
            fleet_eligible: false,
            auto_remediation_eligible: false,
            timeout_ms,
        };
        add_property(
            &mut spec.input_schema,
            TARGET,
            json!({
                "type": "string",
                "minLength": 1,
                "maxLength": 4096,
                "description": "The database: its id in the inventory, or a libpq connection string or URI. Left out, the only database of the inventory is meant.",
            }),
        );
        Self { spec, body, probe: None, class: None }
    }

    /// An argument that may be left out.
    pub(super) fn optional(mut self, name: &str, schema: Value) -> Self {
        add_property(&mut self.spec.input_schema, name, schema);
        self
    }

    /// An argument that must be given.
    pub(super) fn required(mut self, name: &str, schema: Value) -> Self {
        add_property(&mut self.spec.input_schema, name, schema);
        if let Some(required) = self.spec.input_schema.get_mut("required").and_then(Value::as_array_mut) {
            required.push(Value::String(name.to_owned()));
        }
        self
    }

    /// The words that routing looks for.
    pub(super) fn capabilities(mut self, words: &[&str]) -> Self {
        self.spec.capabilities = words.iter().map(|w| (*w).to_owned()).collect();
        self
    }

    /// The tools whose answer this one contains.
    pub(super) fn supersedes(mut self, tools: &[&str]) -> Self {
        self.spec.supersedes = tools.iter().map(|t| (*t).to_owned()).collect();
        self
    }

    /// A fleet job may run it on many databases.
    pub(super) fn fleet(mut self) -> Self {
        self.spec.fleet_eligible = true;
        self
    }

    /// It may run as the automatic remedy of a playbook.
    pub(super) fn auto_remediation(mut self) -> Self {
        self.spec.auto_remediation_eligible = true;
        self
    }

    /// How long one call may take, in seconds.
    pub(super) fn timeout_secs(mut self, secs: u64) -> Self {
        self.spec.timeout_ms = secs * 1000;
        self
    }

    /// The class depends on the arguments.
    pub(super) fn class_by(mut self, class: fn(&Arguments) -> ActionClass) -> Self {
        self.class = Some(class);
        self
    }

    /// It can be told afterwards whether it took effect.
    pub(super) fn probed_by(mut self, probe: Probe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// It asks Reeve's own store and no database.
    pub(super) fn of_platform(mut self) -> Self {
        self.spec.resource_kind = ResourceKind::Platform;
        self.spec.target_argument = None;
        if let Some(properties) = properties(&mut self.spec.input_schema) {
            properties.retain(|name, _| name != TARGET);
        }
        self
    }

    pub(super) fn class_of(&self, arguments: &Arguments) -> ActionClass {
        self.class.map_or(self.spec.action_class, |class| class(arguments))
    }
}

fn properties(schema: &mut Value) -> Option<&mut Map<String, Value>> {
    schema.get_mut("properties").and_then(Value::as_object_mut)
}

fn add_property(schema: &mut Value, name: &str, property: Value) {
    if let Some(properties) = properties(schema) {
        properties.insert(name.to_owned(), property);
    }
}

/// A whole number between two bounds.
pub(super) fn integer(description: &str, least: i64, most: i64, default: Option<i64>) -> Value {
    let mut schema = json!({ "type": "integer", "minimum": least, "maximum": most, "description": description });
    if let (Some(default), Some(object)) = (default, schema.as_object_mut()) {
        object.insert("default".to_owned(), json!(default));
    }
    schema
}

/// A text of a limited length.
pub(super) fn string(description: &str, most: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most, "description": description })
}

/// A moment.
pub(super) fn moment(description: &str) -> Value {
    json!({ "type": "string", "minLength": 10, "maxLength": 64, "description": description })
}

/// Yes or no.
pub(super) fn boolean(description: &str, default: bool) -> Value {
    json!({ "type": "boolean", "default": default, "description": description })
}

/// The process id of a session.
pub(super) fn pid() -> Value {
    integer(
        "Process id of the session, as get_active_connections or get_blocking_queries show it.",
        1,
        i64::from(i32::MAX),
        None,
    )
}
