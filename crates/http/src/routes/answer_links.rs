//! Links with which one person answers one question without signing in, and what their page asks.
//!
//! A link stands in the body, never in a path, so that no log of requests holds one.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use reeve_platform::answer_links::{Answering, page_of};
use reeve_types::{ApprovalId, ProblemCode, VoteChoice};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::here;
use super::approvals::Approval;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::problem::Problem;

/// The links of one person to one question.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinksMade {
    /// Opens a page that says yes, after one more click.
    approve: String,
    /// Opens a page that says no, after one more click.
    deny: String,
    /// From when on neither works.
    #[schema(value_type = String, format = DateTime)]
    expires_at: jiff::Timestamp,
}

/// Makes the links with which the caller can answer a question without signing in. Each works once, and only as long as
/// the caller may answer.
#[utoipa::path(post, path = "/approvals/{id}/links", tag = "approvals", operation_id = "make_answer_links",
    params(("id" = String, Path, description = "The approval's id, `apr_…`.")),
    responses((status = 201, description = "The links. They are shown once.", body = LinksMade)))]
pub(crate) async fn make(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id<ApprovalId>,
) -> Result<(StatusCode, Json<LinksMade>), Problem> {
    let identity = app.platform.identity();
    let subject = identity.subject(&caller.principal, caller.key_id.as_ref(), caller.login.as_ref()).await?;
    let subject = subject.ok_or_else(|| {
        let detail = "links are for people who have signed in or came with a key of their own";
        Problem::new(ProblemCode::Forbidden, detail)
    })?;
    let links = app.platform.answer_links(&subject, caller.tenant(), &id).await?;
    let base = here(app.platform.base_url(), &headers);
    let (approve, deny) = (page_of(&base, &links.approve), page_of(&base, &links.deny));
    Ok((StatusCode::CREATED, Json(LinksMade { approve, deny, expires_at: links.expires_at })))
}

/// A link, as its page sends it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Followed {
    /// What stands behind `#/answer/`.
    link: String,
    /// In the person's words; for answers.
    #[serde(default)]
    reason: String,
}

/// What a link would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct Would {
    /// `approve` or `deny`.
    choice: &'static str,
    /// Who would answer.
    name: String,
    /// Whether the question still waits.
    open: bool,
    question: Approval,
}

impl From<Answering> for Would {
    fn from(answering: Answering) -> Self {
        let choice = match answering.choice {
            VoteChoice::Approve => "approve",
            VoteChoice::Deny => "deny",
        };
        let open = answering.approval.status == reeve_types::ApprovalStatus::Pending;
        Self { choice, name: answering.person.name, open, question: answering.approval.into() }
    }
}

/// Shows the question of a link, and what the link would answer. Nothing is answered by looking.
#[utoipa::path(post, path = "/answer-links/look", tag = "approvals", operation_id = "look_at_answer_link", request_body = Followed,
    responses((status = 200, description = "The question.", body = Would)))]
pub(crate) async fn look(State(app): State<App>, Body(followed): Body<Followed>) -> Result<Json<Would>, Problem> {
    Ok(Json(app.platform.look_at_link(&followed.link.into()).await?.into()))
}

/// Answers as a link says.
#[utoipa::path(post, path = "/answer-links/answer", tag = "approvals", operation_id = "answer_by_link", request_body = Followed,
    responses((status = 200, description = "How the question stands now.", body = Approval)))]
pub(crate) async fn answer(State(app): State<App>, Body(followed): Body<Followed>) -> Result<Json<Approval>, Problem> {
    Ok(Json(app.platform.answer_by_link(&followed.link.into(), &followed.reason).await?.into()))
}
