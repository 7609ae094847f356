//! Backups: laid out in the data directory, for whoever may read that.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use reeve_platform::backup::BackupFailure;
use reeve_store::{BackupError, StoreError};
use reeve_types::ProblemCode;
use serde_json::Value;

use super::tools::to_value;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;

/// Lays out a backup of the whole installation in the server's data directory, while everything goes on. Nothing of it
/// travels in the answer, which names the directory: a backup holds the keys of the installation. `reeve backup` makes
/// one file of it. Only for administrators of the default tenant, whose installation it is.
#[utoipa::path(post, path = "/backups", tag = "administration", operation_id = "lay_out_backup",
    responses((status = 201, description = "`directory`, `summary` of the store, `workspaces`, those `gone` meanwhile, and those `on_host`, whose files are not in it.", body = Value)))]
pub(crate) async fn lay_out(State(app): State<App>, caller: Caller) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.of_first_tenant("a backup holds every tenant")?;
    let laid_out = app.platform.lay_out_backup(&caller.principal.root().label()).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(to_value(&laid_out)?)))
}

fn problem(failure: BackupFailure) -> Problem {
    match failure {
        BackupFailure::Store(BackupError::Store(error @ StoreError::Closed)) => error.into(),
        failure => Problem::new(ProblemCode::Unavailable, failure.to_string()),
    }
}
