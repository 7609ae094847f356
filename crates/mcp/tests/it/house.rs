//! A whole platform in a temporary directory behind its real routes on a real port, and clients for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_gate::{
    FailureKind, Gate, GateOptions, Permitted, Registry, SystemClock, TaskCx, Tool, ToolCall, ToolFailure,
};
use reeve_http::{HttpOptions, McpDoors};
use reeve_platform::accounts::AccountOptions;
use reeve_platform::identity::Identity;
use reeve_platform::inventory::InventoryHolder;
use reeve_platform::policies::Policies;
use reeve_platform::sessions::{Definitions, Sessions, SessionsOptions, SessionsParts};
use reeve_platform::{IdentityProvider, Platform, PlatformOptions, PlatformParts};
use reeve_store::Store;
use reeve_testkit::models::{Scripted, ScriptedModels};
use reeve_types::{ActionClass, PrincipalKind, ResourceKind, Reversibility, TenantId, ToolOutput, ToolSpec};
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const POLICY: &str = "\
version: '1'
policies:
  - name: reads-are-free
    resources: [{type: database}, {type: platform}, {type: agent}]
    rules:
      - {action: read, effect: allow}
      - {action: destructive, effect: deny, message: nothing is destroyed here}
      - action: write
        effect: allow
        conditions: {require_approval: true}
";

/// A tool that does what its name says, for tests only; it counts how often it ran.
struct TestTool {
    spec: ToolSpec,
    runs: Arc<AtomicU64>,
}

impl Tool for TestTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run<'a>(&'a self, call: Permitted<ToolCall>, _: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>> {
        Box::pin(async move {
            let (call, _) = call.open();
            self.runs.fetch_add(1, Ordering::SeqCst);
            if call.arguments.get("fail") == Some(&Value::Bool(true)) {
                return Err(ToolFailure::new(FailureKind::Failed, "the test tool was told to fail"));
            }
            Ok(ToolOutput::with_data(format!("{} ran on {}", call.tool, call.resource.name), json!({"rows": 3})))
        })
    }
}

