//! How a tool is declared: its name, what it takes, and the function that does it.

use futures_util::future::BoxFuture;
use reeve_types::{ActionClass, Arguments, ResourceKind, Reversibility, ToolOutput, ToolSpec};
use serde_json::{Map, Value, json};

use super::job::Job;
use super::trouble::Trouble;

/// What a tool does with one call.
pub(super) type Body = for<'a> fn(&'a Job<'a>) -> BoxFuture<'a, Result<ToolOutput, Trouble>>;

/// The longest a look may take; several pages of a large cluster take a while.
const READ_TIMEOUT_MS: u64 = 60_000;
const CONTEXT: &str = "context";
const NAMESPACE: &str = "namespace";
/// Where what names no namespace is.
const DEFAULT_NAMESPACE: &str = "default";
/// Names of namespaces, and ids of the inventory, which may stand for one.
const NAMESPACE_PATTERN: &str = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$";
/// Names of objects (RFC 1123 subdomains), and of what is named as freely as a node of a cloud.
const NAME_PATTERN: &str = "^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$";

/// Whether a tool looks into a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// At the cluster as a whole.
    Cluster,
    /// Into a namespace; when none is given, into the one called `default`.
    Namespace,
}

/// One tool.
pub(super) struct Definition {
    pub(super) spec: ToolSpec,
    pub(super) body: Body,
    scope: Scope,
}

impl Definition {
    /// A tool that looks at a cluster.
    pub(super) fn of_cluster(name: &str, description: &str, body: Body) -> Self {
        let spec = ToolSpec {
            name: name.to_owned(),
            agent: "k8s".to_owned(),
            description: description.to_owned(),
            input_schema: json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {},
                "required": [],
                "additionalProperties": false,
            }),
            action_class: ActionClass::Read,
            resource_kind: ResourceKind::Kubernetes,
            target_argument: Some(CONTEXT.to_owned()),
            reversibility: Reversibility::NotNeeded,
            capabilities: Vec::new(),
            supersedes: Vec::new(),
            fleet_eligible: false,
            auto_remediation_eligible: false,
            timeout_ms: READ_TIMEOUT_MS,
        };
        let context = string(
            "The cluster: a context of the kubeconfig, or an id in the inventory. Left out, the inventory's entry for the namespace decides, or its only cluster; without an inventory, the current context.",
            256,
        );
        Self { spec, body, scope: Scope::Cluster }.optional(CONTEXT, context)
    }

    /// A tool that looks into a namespace, which must be given.
    pub(super) fn of_namespace(name: &str, description: &str, body: Body) -> Self {
        let schema = namespace(
            "The namespace, the id of a database in the inventory that runs in one, or `all` for every namespace.",
        );
        Self { scope: Scope::Namespace, ..Self::of_cluster(name, description, body) }.required(NAMESPACE, schema)
    }

    /// A tool that looks at one pod; the namespace may be left out.
    pub(super) fn of_pod(name: &str, description: &str, body: Body) -> Self {
        let schema = namespace(
            "The pod's namespace, or the id of a database in the inventory that runs in one; `default` when left out.",
        );
        Self { scope: Scope::Namespace, ..Self::of_cluster(name, description, body) }
            .optional(NAMESPACE, schema)
            .required("pod_name", object_name("The pod's name, as get_pods shows it."))
    }

    /// An argument that may be left out.
    pub(super) fn optional(mut self, name: &str, schema: Value) -> Self {
        self.add(name, schema);
        self
    }

    /// An argument that must be given.
    pub(super) fn required(mut self, name: &str, schema: Value) -> Self {
        self.add(name, schema);
        if let Some(required) = self.spec.input_schema.get_mut("required").and_then(Value::as_array_mut) {
            required.push(Value::String(name.to_owned()));
        }
        self
    }

    /// The words that routing looks for.
    pub(super) fn capabilities(mut self, words: &[&str]) -> Self {
        self.spec.capabilities = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    fn add(&mut self, name: &str, schema: Value) {
        if let Some(properties) = self.spec.input_schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert(name.to_owned(), schema);
        }
    }

    /// The context and the namespace that a call names.
    pub(super) fn named_by<'a>(&self, arguments: &'a Arguments) -> (Option<&'a str>, Option<&'a str>) {
        let context = text(arguments, CONTEXT);
        match self.scope {
            Scope::Cluster => (context, None),
            Scope::Namespace => (context, Some(text(arguments, NAMESPACE).unwrap_or(DEFAULT_NAMESPACE))),
        }
    }
}

/// A text argument.
pub(super) fn text<'a>(arguments: &'a Arguments, name: &str) -> Option<&'a str> {
    arguments.get(name)?.as_str()
}

/// A switch.
pub(super) fn flag(arguments: &Arguments, name: &str) -> bool {
    arguments.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// A whole number; 7 and 7.0 are the same to JSON.
pub(super) fn integer(arguments: &Arguments, name: &str) -> Option<i64> {
    let value = arguments.get(name)?;
    #[expect(clippy::cast_possible_truncation, reason = "only whole numbers within the schema's bounds get here")]
    value.as_i64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64))
}

/// A text of a limited length.
pub(super) fn string(description: &str, most: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most, "description": description })
}

/// The name of an object.
pub(super) fn object_name(description: &str) -> Value {
    named(description, 253, NAME_PATTERN)
}

fn namespace(description: &str) -> Value {
    named(description, 128, NAMESPACE_PATTERN)
}

fn named(description: &str, most: usize, pattern: &str) -> Value {
    let mut schema: Map<String, Value> = string(description, most).as_object().cloned().unwrap_or_default();
    schema.insert("pattern".to_owned(), pattern.into());
    Value::Object(schema)
}
