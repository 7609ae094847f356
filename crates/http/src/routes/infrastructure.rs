//! What can be acted on, with every password masked.

use axum::Json;
use axum::extract::State;
use reeve_platform::inventory::{DbServer, Inventory};
use reeve_types::mask_dsn;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::tools::to_value;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;

#[derive(Serialize, ToSchema)]
pub(crate) struct Database {
    id: String,
    name: String,
    /// Passwords are masked.
    connection_string: String,
    /// `Kubernetes: …`, `VM: …` or `Standalone`.
    hosting: String,
    tags: Vec<String>,
    sensitivity: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k8s_context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k8s_namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vm_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vm_runtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    systemd_unit: Option<String>,
}

impl Database {
    fn of(inventory: &Inventory, id: &str, server: &DbServer) -> Self {
        let cluster = server.k8s_cluster.as_ref().and_then(|name| inventory.k8s_clusters.get(name));
        let vm = server.vm_name.as_ref().and_then(|name| inventory.vms.get(name));
        let filled = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            id: id.to_owned(),
            name: if server.name.is_empty() { id.to_owned() } else { server.name.clone() },
            connection_string: mask_dsn(&server.connection_string),
            hosting: inventory.hosting(server),
            tags: server.tags.iter().cloned().collect(),
            sensitivity: server.sensitivity.iter().cloned().collect(),
            k8s_context: cluster.and_then(|cluster| filled(&cluster.context)),
            k8s_namespace: server
                .k8s_cluster
                .as_ref()
                .map(|_| server.k8s_namespace.clone().unwrap_or_else(|| "default".to_owned())),
            vm_address: vm.and_then(|vm| filled(&vm.address)),
            vm_runtime: vm.and_then(|vm| filled(&vm.runtime)),
            container_name: server.container_name.clone(),
            systemd_unit: server.systemd_unit.clone(),
        }
    }
}

fn databases_of(inventory: Option<&Inventory>) -> Vec<Database> {
    let Some(inventory) = inventory else { return Vec::new() };
    inventory.db_servers.iter().map(|(id, server)| Database::of(inventory, id, server)).collect()
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Databases {
    databases: Vec<Database>,
    count: usize,
}

/// The databases of the inventory.
#[utoipa::path(get, path = "/databases", tag = "infrastructure", responses((status = 200, description = "The databases.", body = Databases)))]
pub(crate) async fn databases(State(app): State<App>, caller: Caller) -> Json<Databases> {
    let databases = databases_of(app.platform.inventory_of(caller.tenant()).as_deref());
    let count = databases.len();
    Json(Databases { databases, count })
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Infrastructure {
    /// Whether an inventory is set; without one any target is taken as it is.
    configured: bool,
    #[schema(value_type = Object)]
    db_servers: Value,
    #[schema(value_type = Object)]
    k8s_clusters: Value,
    #[schema(value_type = Object)]
    vms: Value,
    databases: Vec<Database>,
    /// The same in words.
    summary: String,
    /// What is probably not meant.
    warnings: Vec<String>,
}

/// The whole inventory.
#[utoipa::path(get, path = "/infrastructure", tag = "infrastructure", responses((status = 200, description = "The inventory.", body = Infrastructure)))]
pub(crate) async fn infrastructure(State(app): State<App>, caller: Caller) -> Result<Json<Infrastructure>, Problem> {
    let Some(inventory) = app.platform.inventory_of(caller.tenant()) else {
        return Ok(Json(Infrastructure {
            configured: false,
            db_servers: json!({}),
            k8s_clusters: json!({}),
            vms: json!({}),
            databases: Vec::new(),
            summary: "No inventory is set; any connection string is taken as a target, without tags.".to_owned(),
            warnings: Vec::new(),
        }));
    };
    let mut shown = inventory.as_ref().clone();
    for server in shown.db_servers.values_mut() {
        server.connection_string = mask_dsn(&server.connection_string);
    }
    let databases = databases_of(Some(&inventory));
    let lines: Vec<String> = databases
        .iter()
        .map(|db| format!("{}: {} ({}), {}", db.id, db.name, db.hosting, tags_in_words(&db.tags)))
        .collect();
    let count = format!(
        "{} databases, {} Kubernetes clusters, {} machines",
        shown.db_servers.len(),
        shown.k8s_clusters.len(),
        shown.vms.len()
    );
    Ok(Json(Infrastructure {
        configured: true,
        db_servers: to_value(&shown.db_servers)?,
        k8s_clusters: to_value(&shown.k8s_clusters)?,
        vms: to_value(&shown.vms)?,
        databases,
        summary: std::iter::once(count).chain(lines).collect::<Vec<_>>().join("\n"),
        warnings: inventory.warnings(),
    }))
}

fn tags_in_words(tags: &[String]) -> String {
    if tags.is_empty() { "no tags".to_owned() } else { format!("tags {}", tags.join(", ")) }
}
