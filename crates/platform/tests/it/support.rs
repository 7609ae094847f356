//! A platform in a directory of its own, with a tool that counts and a clock that stands still.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reeve_gate::{
    Clock, Gate, GateOptions, Permitted, ProbeVerdict, Refusal, Registry, Submission, TaskCx, Tool, ToolCall,
    ToolFailure,
};
use reeve_platform::accounts::AccountOptions;
use reeve_platform::identity::Identity;
use reeve_platform::inventory::InventoryHolder;
use reeve_platform::notify::Channel;
use reeve_platform::policies::Policies;
use reeve_platform::{IdentityProvider, Platform, PlatformError, PlatformOptions, PlatformParts};
use reeve_store::Store;
use reeve_types::{
    ActionClass, ActionId, ActionState, Approval, AuthMethod, Origin, Principal, PrincipalKind, ResourceKind,
    Reversibility, ToolOutput, ToolSpec,
};
use serde_json::{Value, json};

pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-03-02T12:00:00Z".parse().unwrap())))
    }
    pub(crate) fn forward(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }
    pub(crate) fn set(&self, at: Timestamp) {
        *self.0.lock().unwrap() = at;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
    fn random(&self) -> u128 {
        rand::random()
    }
}

/// A tool that answers with a fixed text and counts how often it ran and was looked at.
pub(crate) struct TestTool {
    spec: ToolSpec,
    answer: &'static str,
    pub(crate) runs: AtomicUsize,
    pub(crate) probes: AtomicUsize,
}

impl TestTool {
    pub(crate) fn new(name: &str, class: ActionClass, answer: &'static str) -> Arc<Self> {
        let spec = ToolSpec {
            name: name.to_owned(),
            agent: "database".to_owned(),
            description: "a tool of a test".to_owned(),
            input_schema: json!({"type": "object"}),
            action_class: class,
            resource_kind: ResourceKind::Database,
            target_argument: Some("connection_string".to_owned()),
            reversibility: Reversibility::NotNeeded,
            capabilities: Vec::new(),
            supersedes: Vec::new(),
            fleet_eligible: false,
            auto_remediation_eligible: false,
            timeout_ms: 5_000,
        };
        Arc::new(Self { spec, answer, runs: AtomicUsize::new(0), probes: AtomicUsize::new(0) })
    }
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Tool for TestTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn run<'a>(&'a self, _: Permitted<ToolCall>, _: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(ToolOutput::text(self.answer)) })
    }
    fn probe<'a>(&'a self, _: Permitted<ToolCall>, _: &'a TaskCx) -> BoxFuture<'a, ProbeVerdict> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { ProbeVerdict::CannotTell("it left no trace".to_owned()) })
    }
}

/// Reads are allowed; writes ask as many people as it says.
pub(crate) fn asks(conditions: &str) -> String {
    format!(
        "version: '1'
policies:
  - name: asks
    resources: [{{type: any}}]
    rules:
      - {{action: read, effect: allow}}
      - action: [write, destructive]
        effect: require_approval
        conditions: {{{conditions}}}
"
    )
}

/// What a house is built from.
pub(crate) struct Plan {
    pub(crate) policy: String,
    pub(crate) inventory: Option<String>,
    pub(crate) users: Option<String>,
    pub(crate) tools: Vec<Arc<TestTool>>,
    pub(crate) channels: Vec<Arc<dyn Channel>>,
    pub(crate) provider: IdentityProvider,
    pub(crate) socket: bool,
    pub(crate) accounts: AccountOptions,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            policy: asks("approval_quorum: 1"),
            inventory: None,
            users: None,
            tools: vec![TestTool::new("change", ActionClass::Write, "changed")],
            channels: Vec::new(),
            provider: IdentityProvider::Keys,
            socket: false,
            accounts: AccountOptions::default(),
        }
    }
}

pub(crate) struct House {
    pub(crate) platform: Platform,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) tool: Arc<TestTool>,
    pub(crate) dir: Arc<tempfile::TempDir>,
}

