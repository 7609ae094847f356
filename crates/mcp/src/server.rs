//! The way in for MCP clients: one service for `POST /mcp`.
//!
//! It keeps nothing between requests. Each carries its own credentials, so there is no session of the transport that
//! somebody could steal, a restart goes unnoticed, and any replica can answer. Who asks is found out before a request
//! comes here and travels in its extensions as a [`Principal`](reeve_types::Principal).

mod actions;
mod answers;
mod asker;
mod catalog;
mod gate_tools;
mod in_session;
mod prompts;
mod resources;
mod session_tools;
mod session_words;
mod transcript;

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use reeve_platform::Platform;
use reeve_types::limits::REQUEST_BODY_BYTES_MAX;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, GetPromptRequestParams, GetPromptResponse, Implementation,
    ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use tower::util::BoxCloneSyncService;

use asker::Asker;
pub use in_session::for_sessions;

/// The service, to be put behind whatever finds out who asks.
pub type McpService = BoxCloneSyncService<Request, Response, Infallible>;

const INSTRUCTIONS: &str = "\
Reeve is a steward for agents: every tool call passes its policy and is recorded. A call may be answered with \
state `awaiting_approval`; then a person has been asked, and `wait_for_action` or `get_action` gives the result once they \
have answered. Do not send the call again under other arguments to get around a refusal. Session tools work on \
conversations with agents that this server runs or supervises.";

/// A service that answers MCP requests out of a platform. Each request must carry its `Principal` in its extensions.
pub fn service(platform: Platform, version: &str) -> McpService {
    serve(Server { platform, version: version.into() })
}

fn serve(server: impl ServerHandler + Clone) -> McpService {
    // Host and Origin are checked where credentials are; here everybody has proved who they are.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(REQUEST_BODY_BYTES_MAX)
        .disable_allowed_hosts()
        .disable_allowed_origins();
    let http = StreamableHttpService::new(move || Ok(server.clone()), Arc::new(NeverSessionManager::default()), config);
    BoxCloneSyncService::new(tower::service_fn(move |request: Request| {
        let http = http.clone();
        async move { Ok(http.handle(request).await.map(axum::body::Body::new)) }
    }))
}

/// What answers one request.
#[derive(Clone)]
pub(crate) struct Server {
    platform: Platform,
    version: Arc<str>,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("reeve", self.version.as_ref()).with_title("Reeve"))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let asker = Asker::of(&context)?;
        Ok(ListToolsResult::with_all_items(catalog::tools_for(&self.platform, &asker.principal)))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let asker = Asker::of(&context)?;
        let arguments = request.arguments.unwrap_or_default();
        let called = catalog::find(&self.platform, &asker.principal, &request.name);
        let answer = match called {
            Err(refused) => Err(refused),
            Ok(catalog::Found::Gate(spec)) => gate_tools::call(&self.platform, asker, &spec, arguments).await,
            Ok(catalog::Found::Action(verb)) => actions::call(&self.platform, asker, verb, arguments, &context).await,
            Ok(catalog::Found::Session(verb)) => {
                session_tools::call(&self.platform, &self.version, &asker.principal, verb, arguments).await
            }
            Ok(catalog::Found::Nothing) => {
                let name: String = request.name.chars().take(80).collect();
                return Err(ErrorData::invalid_params(format!("there is no tool named `{name}`"), None));
            }
        };
        Ok(answer.unwrap_or_else(answers::refused).into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let asker = Asker::of(&context)?;
        Ok(ListResourcesResult::with_all_items(resources::list(&asker.principal)))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let asker = Asker::of(&context)?;
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates(&asker.principal)))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let asker = Asker::of(&context)?;
        Ok(resources::read(&self.platform, &self.version, &asker.principal, &request.uri).await?.into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Asker::of(&context)?;
        Ok(ListPromptsResult::with_all_items(prompts::list()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Asker::of(&context)?;
        Ok(prompts::get(&request.name, request.arguments.unwrap_or_default())?.into())
    }
}
