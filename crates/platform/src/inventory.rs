//! What can be acted on: `infrastructure.json`.
//!
//! Once a file is set, a target outside it is refused. Without one, any target is taken as it is, without tags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use reeve_gate::UnknownTarget;
use reeve_types::limits::CONFIG_FILE_BYTES_MAX;
use reeve_types::{Resource, ResourceKind, mask_dsn};
use serde::{Deserialize, Serialize};

/// The inventory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}{place}: {reason}")]
pub struct InventoryError {
    /// The file.
    pub file: String,
    /// `:line:column`, when known.
    pub place: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// A database server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DbServer {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// libpq connection string or URI.
    pub connection_string: String,
    /// The environment variable that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    /// The Kubernetes cluster it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k8s_cluster: Option<String>,
    /// The namespace there; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k8s_namespace: Option<String>,
    /// The labels of its pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k8s_pod_selector: Option<String>,
    /// The machine it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_name: Option<String>,
    /// The container there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// The systemd unit there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd_unit: Option<String>,
    /// Labels that policies match on.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// `pii`, `critical`, …
    #[serde(default)]
    pub sensitivity: BTreeSet<String>,
    /// Roles that may ask for a freer approval mode than a playbook has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub approval_override_roles: BTreeSet<String>,
}

/// A Kubernetes cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// The context of the kubeconfig.
    #[serde(default)]
    pub context: String,
    /// Labels that policies match on.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// `critical`, …
    #[serde(default)]
    pub sensitivity: BTreeSet<String>,
}

/// A machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Where it is reached.
    #[serde(default, alias = "host")]
    pub address: String,
    /// `docker`, `podman`, or empty for systemd.
    #[serde(default)]
    pub runtime: String,
}

/// The inventory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// Database servers by id.
    #[serde(default)]
    pub db_servers: BTreeMap<String, DbServer>,
    /// Kubernetes clusters by id.
    #[serde(default)]
    pub k8s_clusters: BTreeMap<String, Cluster>,
    /// Machines by id.
    #[serde(default)]
    pub vms: BTreeMap<String, Vm>,
}

impl Inventory {
    /// Understands the text of an inventory.
    pub fn parse(file: &str, text: &str) -> Result<Self, InventoryError> {
        let bad = |place: String, reason: String| InventoryError { file: file.to_owned(), place, reason };
        if text.len() > CONFIG_FILE_BYTES_MAX {
            return Err(bad(String::new(), format!("it is larger than {CONFIG_FILE_BYTES_MAX} bytes")));
        }
        let inventory: Self = serde_json::from_str(text).map_err(|e| {
            let reason = e.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
            bad(format!(":{}:{}", e.line(), e.column()), reason)
        })?;
        inventory.check().map_err(|(needle, reason)| bad(place_of(text, &needle), reason))?;
        Ok(inventory)
    }

    /// What is wrong beyond the shape; with a text to find the place by.
    fn check(&self) -> Result<(), (String, String)> {
        for (id, server) in &self.db_servers {
            let quoted = format!("\"{id}\"");
            let plain =
                !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            if !plain || id.len() > 128 {
                return Err((quoted, format!("`{id}` is not an id: use letters, digits, `-`, `_` and `.`")));
            }
            if server.connection_string.trim().is_empty() {
                return Err((quoted, format!("database `{id}` has an empty connection_string")));
            }
            if let Some(env) = &server.password_env
                && !env.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            {
                return Err((quoted, format!("password_env of `{id}` is not the name of an environment variable")));
            }
        }
        for (id, vm) in &self.vms {
            if !matches!(vm.runtime.as_str(), "" | "docker" | "podman") {
                return Err((
                    format!("\"{id}\""),
                    format!("runtime of `{id}` is `{}`: use docker, podman or leave it empty", vm.runtime),
                ));
            }
        }
        Ok(())
    }