impl House {
    pub(crate) async fn new(plan: Plan) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        write(&dir.path().join("policies.yaml"), &plan.policy);
        for (name, text) in [("infrastructure.json", &plan.inventory), ("users.yaml", &plan.users)] {
            if let Some(text) = text {
                write(&dir.path().join(name), text);
            }
        }
        Self::on(dir, TestClock::new(), plan).await
    }

    /// A house on a directory that exists, as after a restart.
    pub(crate) async fn on(dir: Arc<tempfile::TempDir>, clock: Arc<TestClock>, plan: Plan) -> Self {
        let at = |name: &str, there: bool| there.then(|| dir.path().join(name));
        let as_clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let store = Store::open(&dir.path().join("data"), Arc::clone(&as_clock)).unwrap();
        let (policies, set) =
            Policies::load(vec![dir.path().join("policies.yaml")], Arc::new(|_| None), clock.now()).unwrap();
        let inventory = at("infrastructure.json", plan.inventory.is_some());
        let inventory = Arc::new(InventoryHolder::load(inventory, Arc::new(|a, b| a == b)).unwrap());
        let users = at("users.yaml", plan.users.is_some());
        let identity =
            Identity::load_with(plan.provider, store.clone(), Arc::clone(&as_clock), users, plan.accounts).unwrap();
        let mut registry = Registry::new();
        for tool in &plan.tools {
            registry.register(Arc::<TestTool>::clone(tool)).unwrap();
        }
        let gate = Gate::new(
            registry,
            Arc::new(set),
            Arc::<InventoryHolder>::clone(&inventory),
            Arc::new(store.clone()),
            Arc::clone(&as_clock),
            GateOptions::default(),
        );
        let options = PlatformOptions { base_url: None, socket: at("audit.sock", plan.socket) };
        let platform = Platform::new(PlatformParts {
            gate,
            store,
            identity: Arc::new(identity),
            inventory,
            policies: Arc::new(policies),
            channels: plan.channels,
            clock: as_clock,
            options,
        });
        platform.policies().keep_text(&platform).await;
        Self { platform, clock, tool: Arc::clone(&plan.tools[0]), dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Closes everything so that the directory can be opened again.
    pub(crate) async fn end(self) -> (Arc<tempfile::TempDir>, Arc<TestClock>) {
        self.platform.store().close().await;
        (self.dir, self.clock)
    }

    pub(crate) async fn submit(&self, who: &Principal, arguments: Value) -> Result<Submission, Refusal> {
        self.submit_tool(who, &self.tool.spec.name, arguments).await
    }

    pub(crate) async fn submit_tool(
        &self,
        who: &Principal,
        tool: &str,
        arguments: Value,
    ) -> Result<Submission, Refusal> {
        let trace = self.platform.new_trace("dt");
        let arguments = arguments.as_object().cloned().unwrap();
        match self.platform.run_tool(who, tool, arguments, None, "", trace, Origin::DirectTool, "").await {
            Ok(submission) => Ok(submission),
            Err(PlatformError::Refused(refusal)) => Err(refusal),
            Err(other) => panic!("the gate was never asked: {other}"),
        }
    }

    pub(crate) async fn question(&self, who: &Principal, arguments: Value) -> Approval {
        match self.submit(who, arguments).await {
            Ok(Submission::AwaitingApproval { approval, .. }) => *approval,
            other => panic!("people should have been asked: {other:?}"),
        }
    }

    /// Waits until an action has come so far.
    pub(crate) async fn reaches(&self, id: &ActionId, wanted: ActionState) {
        let mut records = self.platform.store().subscribe();
        let onlooker = Principal::new(PrincipalKind::User, "onlooker", AuthMethod::ApiKey);
        let wait = async {
            while self.platform.action(&onlooker, id).await.unwrap().state != wanted {
                let _ = records.recv().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{id} never is {wanted}"));
    }
}

/// Writes a file and gives it a time of its own, however fast the test is.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let age = Duration::from_secs(u64::from(rand::random::<u32>() >> 4));
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) + age).unwrap();
}

pub(crate) fn user(name: &str, roles: &[&str]) -> Principal {
    Principal::new(PrincipalKind::User, name, AuthMethod::ApiKey).with_roles(roles.iter().copied())
}

pub(crate) fn service(name: &str) -> Principal {
    Principal::new(PrincipalKind::Service, name, AuthMethod::ApiKey).with_roles(["dba"])
}

pub(crate) fn acting_for(who: Principal, whom: Principal) -> Principal {
    Principal { on_behalf_of: Some(Box::new(whom)), ..who }
}
