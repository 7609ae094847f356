//! The tools that the gate knows. They live in here and none is ever handed out: running one is the gate's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Validator;
use reeve_types::{Arguments, ToolSpec};

use crate::Tool;

/// A tool that cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Two tools have the same name.
    #[error("two tools are named `{0}`")]
    Duplicate(String),
    /// The schema of a tool's arguments is not a JSON Schema.
    #[error("the input schema of tool `{tool}` is not valid: {reason}")]
    BadSchema {
        /// The tool.
        tool: String,
        /// What is wrong with it.
        reason: String,
    },
}

pub(crate) struct Registered {
    pub(crate) tool: Arc<dyn Tool>,
    validator: Validator,
}

impl Registered {
    /// What is wrong with the arguments, one sentence each; empty when they fit. The arguments themselves are not in
    /// these sentences: one of them may hold a password.
    pub(crate) fn check(&self, arguments: &Arguments) -> Vec<String> {
        let value = serde_json::Value::Object(arguments.clone());
        self.validator
            .iter_errors(&value)
            .take(5)
            .map(|error| {
                let place = error.instance_path().to_string();
                let said = error.masked_with("it");
                if place.is_empty() { said.to_string() } else { format!("{}: {said}", place.trim_start_matches('/')) }
            })
            .collect()
    }
}

/// All tools by name.
#[derive(Default)]
pub struct Registry {
    tools: BTreeMap<String, Registered>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool.
    pub fn register(&mut self, tool: Arc<dyn Tool>) -> Result<(), RegistryError> {
        let name = tool.spec().name.clone();
        let validator = jsonschema::validator_for(&tool.spec().input_schema)
            .map_err(|e| RegistryError::BadSchema { tool: name.clone(), reason: e.to_string() })?;
        if self.tools.contains_key(&name) {
            return Err(RegistryError::Duplicate(name));
        }
        self.tools.insert(name, Registered { tool, validator });
        Ok(())
    }

    /// What each tool is, by name.
    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.tools.values().map(|entry| entry.tool.spec())
    }

    /// What one tool is.
    pub fn spec(&self, name: &str) -> Option<&ToolSpec> {
        self.tools.get(name).map(|entry| entry.tool.spec())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Registered> {
        self.tools.get(name)
    }
}
