//! The configuration in force, and reading the policies again.

use axum::Json;
use axum::extract::State;
use reeve_types::{EventType, ProblemCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;

/// Every setting in force with where it came from, secrets masked.
#[utoipa::path(get, path = "/config", tag = "administration", operation_id = "show_config",
    responses((status = 200, description = "The configuration.", body = Value)))]
pub(crate) async fn show(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.of_first_tenant("the configuration holds for every tenant")?;
    Ok(Json(app.shared.options.config.clone()))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Reloaded {
    /// What happened, in words.
    message: String,
    /// The digest of the policies now in force.
    policy_digest: String,
    policies_count: usize,
}

/// Reads the policy files again. They take over as a whole, or what was in force stays in force.
#[utoipa::path(post, path = "/policy/reload", tag = "administration", operation_id = "reload_policy",
    responses((status = 200, description = "They are in force.", body = Reloaded),
              (status = 409, description = "They do not load; what was in force stays in force.", body = Value, content_type = "application/problem+json")))]
pub(crate) async fn reload_policy(State(app): State<App>, caller: Caller) -> Result<Json<Reloaded>, Problem> {
    caller.of_first_tenant("policies hold for every tenant")?;
    let platform = &app.platform;
    let outcome = platform.policies().reload(platform.gate(), platform.clock().now());
    platform.policies().keep_text(platform).await;
    let note = match &outcome {
        Ok(message) => message.clone(),
        Err(reason) => format!("REFUSED: {reason}; what was in force before stays in force"),
    };
    let mut event = platform.event(EventType::ConfigurationChanged, caller.tenant(), caller.trace(platform, "cfg"));
    event.principal = Some(caller.principal.clone());
    event.note.clone_from(&note);
    platform.record(event).await?;
    match outcome {
        Ok(message) => {
            let set = platform.gate().policy();
            Ok(Json(Reloaded {
                message,
                policy_digest: set.digest().to_string(),
                policies_count: set.policies().len(),
            }))
        }
        Err(reason) => {
            Err(Problem::new(ProblemCode::Conflict, format!("{reason}; what was in force before stays in force")))
        }
    }
}
