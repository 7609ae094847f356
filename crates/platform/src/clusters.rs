//! Which cluster and namespace a Kubernetes call means, by the inventory: policy sees the same place as the tool.

use std::collections::{BTreeMap, BTreeSet};

use reeve_gate::UnknownTarget;
use reeve_types::{Resource, ResourceKind, mask_dsn};

use crate::inventory::{Cluster, DbServer, Inventory};

/// The word for every namespace of a cluster.
pub const ALL_NAMESPACES: &str = "all";
/// The name of a cluster that nobody has given one.
const NAMELESS: &str = "cluster";

/// A cluster, or one namespace of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPlace {
    /// What policies see.
    pub resource: Resource,
    /// The context of the kubeconfig; its current one when absent.
    pub context: Option<String>,
    /// The namespace; absent for the cluster as a whole, [`ALL_NAMESPACES`] for all of them.
    pub namespace: Option<String>,
}

/// Finds the place. `context` is a context or an id of a cluster; `namespace` a namespace, the id of a database that
/// runs in one, or [`ALL_NAMESPACES`].
pub fn cluster_place(
    inventory: Option<&Inventory>,
    context: Option<&str>,
    namespace: Option<&str>,
) -> Result<ClusterPlace, UnknownTarget> {
    let (context, namespace) = (filled(context), filled(namespace));
    match inventory {
        Some(inventory) => inventory.place(context, namespace),
        None => Ok(ClusterPlace {
            resource: resource(context.unwrap_or(NAMELESS), namespace, &BTreeSet::new(), &BTreeSet::new()),
            context: context.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
        }),
    }
}

