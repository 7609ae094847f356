//! The models of the guide's workbench: which there are, and an answer in one piece.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use reeve_gate::model::ModelInfo;
use reeve_platform::Permission;
use reeve_types::ProblemCode;
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::given::Given;
use super::proposal::words;
use super::question::{Question, whole_answer};
use super::vibecode_files::with_content;
use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::problem::Problem;
use crate::routes::workspaces::{USE, Undone, service};

/// How long an answer in one piece may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn declare(routes: Routes) -> Routes {
    routes
        .alias(Permission::Look, "/api/vibecode/ai/providers", routes!(providers))
        .alias(Permission::Look, "/api/vibecode/ai/models", routes!(models))
        .alias(USE, "/api/vibecode/ai/chat", with_content(routes!(chat)))
}

fn provider(info: &ModelInfo) -> &str {
    info.name.split_once('/').map_or(info.name.as_str(), |(provider, _)| provider)
}

/// Recorded answers come from this machine; where a provider's address leads is nobody's business here.
fn kind(info: &ModelInfo) -> &'static str {
    if info.kind == "replay" { "local" } else { "cloud" }
}

/// The providers with their models.
#[utoipa::path(get, path = "/api/vibecode/ai/providers", responses((status = 200, description = "The providers.")))]
async fn providers(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let mut shown: Vec<Value> = Vec::new();
    for info in service(&app.platform)?.models(caller.tenant()) {
        let (name, model) = (provider(&info), json!(info.name));
        match shown.iter_mut().find(|known| known["name"] == name) {
            Some(known) => known["models"].as_array_mut().into_iter().for_each(|models| models.push(model.clone())),
            None => {
                shown.push(json!({"name": name, "type": kind(&info), "status": "configured", "models": [model]}));
            }
        }
    }
    Ok(Json(json!({"providers": shown})))
}

/// The models.
#[utoipa::path(get, path = "/api/vibecode/ai/models", responses((status = 200, description = "The models.")))]
async fn models(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let known = service(&app.platform)?.models(caller.tenant());
    let shown: Vec<Value> =
        known.iter().map(|info| json!({"name": info.name, "provider": provider(info), "type": kind(info)})).collect();
    Ok(Json(json!({"models": shown})))
}

/// An answer in words.
#[utoipa::path(post, path = "/api/vibecode/ai/chat", responses((status = 200, description = "The answer.")))]
async fn chat(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let question = Question::chat(&app, &caller, &given, "selected_file").await?;
    let answered = async {
        let answer = question.ask(&app, &caller, given.text("model")).await?;
        Ok::<_, Undone>(whole_answer(answer).await?)
    };
    let Ok(reply) = tokio::time::timeout(ANSWER_WITHIN, answered).await else {
        let detail =
            format!("the model took longer than {} s; ask for less, or follow its answer", ANSWER_WITHIN.as_secs());
        return Err(Problem::new(ProblemCode::Timeout, detail).into());
    };
    let reply = reply?;
    Ok(Json(json!({
        "content": words(&reply), "model": reply.model, "reasoning": Value::Null,
        "timestamp": app.platform.clock().now(),
    })))
}