fn tool(name: &str, class: ActionClass, runs: &Arc<AtomicU64>) -> Arc<dyn Tool> {
    let spec = ToolSpec {
        name: name.to_owned(),
        agent: "database".to_owned(),
        description: format!("A test tool of the class {class}."),
        input_schema: json!({
            "type": "object",
            "properties": {"connection_string": {"type": "string"}, "fail": {"type": "boolean"}, "pid": {"type": "integer"}},
            "additionalProperties": false,
        }),
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
    Arc::new(TestTool { spec, runs: Arc::clone(runs) })
}

/// A running server. It ends with the test.
pub(crate) struct House {
    pub(crate) platform: Platform,
    pub(crate) address: SocketAddr,
    pub(crate) runs: Arc<AtomicU64>,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl House {
    pub(crate) async fn new(script: impl IntoIterator<Item = Scripted>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy_file = dir.path().join("policy.yaml");
        std::fs::write(&policy_file, POLICY).unwrap();
        let clock: Arc<dyn reeve_gate::Clock> = Arc::new(SystemClock);
        let store = Store::open(&dir.path().join("data"), Arc::clone(&clock)).unwrap();
        let (policies, set) = Policies::load(vec![policy_file], Arc::new(|_| None), clock.now()).unwrap();
        let inventory = Arc::new(InventoryHolder::load(None, Arc::new(|a, b| a == b)).unwrap());
        let runs = Arc::new(AtomicU64::new(0));
        let mut registry = Registry::new();
        for (name, class) in [
            ("test_look", ActionClass::Read),
            ("test_change", ActionClass::Write),
            ("test_destroy", ActionClass::Destructive),
        ] {
            registry.register(tool(name, class, &runs)).unwrap();
        }
        for tool in Sessions::tools() {
            registry.register(tool).unwrap();
        }
        let known: Arc<dyn reeve_gate::Inventory> = Arc::<InventoryHolder>::clone(&inventory);
        let ledger: Arc<dyn reeve_gate::Ledger> = Arc::new(store.clone());
        let gate = Gate::new(registry, Arc::new(set), known, ledger, Arc::clone(&clock), GateOptions::default());
        let provider = IdentityProvider::Keys;
        let identity =
            Identity::load_with(provider, store.clone(), Arc::clone(&clock), None, AccountOptions::default()).unwrap();
        let platform = Platform::new(PlatformParts {
            gate,
            store,
            identity: Arc::new(identity),
            inventory,
            policies: Arc::new(policies),
            channels: Vec::new(),
            clock,
            options: PlatformOptions::default(),
        })
        .with_sessions(SessionsParts {
            models: ScriptedModels::new(script),
            definitions: Definitions::load(None).unwrap(),
            external: None,
            options: SessionsOptions { default_target: Some("db".to_owned()), ..SessionsOptions::default() },
        });
        let stop = CancellationToken::new();
        let (runner, until) = (platform.clone(), stop.clone());
        tokio::spawn(async move { runner.run(until).await });
        let service = reeve_mcp::server::service(platform.clone(), "0.1.0");
        let mcp = McpDoors { service: Some(service), servers: None };
        let router = reeve_http::router(platform.clone(), HttpOptions { mcp, ..HttpOptions::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let until = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router) => served.unwrap(),
                () = until.cancelled() => {}
            }
        });
        Self { platform, address, runs, stop, _dir: dir }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// A key of a new user.
    pub(crate) async fn key(&self, tenant: &str, name: &str, roles: &[&str]) -> String {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let tenant: TenantId = tenant.parse().unwrap();
        let identity = self.platform.identity();
        identity.create_key(tenant, PrincipalKind::User, name.to_owned(), roles, String::new()).await.unwrap().1
    }

    /// A client of the SDK with the key of a new user.
    pub(crate) async fn user(&self, name: &str, roles: &[&str]) -> Client {
        self.client(&self.key("default", name, roles).await, modern()).await
    }

    pub(crate) async fn client(&self, key: &str, lifecycle: ClientLifecycleMode) -> Client {
        let config = StreamableHttpClientTransportConfig::with_uri(self.url()).auth_header(key);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let transport = StreamableHttpClientTransport::with_client(http, config);
        Client(ClientConfig::default().serve_with_lifecycle(transport, lifecycle).await.expect("it opens"))
    }

    pub(crate) fn runs(&self) -> u64 {
        self.runs.load(Ordering::SeqCst)
    }
}

/// The newest revision, which has no opening.
pub(crate) fn modern() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
}

/// The revision before it, which begins with `initialize`.
pub(crate) fn older() -> ClientLifecycleMode {
    ClientLifecycleMode::Initialize
}

/// A client of the SDK.
pub(crate) struct Client(pub(crate) RunningService<RoleClient, ClientConfig>);

impl Client {
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> CallToolResult {
        let arguments = arguments.as_object().cloned().expect("an object");
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let called = tokio::time::timeout(PATIENCE, self.0.call_tool(params)).await;
        called.expect("an answer in time").expect("a result")
    }

    /// The data of a result that is no error.
    pub(crate) async fn data(&self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments).await;
        assert_ne!(result.is_error, Some(true), "{result:?}");
        result.structured_content.expect("data")
    }

    /// The data of a result that is an error.
    pub(crate) async fn refused(&self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments).await;
        assert_eq!(result.is_error, Some(true), "{result:?}");
        result.structured_content.expect("data")
    }

    pub(crate) async fn tools(&self) -> Vec<String> {
        self.0.list_all_tools().await.unwrap().into_iter().map(|tool| tool.name.into_owned()).collect()
    }
}

/// The words of a result.
pub(crate) fn words(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.clone()).collect()
}