/// The place that a gate's target names: `context/namespace`, where either may be empty. Contexts may hold slashes,
/// namespaces cannot. Without a slash it is a cluster, else a namespace.
pub(crate) fn place_named(inventory: Option<&Inventory>, target: Option<&str>) -> Result<ClusterPlace, UnknownTarget> {
    let target = target.unwrap_or_default();
    let whole_is_cluster = inventory.is_some_and(|inventory| inventory.clusters_called(target).next().is_some());
    match target.rsplit_once('/') {
        Some((context, namespace)) if !whole_is_cluster => cluster_place(inventory, Some(context), Some(namespace)),
        None if !whole_is_cluster => cluster_place(inventory, None, Some(target)),
        _ => cluster_place(inventory, Some(target), None),
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn resource(
    cluster: &str,
    namespace: Option<&str>,
    tags: &BTreeSet<String>,
    sensitivity: &BTreeSet<String>,
) -> Resource {
    let name = match namespace {
        Some(namespace) => format!("{cluster}/{namespace}"),
        None => cluster.to_owned(),
    };
    Resource {
        kind: ResourceKind::Kubernetes,
        name,
        tags: tags.clone(),
        sensitivity: sensitivity.clone(),
        namespace: namespace.map(str::to_owned),
    }
}

fn namespace_of(server: &DbServer) -> &str {
    filled(server.k8s_namespace.as_deref()).unwrap_or("default")
}

impl Inventory {
    /// The clusters that a context or an id names.
    fn clusters_called<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a String, &'a Cluster)> {
        let by_id = self.k8s_clusters.get_key_value(name);
        self.k8s_clusters
            .iter()
            .filter(move |(id, cluster)| match by_id {
                Some((wanted, _)) => *id == wanted,
                None => cluster.context == name,
            })
            .filter(move |_| !name.is_empty())
    }

    fn place(&self, context: Option<&str>, namespace: Option<&str>) -> Result<ClusterPlace, UnknownTarget> {
        let named = context.map(|context| self.cluster_called(context, namespace)).transpose()?;
        // The id of a database stands for the namespace that it runs in.
        if let Some((id, server)) = namespace.and_then(|name| self.db_servers.get_key_value(name))
            && let Some(cluster_id) = &server.k8s_cluster
        {
            let (cluster_id, cluster) = self
                .k8s_clusters
                .get_key_value(cluster_id)
                .filter(|(found, _)| named.is_none_or(|(wanted, _)| wanted == *found))
                .ok_or_else(|| self.unknown(&format!("{} ({id})", context.unwrap_or(cluster_id))))?;
            return Ok(self.within(cluster_id, cluster, Some(namespace_of(server))));
        }
        let (id, cluster) = match (named, namespace) {
            (Some(found), _) => found,
            (None, Some(namespace)) if namespace != ALL_NAMESPACES => self.cluster_of_namespace(namespace)?,
            (None, _) => self.only_cluster(namespace)?,
        };
        Ok(self.within(id, cluster, namespace))
    }

    fn cluster_called<'a>(
        &'a self,
        context: &'a str,
        namespace: Option<&str>,
    ) -> Result<(&'a String, &'a Cluster), UnknownTarget> {
        let found: BTreeMap<_, _> = self.clusters_called(context).collect();
        match found.len() {
            1 => found.into_iter().next().ok_or_else(|| self.unknown(context)),
            0 => Err(self.unknown(context)),
            _ => {
                // Two entries with one context: the namespace's database tells which is meant.
                let server = |id: &String| namespace.is_some_and(|name| self.servers_in(id, name).next().is_some());
                let mut fitting = found.into_iter().filter(|(id, _)| server(id));
                match (fitting.next(), fitting.next()) {
                    (Some(one), None) => Ok(one),
                    _ => Err(self.ambiguous(context)),
                }
            }
        }
    }

    /// The cluster of the databases that run in a namespace, or the only one there is.
    fn cluster_of_namespace(&self, namespace: &str) -> Result<(&String, &Cluster), UnknownTarget> {
        let mut clusters = self.k8s_clusters.iter().filter(|(id, _)| self.servers_in(id, namespace).next().is_some());
        match (clusters.next(), clusters.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(self.ambiguous(namespace)),
            (None, _) => self.only_cluster(Some(namespace)),
        }
    }

    fn only_cluster(&self, namespace: Option<&str>) -> Result<(&String, &Cluster), UnknownTarget> {
        let mut clusters = self.k8s_clusters.iter();
        match (clusters.next(), clusters.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(self.unknown(namespace.unwrap_or("(no cluster)"))),
            (Some(_), Some(_)) => Err(self.ambiguous(namespace.unwrap_or("(no cluster)"))),
        }
    }

    fn servers_in<'a>(&'a self, cluster: &'a str, namespace: &'a str) -> impl Iterator<Item = &'a DbServer> {
        self.db_servers
            .values()
            .filter(move |server| server.k8s_cluster.as_deref() == Some(cluster) && namespace_of(server) == namespace)
    }

    /// What is said of a cluster holds in each of its namespaces; what is said of a database holds in its namespace.
    fn within(&self, id: &str, cluster: &Cluster, namespace: Option<&str>) -> ClusterPlace {
        let (mut tags, mut sensitivity) = (cluster.tags.clone(), cluster.sensitivity.clone());
        for server in self.db_servers.values().filter(|server| server.k8s_cluster.as_deref() == Some(id)) {
            match namespace {
                Some(ALL_NAMESPACES) => sensitivity.extend(server.sensitivity.iter().cloned()),
                Some(namespace) if namespace == namespace_of(server) => {
                    tags.extend(server.tags.iter().cloned());
                    sensitivity.extend(server.sensitivity.iter().cloned());
                }
                _ => {}
            }
        }
        ClusterPlace {
            resource: resource(id, namespace, &tags, &sensitivity),
            context: filled(Some(&cluster.context)).map(str::to_owned),
            namespace: namespace.map(str::to_owned),
        }
    }

    fn known_clusters(&self) -> Vec<String> {
        self.k8s_clusters.keys().take(8).cloned().collect()
    }

    fn unknown(&self, target: &str) -> UnknownTarget {
        let mut known = self.known_clusters();
        if known.is_empty() {
            known.push("no cluster: add it under `k8s_clusters`".to_owned());
        }
        UnknownTarget { target: mask_dsn(target), known }
    }

    fn ambiguous(&self, target: &str) -> UnknownTarget {
        let target = format!("{} without an explicit context", mask_dsn(target));
        UnknownTarget {
            target,
            known: vec![format!("{}: give one of them as `context`", self.known_clusters().join(", "))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{
        "db_servers": {
            "orders": {"connection_string": "host=h", "k8s_cluster": "prod", "k8s_namespace": "shop",
                       "tags": ["orders"], "sensitivity": ["pii"]},
            "bills": {"connection_string": "host=b", "k8s_cluster": "prod"},
            "lost": {"connection_string": "host=l", "k8s_cluster": "gone"},
            "both": {"connection_string": "host=c", "k8s_cluster": "test"}
        },
        "k8s_clusters": {
            "prod": {"context": "arn:aws:eks:eu:1:cluster/prod", "tags": ["production"]},
            "test": {"context": "kind-test", "tags": ["test"], "sensitivity": ["critical"]}
        }
    }"#;

    fn words(texts: &BTreeSet<String>) -> Vec<&str> {
        texts.iter().map(String::as_str).collect()
    }

    fn place(text: &str, context: &str, namespace: &str) -> Result<ClusterPlace, String> {
        let inventory = Inventory::parse("infrastructure.json", text).unwrap();
        cluster_place(Some(&inventory), Some(context), Some(namespace)).map_err(|e| e.to_string())
    }

    #[test]
    fn a_namespace_has_the_tags_of_its_databases_and_of_its_cluster() {
        for (context, namespace) in [("", "orders"), ("", "shop"), ("prod", "shop"), ("prod", "orders")] {
            let found = place(TWO, context, namespace).unwrap();
            assert_eq!(found.resource.name, "prod/shop", "{context}/{namespace}");
            assert_eq!(words(&found.resource.tags), ["orders", "production"]);
            assert_eq!(words(&found.resource.sensitivity), ["pii"]);
            assert_eq!(found.resource.namespace.as_deref(), Some("shop"));
            assert_eq!(found.context.as_deref(), Some("arn:aws:eks:eu:1:cluster/prod"));
        }
        let elsewhere = place(TWO, "kind-test", "shop").unwrap();
        assert_eq!((elsewhere.resource.name.as_str(), words(&elsewhere.resource.tags)), ("test/shop", vec!["test"]));
    }

    #[test]
    fn every_namespace_at_once_is_as_sensitive_as_the_most_sensitive() {
        let all = place(TWO, "prod", "all").unwrap();
        assert_eq!((words(&all.resource.tags), words(&all.resource.sensitivity)), (vec!["production"], vec!["pii"]));
    }

    #[test]
    fn what_is_not_registered_or_could_be_two_is_refused() {
        let unknown = place(TWO, "staging", "shop").unwrap_err();
        assert_eq!(unknown, "`staging` is not in the inventory; it knows prod, test");
        let two = place(TWO, "", "web").unwrap_err();
        assert_eq!(
            two,
            "`web without an explicit context` is not in the inventory; it knows prod, test: give one of them as `context`"
        );
        assert!(place(TWO, "", "default").unwrap_err().contains("explicit context"));
        assert!(place(TWO, "test", "orders").unwrap_err().starts_with("`test (orders)` is not"));
        assert!(place(TWO, "", "lost").unwrap_err().starts_with("`gone (lost)` is not"));
        let none = place("{}", "", "default").unwrap_err();
        assert_eq!(none, "`default` is not in the inventory; it knows no cluster: add it under `k8s_clusters`");
    }

    #[test]
    fn the_only_cluster_need_not_be_named() {
        let one = r#"{"k8s_clusters": {"home": {"tags": ["test"]}}}"#;
        let found = place(one, "", "web").unwrap();
        assert_eq!((found.resource.name.as_str(), found.context.as_deref()), ("home/web", None));
        let cluster = place(one, "", "").unwrap();
        assert_eq!((cluster.resource.name.as_str(), cluster.resource.namespace), ("home", None));
    }

    #[test]
    fn a_target_of_the_gate_leads_to_the_same_place_as_its_parts() {
        let inventory = Inventory::parse("infrastructure.json", TWO).unwrap();
        let named = |target: &str| place_named(Some(&inventory), Some(target)).map(|found| found.resource.name);
        for (target, name) in [
            ("arn:aws:eks:eu:1:cluster/prod/shop", "prod/shop"),
            ("arn:aws:eks:eu:1:cluster/prod/", "prod"),
            ("arn:aws:eks:eu:1:cluster/prod", "prod"),
            ("prod/shop", "prod/shop"),
            ("/orders", "prod/shop"),
            ("prod", "prod"),
            ("shop", "prod/shop"),
        ] {
            assert_eq!(named(target).unwrap(), name, "{target}");
        }
        assert!(named("/").is_err() && named("kind-prod/shop").is_err());
    }

    #[test]
    fn without_an_inventory_any_place_is_taken_without_tags() {
        let found = place_named(None, Some("kind/web")).unwrap();
        assert_eq!((found.resource.name.as_str(), found.context.as_deref()), ("kind/web", Some("kind")));
        assert!(found.resource.tags.is_empty());
        assert_eq!(place_named(None, Some("/web")).unwrap().resource.name, "cluster/web");
    }
}