    /// Things that are allowed but are probably not meant, in words.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (id, server) in &self.db_servers {
            if let Some(cluster) = server.k8s_cluster.as_ref().filter(|c| !self.k8s_clusters.contains_key(*c)) {
                found.push(format!("database `{id}` names the cluster `{cluster}`, which is not in the inventory"));
            }
            if let Some(vm) = server.vm_name.as_ref().filter(|v| !self.vms.contains_key(*v)) {
                found.push(format!("database `{id}` names the machine `{vm}`, which is not in the inventory"));
            }
            if mask_dsn(&server.connection_string) != server.connection_string {
                found.push(format!(
                    "database `{id}` has a password in its connection_string; use password_env or a pgpass file"
                ));
            }
            if server.tags.is_empty() {
                found.push(format!("database `{id}` has no tags, so policies that match on tags do not see it"));
            }
        }
        found
    }

    /// Where a database lives, in words: `Kubernetes: prod`, `VM: db1`, `Standalone`.
    pub fn hosting(&self, server: &DbServer) -> String {
        if let Some(cluster) = &server.k8s_cluster {
            let known = self.k8s_clusters.get(cluster);
            let name = known.map(|c| c.name.as_str()).filter(|name| !name.is_empty()).unwrap_or(cluster);
            return format!("Kubernetes: {name}{}", if known.is_some() { "" } else { " (not configured)" });
        }
        if let Some(vm) = &server.vm_name {
            let known = self.vms.get(vm);
            let name = known.map(|v| v.name.as_str()).filter(|name| !name.is_empty()).unwrap_or(vm);
            return format!("VM: {name}{}", if known.is_some() { "" } else { " (not configured)" });
        }
        "Standalone".to_owned()
    }

    fn database(&self, id: &str, server: &DbServer) -> Resource {
        Resource {
            kind: ResourceKind::Database,
            name: id.to_owned(),
            tags: server.tags.clone(),
            sensitivity: server.sensitivity.clone(),
            namespace: server.k8s_namespace.clone(),
        }
    }
}

/// `:line:column` of the first place where a text stands.
fn place_of(text: &str, needle: &str) -> String {
    let Some(at) = text.find(needle) else { return String::new() };
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    format!(":{line}:{column}")
}

/// Whether a connection string that was given means a known one: the same place, whatever its password and TLS settings.
pub type SameTarget = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// How a workspace is described, by its id or, for one that is to be made, by its template's name.
pub type WorkspaceLookup = Arc<dyn Fn(&str) -> Option<Resource> + Send + Sync>;

/// The inventory in force.
pub struct InventoryHolder {
    path: Option<PathBuf>,
    current: ArcSwapOption<Inventory>,
    same_target: SameTarget,
    seen: Mutex<Option<SystemTime>>,
    workspaces: OnceLock<WorkspaceLookup>,
}

impl InventoryHolder {
    /// Loads the inventory, when a file is set.
    pub fn load(path: Option<PathBuf>, same_target: SameTarget) -> Result<Self, InventoryError> {
        let current = path.as_deref().map(read).transpose()?;
        let seen = Mutex::new(path.as_deref().and_then(modified));
        Ok(Self { path, current: ArcSwapOption::from_pointee(current), same_target, seen, workspaces: OnceLock::new() })
    }

    /// Lets the workspaces that there are be acted on. Only the first call counts.
    pub fn show_workspaces(&self, lookup: WorkspaceLookup) {
        let _ = self.workspaces.set(lookup);
    }

    /// The inventory, when one is set.
    pub fn current(&self) -> Option<Arc<Inventory>> {
        self.current.load_full()
    }

    /// The file, when one is set.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The entry that a database target names: an id, or a connection string that leads to a known place.
    pub fn database(&self, target: &str) -> Option<(String, DbServer)> {
        let inventory = self.current.load_full()?;
        let found = match inventory.db_servers.get_key_value(target) {
            Some(found) => Some(found),
            None => {
                inventory.db_servers.iter().find(|(_, server)| (self.same_target)(target, &server.connection_string))
            }
        };
        found.map(|(id, server)| (id.clone(), server.clone()))
    }

    /// Reads the file again when it has changed. Says what happened, when something did.
    pub(crate) fn reload_if_changed(&self) -> Option<Result<String, String>> {
        let path = self.path.as_deref()?;
        let now = modified(path);
        {
            let mut seen = self.seen.lock().ok()?;
            if *seen == now {
                return None;
            }
            *seen = now;
        }
        Some(match read(path) {
            Ok(inventory) => {
                let count = inventory.db_servers.len();
                self.current.store(Some(Arc::new(inventory)));
                Ok(format!("the inventory {} was read again: {count} databases", path.display()))
            }
            Err(error) => Err(error.to_string()),
        })
    }
}

