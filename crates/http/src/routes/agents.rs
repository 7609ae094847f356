//! Who there is to ask, and what each role may do.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use reeve_platform::permissions::KNOWN_ROLES;
use reeve_platform::{IdentityProvider, Permission};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;

#[derive(Serialize, ToSchema)]
pub(crate) struct Skill {
    id: String,
    name: String,
    description: String,
    /// `read`, `write` or `destructive`.
    action_class: &'static str,
    tags: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Agent {
    name: String,
    /// Where to ask it something.
    invoke_url: &'static str,
    description: String,
    version: String,
    /// The tools that it has.
    skills: Vec<Skill>,
}

/// The agents, with their tools.
#[utoipa::path(get, path = "/agents", tag = "agents", responses((status = 200, description = "The agents, by name.", body = [Agent])))]
pub(crate) async fn agents(State(app): State<App>) -> Json<Vec<Agent>> {
    let mut by_name: BTreeMap<String, Vec<Skill>> = BTreeMap::new();
    for spec in app.platform.gate().specs() {
        by_name.entry(spec.agent.clone()).or_default().push(Skill {
            id: spec.name.clone(),
            name: spec.name.clone(),
            description: spec.description.clone(),
            action_class: spec.action_class.as_str(),
            tags: spec.capabilities.clone(),
        });
    }
    let version = &app.shared.options.version;
    let agent = |(name, skills): (String, Vec<Skill>)| {
        let topics: BTreeSet<&str> = skills.iter().flat_map(|skill| skill.tags.iter().map(String::as_str)).collect();
        let topics = topics.into_iter().collect::<Vec<_>>().join(", ");
        let description = format!("{} tools; it knows about {topics}", skills.len());
        Agent { name, invoke_url: "/api/v1/query", description, version: version.clone(), skills }
    };
    Json(by_name.into_iter().map(agent).collect())
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Role {
    name: &'static str,
    /// What it is for.
    description: &'static str,
    /// The permissions that it gives.
    grants: Vec<&'static str>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Roles {
    roles: Vec<Role>,
    /// The role that gives every permission.
    admin_role: &'static str,
    /// Other words for roles, from the users file.
    aliases: BTreeMap<String, String>,
    /// Whether callers must prove who they are.
    enforcing: bool,
}

/// The roles that mean something to the platform, and what each gives.
#[utoipa::path(get, path = "/roles", tag = "agents", responses((status = 200, description = "The roles.", body = Roles)))]
pub(crate) async fn roles(State(app): State<App>) -> Json<Roles> {
    let grants = |name: &str| {
        let gives = |p: &Permission| {
            p.roles().is_empty() && ![Permission::Administer, Permission::Operate].contains(p)
                || p.roles().contains(&name)
                || name == "admin"
        };
        Permission::ALL.into_iter().filter(gives).map(Permission::as_str).collect()
    };
    let roles =
        KNOWN_ROLES.iter().map(|(name, description)| Role { name, description, grants: grants(name) }).collect();
    let identity = app.platform.identity();
    let aliases = identity.users().role_aliases.clone();
    Json(Roles { roles, admin_role: "admin", aliases, enforcing: identity.provider() != IdentityProvider::None })
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Who {
    /// `user:alice`.
    label: String,
    /// `user`, `service` or `agent`.
    #[schema(value_type = String)]
    kind: reeve_types::PrincipalKind,
    id: String,
    tenant: String,
    roles: BTreeSet<String>,
    /// How the caller proved it.
    #[schema(value_type = String)]
    auth_method: reeve_types::AuthMethod,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    /// Whom the caller acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<String>,
    /// What the caller may ask for.
    permissions: Vec<&'static str>,
}

/// Who the caller is, as the server sees it, and what it may ask for.
#[utoipa::path(get, path = "/whoami", tag = "agents", responses((status = 200, description = "The caller.", body = Who)))]
pub(crate) async fn whoami(caller: Caller) -> Json<Who> {
    let principal = caller.principal;
    let permissions = Permission::ALL.into_iter().filter(|p| p.allows(&principal)).map(Permission::as_str).collect();
    Json(Who {
        label: principal.label(),
        kind: principal.kind,
        tenant: principal.tenant.to_string(),
        auth_method: principal.auth_method,
        key_id: caller.key_id.map(|id| id.to_string()),
        on_behalf_of: principal.on_behalf_of.as_ref().map(|next| next.label()),
        permissions,
        roles: principal.roles,
        id: principal.id,
    })
}
