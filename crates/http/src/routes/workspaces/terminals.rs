//! The terminals of a workspace, and the tickets for their sockets.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use reeve_types::workspace::processes::{OpenTerminal, Terminal};
use reeve_types::{TerminalId, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wire::read;
use super::{Ids, Undone, asker, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, parse};
use crate::routes::tools::Awaiting;
use crate::socket::{self, Ticket};

#[derive(Serialize, ToSchema)]
pub(crate) struct Terminals {
    terminals: Vec<Terminal>,
}

/// The terminals of a workspace.
#[utoipa::path(get, path = "/workspaces/{id}/terminals", tag = "programs", operation_id = "list_terminals",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The terminals.", body = Terminals)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Terminals>, Undone> {
    Ok(Json(Terminals { terminals: service(&app.platform)?.terminals(&asker(&app, &caller)?, &id).await? }))
}

/// Opens a terminal. It lives until its program ends, whoever looks at it.
#[utoipa::path(post, path = "/workspaces/{id}/terminals", tag = "programs", operation_id = "open_terminal",
    params(("id" = String, Path, description = "The workspace's id.")), request_body = OpenTerminal,
    responses((status = 201, description = "The terminal.", body = Terminal),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn open(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<Value>,
) -> Result<(StatusCode, Json<Terminal>), Undone> {
    let wanted: OpenTerminal = read(body)?;
    let opened = service(&app.platform)?.open_terminal(&asker(&app, &caller)?, &id, &wanted).await?;
    Ok((StatusCode::CREATED, Json(opened)))
}

/// Ends a terminal with all that it started.
#[utoipa::path(delete, path = "/workspaces/{id}/terminals/{tid}", tag = "programs", operation_id = "close_terminal",
    params(("id" = String, Path, description = "The workspace's id."), ("tid" = String, Path, description = "The terminal's id.")),
    responses((status = 200, description = "It is closed: `{\"closed\": true}`.", body = Value)))]
pub(crate) async fn close(
    State(app): State<App>,
    caller: Caller,
    Ids(id, terminal): Ids<WorkspaceId, TerminalId>,
) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.close_terminal(&caller.principal, &id, &terminal).await?;
    Ok(Json(json!({"closed": true})))
}

/// What a ticket is for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantTicket {
    workspace_id: String,
    /// Any terminal of the workspace when absent.
    #[serde(default)]
    terminal_id: Option<String>,
}

/// A ticket: opens one terminal's socket once.
#[derive(Serialize, ToSchema)]
pub(crate) struct TicketGiven {
    /// Goes into the socket's address as `?ticket=`.
    pub(crate) ticket: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: jiff::Timestamp,
}

/// A ticket for a terminal's socket, good once and for 30 seconds.
#[utoipa::path(post, path = "/ws-tickets", tag = "programs", operation_id = "issue_ticket", request_body = WantTicket,
    responses((status = 200, description = "The ticket.", body = TicketGiven)))]
pub(crate) async fn ticket(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(wanted): Body<WantTicket>,
) -> Result<Json<TicketGiven>, Undone> {
    let workspace: WorkspaceId = parse(&wanted.workspace_id)?;
    let terminal: Option<TerminalId> = wanted.terminal_id.as_deref().map(parse).transpose()?;
    Ok(Json(issue(&app, caller, &headers, workspace, terminal).await?))
}

/// Issues a ticket to somebody who may see the workspace.
pub(crate) async fn issue(
    app: &App,
    caller: Caller,
    headers: &HeaderMap,
    workspace: WorkspaceId,
    terminal: Option<TerminalId>,
) -> Result<TicketGiven, Undone> {
    service(&app.platform)?.get(&caller.principal, &workspace).await?;
    let ticket = Ticket { caller, workspace, terminal, until: socket::end_of_credentials(headers) };
    let (ticket, expires_at) = app.shared.tickets.issue(app.platform.clock().as_ref(), ticket)?;
    Ok(TicketGiven { ticket, expires_at })
}
