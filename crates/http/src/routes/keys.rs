//! API keys and the people and programs they speak for. Every change is recorded.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reeve_platform::{Platform, PlatformError};
use reeve_store::StoredKey;
use reeve_types::{EventType, KeyId, Principal, PrincipalKind, ProblemCode, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::idempotency::{self, Reply};
use crate::problem::Problem;

/// Longest name of a principal or a role, and longest note, in bytes.
const NAME_BYTES_MAX: usize = 128;
const NOTE_BYTES_MAX: usize = 1024;
const ROLES_MAX: usize = 32;

/// A key as it is listed; the key itself is nowhere.
#[derive(Serialize, ToSchema)]
pub(crate) struct Key {
    key_id: String,
    /// The name of whom it speaks for.
    principal: String,
    /// `user` or `service`.
    #[schema(value_type = String)]
    kind: PrincipalKind,
    roles: BTreeSet<String>,
    /// What it is for.
    note: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: jiff::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<jiff::Timestamp>,
}

impl From<StoredKey> for Key {
    fn from(stored: StoredKey) -> Self {
        Self {
            key_id: stored.key.key_id.to_string(),
            principal: stored.key.principal,
            kind: stored.key.kind,
            roles: stored.key.roles,
            note: stored.key.note,
            created_at: stored.key.created_at,
            revoked_at: stored.revoked_at,
        }
    }
}

/// The keys, oldest first.
#[utoipa::path(get, path = "/keys", tag = "administration", operation_id = "list_keys",
    responses((status = 200, description = "The keys, revoked ones too.", body = [Key])))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Key>>, Problem> {
    let found = app.platform.store().keys(caller.tenant()).await?;
    Ok(Json(found.into_iter().map(Key::from).collect()))
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// The name of whom it speaks for.
    #[serde(alias = "name")]
    principal: String,
    /// `user` (unless told otherwise) or `service`.
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    roles: BTreeSet<String>,
    /// What it is for.
    #[serde(default)]
    note: String,
}

/// A key that was made. The key itself is told here and never again.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeKey {
    key_id: String,
    /// The key; absent when this answer is given again.
    #[schema(value_type = Option<String>)]
    key: Value,
    principal: String,
    kind: String,
    roles: BTreeSet<String>,
    message: String,
}

/// Makes a key.
#[utoipa::path(post, path = "/keys", tag = "administration", operation_id = "create_key", request_body = NewKey,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way, without the secret.")),
    responses((status = 201, description = "The key; it is not shown again.", body = MadeKey)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let wanted = NewKey::deserialize(&body)
        .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("the body cannot be read: {error}")))?;
    let kind = check(&wanted)?;
    let (platform, maker, trace) = (app.platform.clone(), caller.principal.clone(), caller.trace(&app.platform, "idn"));
    let what = idempotency::request("keys", "", &body);
    let work = async move {
        let roles = wanted.roles.clone();
        let (id, key) = platform
            .identity()
            .create_key(maker.tenant.clone(), kind, wanted.principal.clone(), roles, wanted.note.clone())
            .await?;
        let roles: Vec<&str> = wanted.roles.iter().map(String::as_str).collect();
        let roles = if roles.is_empty() { "no roles".to_owned() } else { format!("the roles {}", roles.join(", ")) };
        let note = format!("the key {id} was made for {} `{}` with {roles}", word(kind), wanted.principal);
        if let Err(error) = record(&platform, &maker, trace, note).await {
            // What cannot be recorded does not stay.
            platform.store().revoke_key(&maker.tenant, &id, platform.clock().now()).await?;
            return Err(error.into());
        }
        Ok(made(&id, &key, kind, wanted))
    };
    idempotency::once(&app, &caller, &headers, what, work).await
}

fn made(id: &KeyId, key: &str, kind: PrincipalKind, wanted: NewKey) -> Reply {
    let body = json!({
        "key_id": id, "key": key, "principal": wanted.principal, "kind": word(kind), "roles": wanted.roles,
        "message": "keep this key now: it is not stored and cannot be shown again",
    });
    let mut kept = body.clone();
    if let Some(members) = kept.as_object_mut() {
        members.insert("key".to_owned(), Value::Null);
        let message =
            "this key was made by an earlier request and was shown then; if it is lost, revoke it and make another";
        members.insert("message".to_owned(), message.into());
    }
    Reply { status: StatusCode::CREATED, body, kept: Some(kept) }
}

