//! Acts of callers in workspaces that are done once for each idempotency key.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use reeve_platform::workspaces::{Asker, Workspaces};
use serde_json::Value;

use super::{Undone, asker, service};
use crate::app::App;
use crate::auth::Caller;
use crate::idempotency::{self, Reply};
use crate::problem::Problem;

/// A caller with all that their request says about how an act is wanted.
pub(crate) struct Acting {
    app: App,
    caller: Caller,
    pub(crate) headers: HeaderMap,
}

impl FromRequestParts<App> for Acting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        Ok(Self { app: app.clone(), caller, headers: parts.headers.clone() })
    }
}

impl Acting {
    /// The service, and the caller as someone who asks it for an act.
    pub(crate) fn begin(&self) -> Result<(Workspaces, Asker), Problem> {
        Ok((service(&self.app.platform)?.clone(), asker(&self.app, &self.caller)?))
    }

    /// Does an act once for each key; `what` is everything that makes the request the one it is. An answer that comes
    /// later, when people have said yes, is an answer, too.
    pub(crate) async fn once<F>(
        self,
        what: Value,
        act: impl FnOnce(Workspaces, Asker) -> F,
    ) -> Result<Response, Problem>
    where
        F: Future<Output = Result<Reply, Undone>> + Send + 'static,
    {
        let (workspaces, asker) = self.begin()?;
        let act = act(workspaces, asker);
        let work = async move {
            match act.await {
                Ok(reply) | Err(Undone::Later(reply)) => Ok(reply),
                Err(Undone::Problem(problem)) => Err(problem),
            }
        };
        idempotency::once(&self.app, &self.caller, &self.headers, what, work).await
    }
}
