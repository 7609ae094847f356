//! Somebody else's server, which says of its tools whatever a test wants, and what we hold of it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use reeve_gate::SystemClock;
use reeve_mcp::client::{McpConfig, McpServers, ServerReport, ToolState};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The server. What it offers can be changed while it runs.
#[derive(Clone)]
pub(crate) struct OtherServer {
    pub(crate) tools: Arc<Mutex<Vec<Tool>>>,
    pub(crate) calls: Arc<AtomicU64>,
    /// What it answers, whatever is called.
    pub(crate) answer: Arc<Mutex<CallToolResult>>,
    pub(crate) url: String,
    stop: CancellationToken,
}

impl ServerHandler for OtherServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut listed = ListToolsResult::with_all_items(self.tools.lock().unwrap().clone());
        // It would like its list to be believed for a day.
        listed.ttl_ms = Some(86_400_000);
        Ok(listed)
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(self.answer.lock().unwrap().clone().into())
    }
}

/// A tool as a server lists it.
pub(crate) fn tool(name: &str, description: &str) -> Tool {
    let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": false});
    Tool::new(name.to_owned(), description.to_owned(), Arc::new(schema.as_object().cloned().unwrap()))
}

impl OtherServer {
    pub(crate) async fn start(tools: Vec<Tool>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let server = Self {
            tools: Arc::new(Mutex::new(tools)),
            calls: Arc::default(),
            answer: Arc::new(Mutex::new(CallToolResult::success(vec![ContentBlock::text("done")]))),
            url,
            stop: CancellationToken::new(),
        };
        let (each, until) = (server.clone(), server.stop.clone());
        let config = StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true);
        let service =
            StreamableHttpService::new(move || Ok(each.clone()), Arc::new(NeverSessionManager::default()), config);
        let router = axum::Router::new().route_service("/mcp", service);
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router) => served.unwrap(),
                () = until.cancelled() => {}
            }
        });
        server
    }

    pub(crate) fn says(&self, tools: Vec<Tool>) {
        *self.tools.lock().unwrap() = tools;
    }

    pub(crate) fn answers(&self, result: CallToolResult) {
        *self.answer.lock().unwrap() = result;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

/// The configuration of one server `other`, with more settings.
pub(crate) fn config(mut settings: Value, url: &str) -> McpConfig {
    settings["url"] = url.into();
    serde_json::from_value(json!({"servers": {"other": settings}})).unwrap()
}

/// The servers of a configuration, as a start of the server has them.
pub(crate) async fn start(dir: &Path, config: McpConfig) -> McpServers {
    let environment = Arc::new(|name: &str| std::env::var(name).ok());
    let servers = McpServers::open(config, dir, environment, Arc::new(SystemClock)).unwrap();
    servers.meet(crate::house::PATIENCE).await;
    servers
}

/// How a tool of the only server stands.
pub(crate) fn state_of(report: &[ServerReport], name: &str) -> ToolState {
    let found = report[0].tools.iter().find(|tool| tool.name == name);
    found.unwrap_or_else(|| panic!("there is no {name}: {report:?}")).state
}