fn check(wanted: &NewKey) -> Result<PrincipalKind, Problem> {
    let bad = |detail: String| Err(Problem::new(ProblemCode::BadRequest, detail));
    let plain =
        |text: &str| !text.trim().is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    if !plain(&wanted.principal) {
        return bad(format!("`principal` must be 1 to {NAME_BYTES_MAX} bytes of printable text"));
    }
    if wanted.roles.len() > ROLES_MAX || !wanted.roles.iter().all(|role| plain(role)) {
        return bad(format!("`roles` must be at most {ROLES_MAX} names of 1 to {NAME_BYTES_MAX} bytes"));
    }
    if wanted.note.len() > NOTE_BYTES_MAX {
        return bad(format!("`note` is longer than {NOTE_BYTES_MAX} bytes"));
    }
    match wanted.kind.as_deref() {
        None | Some("" | "user") => Ok(PrincipalKind::User),
        Some("service") => Ok(PrincipalKind::Service),
        Some(_) => bad("`kind` must be user or service".to_owned()),
    }
}

fn word(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "user",
        PrincipalKind::Service => "service",
        PrincipalKind::Agent => "agent",
    }
}

async fn record(
    platform: &Platform,
    who: &Principal,
    trace: reeve_types::TraceId,
    note: String,
) -> Result<(), PlatformError> {
    let mut event = platform.event(EventType::IdentityChanged, &who.tenant, trace);
    event.principal = Some(who.clone());
    event.note = note;
    platform.record(event).await
}

/// Takes a key back, at once and for good.
#[utoipa::path(delete, path = "/keys/{id}", tag = "administration", operation_id = "revoke_key",
    params(("id" = String, Path, description = "The key's id, `key_…`.")),
    responses((status = 204, description = "It no longer holds.")))]
pub(crate) async fn revoke(State(app): State<App>, caller: Caller, Id(id): Id<KeyId>) -> Result<StatusCode, Problem> {
    let platform = &app.platform;
    if !holds(platform, caller.tenant(), &id).await? {
        return Err(Problem::new(ProblemCode::NotFound, format!("there is no key `{id}` that still holds")));
    }
    // Recorded first: a key that is taken back without a record would be worse than a record of one that still holds.
    record(platform, &caller.principal, caller.trace(platform, "idn"), format!("the key {id} was taken back")).await?;
    platform.store().revoke_key(caller.tenant(), &id, platform.clock().now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn holds(platform: &Platform, tenant: &TenantId, id: &KeyId) -> Result<bool, Problem> {
    let found = platform.store().key(id).await?;
    Ok(found.is_some_and(|stored| stored.key.tenant == *tenant && stored.revoked_at.is_none()))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct User {
    id: String,
    /// `user` or `service`.
    kind: &'static str,
    roles: BTreeSet<String>,
    /// `users_file`, `keys` or `accounts`.
    source: &'static str,
    /// Whether the account is switched off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
}

/// People and programs that can prove who they are, with their roles.
#[utoipa::path(get, path = "/users", tag = "administration", operation_id = "list_users",
    responses((status = 200, description = "From the users file, from keys that hold, and accounts.", body = [User])))]
pub(crate) async fn users(State(app): State<App>, caller: Caller) -> Result<Json<Vec<User>>, Problem> {
    let mut list = Vec::new();
    // The users file speaks of the first tenant only.
    if *caller.tenant() == TenantId::default_tenant() {
        let known = app.platform.identity().users();
        for (kind, people) in [("user", &known.users), ("service", &known.services)] {
            list.extend(people.iter().map(|(id, roles)| User {
                id: id.clone(),
                kind,
                roles: roles.clone(),
                source: "users_file",
                disabled: false,
            }));
        }
    }
    for stored in app.platform.store().keys(caller.tenant()).await?.into_iter().filter(|key| key.revoked_at.is_none()) {
        list.push(User {
            id: stored.key.principal,
            kind: word(stored.key.kind),
            roles: stored.key.roles,
            source: "keys",
            disabled: false,
        });
    }
    let accounts = app.platform.identity().accounts().list(caller.tenant()).await?;
    list.extend(accounts.into_iter().map(|account| User {
        id: account.principal,
        kind: "user",
        roles: account.roles,
        source: "accounts",
        disabled: account.disabled_at.is_some(),
    }));
    Ok(Json(list))
}