fn read(path: &Path) -> Result<Inventory, InventoryError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| InventoryError {
        file: file.clone(),
        place: String::new(),
        reason: e.to_string(),
    })?;
    Inventory::parse(&file, &text)
}

pub(crate) fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

impl reeve_gate::Inventory for InventoryHolder {
    fn resolve(&self, kind: ResourceKind, target: Option<&str>) -> Result<Resource, UnknownTarget> {
        if let (ResourceKind::Workspace, Some(lookup)) = (kind, self.workspaces.get()) {
            let target = target.unwrap_or_default();
            // Which others there are is nobody's business.
            return lookup(target).ok_or_else(|| UnknownTarget { target: mask_dsn(target), known: Vec::new() });
        }
        if kind == ResourceKind::Agent {
            let name: String = target.unwrap_or("agent").chars().take(80).collect();
            return Ok(Resource::new(kind, name));
        }
        if kind == ResourceKind::Kubernetes {
            return crate::clusters::place_named(self.current.load().as_deref(), target).map(|place| place.resource);
        }
        let Some(inventory) = self.current.load_full() else {
            return Ok(Resource::new(kind, target.map_or_else(|| "default".to_owned(), mask_dsn)));
        };
        if kind == ResourceKind::Platform {
            return Ok(Resource::new(kind, "reeve"));
        }
        let known = || inventory.db_servers.keys().take(8).cloned().collect::<Vec<_>>();
        match target {
            // With exactly one database there is nothing to choose.
            None => match inventory.db_servers.iter().next() {
                Some((id, server)) if inventory.db_servers.len() == 1 => Ok(inventory.database(id, server)),
                _ => Err(UnknownTarget { target: "(no target given)".to_owned(), known: known() }),
            },
            Some(target) => match self.database(target) {
                Some((id, server)) => Ok(inventory.database(&id, &server)),
                None => Err(UnknownTarget { target: mask_dsn(target), known: known() }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_gate::Inventory as _;

    fn holder(text: &str) -> InventoryHolder {
        let inventory = Inventory::parse("infrastructure.json", text).unwrap();
        InventoryHolder {
            path: None,
            current: ArcSwapOption::from_pointee(Some(inventory)),
            same_target: Arc::new(|a, b| a == b),
            seen: Mutex::new(None),
            workspaces: OnceLock::new(),
        }
    }

    #[test]
    fn a_wrong_key_is_named_with_its_place() {
        let text = "{\n  \"db_servers\": {\n    \"a\": { \"connection_string\": \"host=h\", \"tag\": [] }\n  }\n}";
        let error = Inventory::parse("infrastructure.json", text).unwrap_err().to_string();
        assert!(error.starts_with("infrastructure.json:3:"), "{error}");
        assert!(error.contains("unknown field `tag`"), "{error}");
    }

    #[test]
    fn a_target_outside_the_inventory_is_refused_and_the_known_ones_are_named() {
        let holder = holder(
            r#"{"db_servers": {"orders": {"connection_string": "host=h dbname=orders", "tags": ["production"]}}}"#,
        );
        let found = holder.resolve(ResourceKind::Database, Some("host=h dbname=orders")).unwrap();
        assert_eq!(found.name, "orders");
        assert!(found.tags.contains("production"));
        let refused = holder.resolve(ResourceKind::Database, Some("host=evil password=x")).unwrap_err();
        assert_eq!(refused.to_string(), "`host=evil password=***` is not in the inventory; it knows orders");
    }

    #[test]
    fn without_an_inventory_a_target_is_taken_as_it_is_but_without_its_password() {
        let none = InventoryHolder {
            path: None,
            current: ArcSwapOption::empty(),
            same_target: Arc::new(|_, _| false),
            seen: Mutex::new(None),
            workspaces: OnceLock::new(),
        };
        let found = none.resolve(ResourceKind::Database, Some("host=h password=x")).unwrap();
        assert_eq!(found.name, "host=h password=***");
        assert!(found.tags.is_empty());
    }
}
