//! A whole platform in a temporary directory, with two test tools, and a client for its router.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use futures_util::future::BoxFuture;
use reeve_gate::model::Models;
use reeve_gate::{
    FailureKind, Gate, GateOptions, Permitted, Registry, SystemClock, TaskCx, Tool, ToolCall, ToolFailure,
};
use reeve_http::{HttpOptions, RateLimits, SocketLimits, StreamLimits};
use reeve_platform::accounts::AccountOptions;
use reeve_platform::identity::Identity;
use reeve_platform::inventory::InventoryHolder;
use reeve_platform::policies::Policies;
use reeve_platform::sessions::{Definitions, Sessions, SessionsOptions, SessionsParts};
use reeve_platform::workspaces::Workspaces;
use reeve_platform::{IdentityProvider, Platform, PlatformOptions, PlatformParts};
use reeve_store::Store;
use reeve_types::{ActionClass, PrincipalKind, ResourceKind, Reversibility, TenantId, ToolOutput, ToolSpec};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const POLICY: &str = "\
version: '1'
policies:
  - name: reads-are-free
    resources: [{type: database}]
    rules:
      - {action: read, effect: allow}
      - {action: destructive, effect: deny, message: nothing is destroyed here}
      - action: write
        effect: allow
        conditions: {require_approval: true}
";

const INVENTORY: &str = r#"{"db_servers": {
    "orders": {"name": "Orders", "connection_string": "host=db1 dbname=orders password=hunter2", "tags": ["production"]},
    "billing": {"name": "Billing", "connection_string": "host=db2 dbname=billing"}
}}"#;

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
                let mut failure = ToolFailure::new(FailureKind::Failed, "the test tool was told to fail");
                failure.report = Some("the whole report of the failure".to_owned());
                return Err(failure);
            }
            Ok(ToolOutput::with_data(format!("{} looked at {}", call.tool, call.resource.name), json!({"rows": 3})))
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
        capabilities: vec!["locks".to_owned()],
        supersedes: Vec::new(),
        fleet_eligible: false,
        auto_remediation_eligible: false,
        timeout_ms: 5_000,
    };
    Arc::new(TestTool { spec, runs: Arc::clone(runs) })
}

/// What a platform for a test is made from.
pub(crate) struct Setup {
    pub(crate) provider: IdentityProvider,
    pub(crate) accounts: AccountOptions,
    pub(crate) limits: RateLimits,
    pub(crate) clock: Arc<dyn reeve_gate::Clock>,
    pub(crate) policy: &'static str,
    /// The models of sessions; without any there are no sessions.
    pub(crate) models: Option<Arc<dyn Models>>,
    pub(crate) streams: StreamLimits,
    pub(crate) sockets: SocketLimits,
    pub(crate) strict_exec: bool,
    pub(crate) token_in_address: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            provider: IdentityProvider::Keys,
            accounts: AccountOptions::default(),
            limits: RateLimits::default(),
            clock: Arc::new(SystemClock),
            policy: POLICY,
            models: None,
            streams: StreamLimits::default(),
            sockets: SocketLimits::default(),
            strict_exec: false,
            token_in_address: true,
        }
    }
}

/// What a platform stands on: a directory with its files, and its memory.
pub(crate) struct Ground {
    dir: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Ground {
    pub(crate) fn lay(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("policy.yaml"), setup.policy).unwrap();
        std::fs::write(dir.path().join("infrastructure.json"), INVENTORY).unwrap();
        let store = Store::open(&dir.path().join("data"), Arc::clone(&setup.clock)).unwrap();
        Self { dir, store }
    }
}

/// A platform for one test. Its directory goes when it is dropped.
pub(crate) struct TestPlatform {
    pub(crate) platform: Platform,
    pub(crate) router: Router,
    pub(crate) stop: CancellationToken,
    pub(crate) runs: Arc<AtomicU64>,
    pub(crate) policy_file: PathBuf,
    _dir: tempfile::TempDir,
}

impl TestPlatform {
    pub(crate) fn new() -> Self {
        Self::with(IdentityProvider::Keys)
    }

    pub(crate) fn with(provider: IdentityProvider) -> Self {
        Self::of(Setup { provider, ..Setup::default() })
    }

    pub(crate) fn of(setup: Setup) -> Self {
        let ground = Ground::lay(&setup);
        Self::on(ground, setup, None)
    }

