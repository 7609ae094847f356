//! What the ways out implement: tools, and the inventory that knows their targets.

use futures_util::future::BoxFuture;
use reeve_types::{
    ActionClass, ActionId, Arguments, Principal, Purpose, Resource, ResourceKind, ToolOutput, ToolSpec, TraceId,
};

use crate::{Permitted, TaskCx};

/// One call of one tool: who, what, on what, with which arguments. Fixed once made.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// The action it belongs to.
    pub action_id: ActionId,
    /// The journey it belongs to.
    pub trace_id: TraceId,
    /// The tool.
    pub tool: String,
    /// Its arguments, checked against the tool's schema.
    pub arguments: Arguments,
    /// What it acts on, as the inventory describes it.
    pub resource: Resource,
    /// Who asked.
    pub principal: Principal,
    /// Why.
    pub purpose: Option<Purpose>,
}

/// Why a tool did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The target could not be reached or would not let us in.
    Unreachable,
    /// The target said no, or the thing to act on is not there. Nothing was changed.
    Failed,
    /// A limit of policy would have been exceeded. Nothing was changed.
    LimitExceeded,
    /// The arguments make no sense for this target. Nothing was changed.
    Invalid,
    /// Time ran out before anything was changed.
    Timeout,
    /// It began and nobody knows how it ended.
    Unknown,
}

impl FailureKind {
    /// The word of records and problems.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
            Self::LimitExceeded => "limit_exceeded",
            Self::Invalid => "invalid",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }
}

/// A tool's failure, in words for people.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ToolFailure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What failed, on what, and what to do next. Holds no secret.
    pub message: String,
    /// The whole text for people and models when it is longer than a sentence.
    pub report: Option<String>,
}

impl ToolFailure {
    /// A failure in one sentence.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), report: None }
    }
}

/// What a look at the world says about an effect whose outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// It took effect.
    Happened(String),
    /// It did not take effect.
    DidNotHappen(String),
    /// It cannot be told; a person must look.
    CannotTell(String),
}

/// A capability that the gate can run.
pub trait Tool: Send + Sync {
    /// What it is.
    fn spec(&self) -> &ToolSpec;

    /// How much harm this very call could do: policy decides by this, not by the spec, which names the usual case. A dry
    /// run may be milder, a statement without `WHERE` harsher.
    fn class_of(&self, arguments: &Arguments) -> ActionClass {
        let _ = arguments;
        self.spec().action_class
    }

    /// What a call acts on, in the inventory's words: usually the argument that the spec names. A tool whose target
    /// takes more than one argument to name joins them here.
    fn target_of(&self, arguments: &Arguments) -> Option<String> {
        let named = arguments.get(self.spec().target_argument.as_deref()?)?;
        named.as_str().map(str::to_owned)
    }

    /// Carries the call out. The permit holds the arguments and the limits that must be respected.
    fn run<'a>(&'a self, call: Permitted<ToolCall>, cx: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>>;

    /// Looks, without changing anything, whether an effect of unknown outcome took place.
    fn probe<'a>(&'a self, call: Permitted<ToolCall>, cx: &'a TaskCx) -> BoxFuture<'a, ProbeVerdict> {
        let _ = (call, cx);
        Box::pin(async {
            ProbeVerdict::CannotTell("this tool cannot tell afterwards whether it took effect".to_owned())
        })
    }
}

/// The target is not one that may be acted on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{target}` is not in the inventory{}", known_suffix(.known))]
pub struct UnknownTarget {
    /// The target as given, secrets masked.
    pub target: String,
    /// What the inventory does know, at most a few.
    pub known: Vec<String>,
}

fn known_suffix(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; it knows {}", known.join(", ")) }
}

/// Knows what can be acted on.
pub trait Inventory: Send + Sync {
    /// The resource that a call's target names. With no inventory set, any target is taken as it is, without tags.
    fn resolve(&self, kind: ResourceKind, target: Option<&str>) -> Result<Resource, UnknownTarget>;
}
