//! The tools of one session, told to the external agent that works in it. It speaks over the door in its workspace, and
//! whoever kept the door has found out that it is this agent. Nothing else of the platform can be reached here.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::HOST;
use axum::http::{HeaderName, HeaderValue, Request};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use reeve_gate::relay::{RelayAnswer, RelayCall};
use reeve_platform::sessions::{OfferedTool, SessionTools, ToolServer};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const INSTRUCTIONS: &str = "\
These are Reeve's tools, for the one you work for: every call passes its policy and is recorded, and people may have to \
approve it first. Do not send a call again under other arguments to get around a refusal. When you changed something with \
these tools, state it with `state_what_was_done` before you answer; it is held against the record.";

/// What tells external agents of their sessions' tools.
pub fn for_sessions(version: &str) -> Arc<dyn ToolServer> {
    Arc::new(ForSessions { version: version.into() })
}

struct ForSessions {
    version: Arc<str>,
}

impl ToolServer for ForSessions {
    fn answer(&self, tools: Arc<dyn SessionTools>, call: RelayCall) -> BoxFuture<'static, RelayAnswer> {
        let service = super::serve(InSession { tools, version: Arc::clone(&self.version) });
        Box::pin(async move {
            let Some(request) = request_of(call) else { return complaint(400, "the request cannot be read") };
            let response = service.oneshot(request).await.unwrap_or_else(|never| match never {});
            let (head, body) = response.into_parts();
            let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
            let headers = head.headers.iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
            let body = body.into_data_stream().map(|piece| piece.map_err(std::io::Error::other));
            RelayAnswer { status: head.status.as_u16(), headers: headers.collect(), body: Box::pin(body) }
        })
    }
}

fn request_of(call: RelayCall) -> Option<Request<Body>> {
    // By which name it was called was said to the door, and is no matter here.
    let mut request = Request::builder().method(call.method.as_str()).uri(call.path.as_str()).header(HOST, "localhost");
    for (name, value) in call.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            request = request.header(name, value);
        }
    }
    request.body(Body::from(call.body)).ok()
}

fn complaint(status: u16, message: &str) -> RelayAnswer {
    let text = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": message}}).to_string();
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    RelayAnswer { status, headers, body: Box::pin(futures_util::stream::iter([Ok(text.into())])) }
}

/// What answers one request of one agent.
#[derive(Clone)]
struct InSession {
    tools: Arc<dyn SessionTools>,
    version: Arc<str>,
}

impl ServerHandler for InSession {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("reeve", self.version.as_ref()).with_title("Reeve"))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.list().into_iter().map(told).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let input = Value::Object(request.arguments.unwrap_or_default());
        let answer = self.tools.call(&request.name, input).await;
        let content = vec![ContentBlock::text(answer.content)];
        let mut result =
            if answer.is_error { CallToolResult::error(content) } else { CallToolResult::success(content) };
        if let Some(record) = answer.record {
            result.structured_content = Some(json!({"event_id": record}));
        }
        Ok(result.into())
    }
}

fn told(offered: OfferedTool) -> Tool {
    let schema = match offered.tool.input_schema {
        Value::Object(schema) => schema,
        _ => serde_json::Map::new(),
    };
    let hints = ToolAnnotations::new().read_only(offered.only_looks).open_world(false);
    Tool::new(offered.tool.name, offered.tool.description, Arc::new(schema)).with_annotations(hints)
}
