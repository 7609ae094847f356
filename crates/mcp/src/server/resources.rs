//! Resources: what can be read about sessions, under the guide's scheme and our own.

use reeve_platform::Platform;
use reeve_platform::sessions::SessionFilter;
use reeve_types::Principal;
use rmcp::model::{ErrorData, ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde::Serialize;

use super::answers::Refused;
use super::catalog::SESSIONS;
use super::session_tools::{health, session_id};
use super::transcript;

const SCHEMES: [&str; 2] = ["aegis", "reeve"];
const JSON: &str = "application/json";
/// Entries of a transcript that one reading gives.
const ENTRIES: usize = 200;

/// What can be read as it is.
pub(crate) fn list(caller: &Principal) -> Vec<Resource> {
    let sessions = SESSIONS.allows(caller);
    SCHEMES
        .iter()
        .flat_map(|scheme| {
            let all = sessions.then(|| {
                Resource::new(format!("{scheme}://sessions"), "sessions")
                    .with_description("Your sessions, newest first.")
                    .with_mime_type(JSON)
            });
            let health = Resource::new(format!("{scheme}://health"), "health")
                .with_description("Whether the server answers, and its version.")
                .with_mime_type(JSON);
            all.into_iter().chain([health])
        })
        .collect()
}

/// What can be read about something that is named.
pub(crate) fn templates(caller: &Principal) -> Vec<ResourceTemplate> {
    if !SESSIONS.allows(caller) {
        return Vec::new();
    }
    SCHEMES
        .iter()
        .map(|scheme| {
            ResourceTemplate::new(format!("{scheme}://sessions/{{id}}/transcript"), "transcript")
                .with_description("The newest part of a session's conversation.")
                .with_mime_type(JSON)
        })
        .collect()
}

/// Reads one.
pub(crate) async fn read(
    platform: &Platform,
    version: &str,
    caller: &Principal,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData> {
    let place = SCHEMES.iter().find_map(|scheme| uri.strip_prefix(scheme)?.strip_prefix("://"));
    let parts: Vec<&str> = place.unwrap_or_default().split('/').collect();
    if parts == ["health"] {
        return contents(uri, &health(platform, version));
    }
    let may = SESSIONS;
    match (platform.sessions(), parts.as_slice()) {
        (Some(_), ["sessions"] | ["sessions", _, "transcript"]) if !may.allows(caller) => {
            Err(of_refused(uri, Refused::lacks(caller, may)))
        }
        (Some(sessions), ["sessions"]) => {
            let filter = SessionFilter { limit: 50, ..SessionFilter::default() };
            match sessions.list(caller, filter).await {
                Ok(page) => contents(uri, &page),
                Err(error) => Err(of_refused(uri, error.into())),
            }
        }
        (Some(sessions), ["sessions", id, "transcript"]) => {
            let id = session_id(id).map_err(|refused| of_refused(uri, refused))?;
            match transcript::transcript(&sessions, caller, &id, None, ENTRIES).await {
                Ok(found) => contents(uri, &found),
                Err(error) => Err(of_refused(uri, error.into())),
            }
        }
        _ => Err(not_found(uri)),
    }
}

fn contents<T: Serialize>(uri: &str, value: &T) -> Result<ReadResourceResult, ErrorData> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| ErrorData::internal_error(format!("`{}`: {error}", shown(uri)), None))?;
    Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(JSON)]))
}

fn of_refused(uri: &str, refused: Refused) -> ErrorData {
    let body = refused.into_body();
    match body.get("code").and_then(serde_json::Value::as_str) {
        Some("INVALID_SESSION_ID") => not_found(uri),
        _ => {
            let message = body.get("message").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            ErrorData::invalid_request(message, Some(body))
        }
    }
}

fn not_found(uri: &str) -> ErrorData {
    ErrorData::resource_not_found(
        format!("there is nothing at `{}`", shown(uri)),
        Some(serde_json::json!({"uri": shown(uri)})),
    )
}

fn shown(uri: &str) -> String {
    uri.chars().take(200).collect()
}
