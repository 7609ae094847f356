//! Who sent a request, as whoever let it through has found out.

use axum::http::request::Parts;
use reeve_types::{Principal, Purpose, TraceId};
use rmcp::RoleServer;
use rmcp::model::ErrorData;
use rmcp::service::RequestContext;

/// The sender of one request, and what they said about why they ask.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) principal: Principal,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) trace_id: Option<TraceId>,
}

impl Asker {
    pub(crate) fn of(context: &RequestContext<RoleServer>) -> Result<Self, ErrorData> {
        let parts = context.extensions.get::<Parts>();
        let principal = parts.and_then(|parts| parts.extensions.get::<Principal>());
        let (Some(parts), Some(principal)) = (parts, principal) else {
            // Only a server that was put together wrongly comes here; nobody is let through unknown.
            return Err(ErrorData::internal_error("nobody has found out who sent this request", None));
        };
        Ok(Self {
            principal: principal.clone(),
            purpose: parts.extensions.get::<Purpose>().copied(),
            trace_id: parts.extensions.get::<TraceId>().cloned(),
        })
    }
}