    pub(crate) fn on(ground: Ground, setup: Setup, workspaces: Option<Workspaces>) -> Self {
        let Setup {
            provider,
            accounts,
            limits,
            clock,
            policy: _,
            models,
            streams,
            sockets,
            strict_exec,
            token_in_address,
        } = setup;
        let Ground { dir, store } = ground;
        let policy_file = dir.path().join("policy.yaml");
        let inventory_file = dir.path().join("infrastructure.json");
        let (policies, set) = Policies::load(vec![policy_file.clone()], Arc::new(|_| None), clock.now()).unwrap();
        let inventory = Arc::new(InventoryHolder::load(Some(inventory_file), Arc::new(|a, b| a == b)).unwrap());
        let runs = Arc::new(AtomicU64::new(0));
        let mut registry = Registry::new();
        for (name, class) in [
            ("test_look", ActionClass::Read),
            ("test_change", ActionClass::Write),
            ("test_destroy", ActionClass::Destructive),
        ] {
            registry.register(tool(name, class, &runs)).unwrap();
        }
        for tool in workspaces.iter().flat_map(Workspaces::tools) {
            registry.register(tool).unwrap();
        }
        if models.is_some() {
            Sessions::tools().into_iter().for_each(|tool| registry.register(tool).unwrap());
        }
        let known: Arc<dyn reeve_gate::Inventory> = Arc::<InventoryHolder>::clone(&inventory);
        let ledger: Arc<dyn reeve_gate::Ledger> = Arc::new(store.clone());
        let gate = Gate::new(registry, Arc::new(set), known, ledger, Arc::clone(&clock), GateOptions::default());
        let identity = Identity::load_with(provider, store.clone(), Arc::clone(&clock), None, accounts);
        let identity = Arc::new(identity.unwrap());
        let mut platform = Platform::new(PlatformParts {
            gate,
            store,
            identity,
            inventory,
            policies: Arc::new(policies),
            channels: Vec::new(),
            clock,
            options: PlatformOptions::default(),
        });
        if let Some(workspaces) = workspaces {
            platform = platform.with_workspaces(workspaces);
        }
        if let Some(models) = models {
            let definitions = Definitions::load(None).unwrap();
            let options = SessionsOptions::default();
            platform = platform.with_sessions(SessionsParts { models, definitions, external: None, options });
        }
        let stop = CancellationToken::new();
        let options = HttpOptions {
            config: json!({"listen": "127.0.0.1:0"}),
            limits,
            streams,
            sockets,
            strict_exec,
            token_in_address,
            ..HttpOptions::default()
        };
        let router = reeve_http::router(platform.clone(), options);
        Self { platform, router, stop, runs, policy_file, _dir: dir }
    }

    /// A client with the key of a new user of these roles.
    pub(crate) async fn user(&self, name: &str, roles: &[&str]) -> Client {
        self.key(TenantId::default_tenant(), PrincipalKind::User, name, roles).await
    }

    pub(crate) async fn key(&self, tenant: TenantId, kind: PrincipalKind, name: &str, roles: &[&str]) -> Client {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let made = self.platform.identity().create_key(tenant, kind, name.to_owned(), roles, String::new()).await;
        let (_, key) = made.unwrap();
        self.client(&[("authorization", &format!("Bearer {key}"))])
    }

    /// A client that sends these headers with everything.
    pub(crate) fn client(&self, headers: &[(&str, &str)]) -> Client {
        let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Client { router: self.router.clone(), headers }
    }

    pub(crate) fn runs(&self) -> u64 {
        self.runs.load(Ordering::SeqCst)
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{} {e}: {}", self.status, self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body, when the status is the expected one.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// The body of a problem, when it is the expected one.
    #[track_caller]
    pub(crate) fn problem(&self, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{} {}", self.status, self.text);
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], self.status.as_u16(), "{body}");
        assert_eq!(body["request_id"], self.header("x-request-id"), "{body}");
        body
    }
}

/// Whoever sends requests.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    headers: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn and(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.headers.push((name.to_owned(), value.to_owned()));
        more
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let start = Request::builder().method(method).uri(path);
        self.headers.iter().fold(start, |request, (name, value)| request.header(name, value))
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let read = tokio::time::timeout(Duration::from_secs(10), to_bytes(body, usize::MAX)).await;
        let bytes = read.expect("the answer ends in time").unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, text, bytes }
    }

    /// The answer as it comes, for streams.
    pub(crate) async fn open(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// What this client proves itself with.
    pub(crate) fn authorization(&self) -> &str {
        let found = self.headers.iter().find(|(name, _)| name == "authorization");
        found.map(|(_, value)| value.as_str()).expect("somebody with a key")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(self.request(Method::PUT, path).body(Body::from(body.into())).unwrap()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        let request = self.request(Method::PATCH, path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Asks for a write and gives the id of the question that it led to.
    pub(crate) async fn ask_for_change(&self, pid: u64) -> String {
        let body = json!({"arguments": {"connection_string": "orders", "pid": pid}});
        let answer = self.post("/api/v1/tools/test_change/run", body).await.expect(202);
        answer["approval_id"].as_str().unwrap().to_owned()
    }
}

/// The same object with what differs at every run replaced by what it is.
pub(crate) fn without_chance(body: &Value) -> Value {
    let mut shown = body.clone();
    for (key, value) in shown.as_object_mut().unwrap() {
        let Some(text) = value.as_str() else { continue };
        if key.ends_with("_at") && text.parse::<jiff::Timestamp>().is_ok() {
            *value = json!("(a moment)");
        } else if key.ends_with("digest") {
            *value = json!("(a digest)");
        } else if let Some((prefix, _)) = text.split_once('_').filter(|(_, rest)| rest.len() == 26) {
            *value = json!(format!("{prefix}_…"));
        }
    }
    shown
}
