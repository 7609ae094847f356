//! Permits for tests of drivers: each comes out of a real gate, through a tool that hands it out instead of using it.
#![expect(clippy::panic, reason = "a test that cannot have its permit must fail with a sentence")]

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use reeve_gate::{FailureKind, Permitted, TaskCx, Tool, ToolCall, ToolFailure};
use reeve_types::{ActionClass, Arguments, ResourceKind, Reversibility, ToolOutput, ToolSpec};
use serde_json::json;

use crate::gate::TestGate;

/// What a permit is for, before its type is known again.
type Effect = Box<dyn Any + Send>;

const TOOL: &str = "hand_out_permit";

/// Mints permits for whatever a test wants a driver to do.
pub struct Permits {
    gate: TestGate,
    desk: Arc<Desk>,
}

/// Where effects wait for their call, and permits for whoever asked.
struct Desk {
    spec: ToolSpec,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    next: u64,
    wanted: HashMap<String, Effect>,
    granted: HashMap<String, Permitted<Effect>>,
}

impl Desk {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(&self, call: Permitted<ToolCall>) -> Result<ToolOutput, ToolFailure> {
        let number = number_of(&call.call().arguments);
        let effect = self.kept().wanted.remove(&number);
        let permit = call.narrow(|_| {
            effect.ok_or_else(|| ToolFailure::new(FailureKind::Invalid, format!("nobody wants permit {number}")))
        })?;
        self.kept().granted.insert(number, permit);
        Ok(ToolOutput::text("handed out"))
    }
}

fn number_of(arguments: &Arguments) -> String {
    arguments.get("number").and_then(|number| number.as_str()).unwrap_or_default().to_owned()
}

impl Tool for Desk {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run<'a>(&'a self, call: Permitted<ToolCall>, _: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>> {
        Box::pin(async move { self.hand_out(call) })
    }
}

impl Default for Permits {
    fn default() -> Self {
        Self::new()
    }
}

impl Permits {
    /// A gate that permits everything, and the tool that hands permits out.
    pub fn new() -> Self {
        let spec = ToolSpec {
            name: TOOL.to_owned(),
            agent: "test".to_owned(),
            description: "Hands its permit out to a test.".to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {"number": {"type": "string"}},
                "required": ["number"],
            }),
            action_class: ActionClass::Write,
            resource_kind: ResourceKind::Workspace,
            target_argument: None,
            reversibility: Reversibility::NotNeeded,
            capabilities: Vec::new(),
            supersedes: Vec::new(),
            fleet_eligible: false,
            auto_remediation_eligible: false,
            timeout_ms: 60_000,
        };
        let desk = Arc::new(Desk { spec, kept: Mutex::default() });
        let tool: Arc<dyn Tool> = Arc::<Desk>::clone(&desk);
        Self { gate: TestGate::new(vec![tool]), desk }
    }

    /// A permit for one effect.
    pub async fn permit<E: Send + 'static>(&self, effect: E) -> Permitted<E> {
        let number = {
            let mut kept = self.desk.kept();
            kept.next += 1;
            let number = kept.next.to_string();
            kept.wanted.insert(number.clone(), Box::new(effect));
            number
        };
        if let Err(failure) = self.gate.call(TOOL, json!({"number": number})).await {
            panic!("no permit was handed out: {failure}");
        }
        let Some(permit) = self.desk.kept().granted.remove(&number) else { panic!("permit {number} is gone") };
        match permit.narrow(|effect| effect.downcast::<E>().map(|effect| *effect)) {
            Ok(permit) => permit,
            Err(_) => panic!("permit {number} is for something else"),
        }
    }
}
