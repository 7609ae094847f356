//! Nodes: which there are, and how they are.

use reeve_types::ToolOutput;
use serde_json::{Value, json};

use super::define::{Definition, flag, object_name, text};
use super::job::Job;
use super::pods::condition;
use super::render::{age, pairs, table};
use super::trouble::Trouble;
use crate::objects::{Node, Words};

/// How nodes say what they are for.
const ROLE_LABEL: &str = "node-role.kubernetes.io/";
/// What is told of a node's room.
const ROOM: [&str; 4] = ["cpu", "memory", "pods", "ephemeral-storage"];

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::of_cluster(
            "get_nodes",
            "Nodes with their state, roles, addresses and versions.",
            |job| Box::pin(get_nodes(job)),
        )
        .optional(
            "show_labels",
            json!({ "type": "boolean", "default": false, "description": "Also their labels." }),
        )
        .capabilities(&["nodes"]),
        Definition::of_cluster(
            "get_node_status",
            "What holds of a node, or of every node: ready, pressure on memory, disk and processes, taints, and how much cpu and memory it has and gives to pods.",
            |job| Box::pin(get_node_status(job)),
        )
        .optional("node_name", object_name("Only this node."))
        .capabilities(&["nodes", "pressure"]),
    ]
}

async fn get_nodes(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let view = job.view()?;
    let listed = view.one_or_all::<Node>("nodes", None, &[]).await?;
    let (now, labels) = (job.now(), flag(job.args(), "show_labels"));
    let mut head = vec!["NAME", "STATUS", "ROLES", "AGE", "VERSION", "INTERNAL-IP", "EXTERNAL-IP", "OS", "RUNTIME"];
    if labels {
        head.push("LABELS");
    }
    let (mut rows, mut nodes) = (Vec::new(), Vec::new());
    for node in &listed.items {
        let info = &node.status.node_info;
        let age = age(node.metadata.creation_timestamp, now);
        let (internal, external) = (address(node, "InternalIP"), address(node, "ExternalIP"));
        let mut row = vec![
            node.metadata.name.clone(),
            state(node),
            roles(node).join(","),
            age.clone(),
            info.kubelet_version.clone(),
            internal.to_owned(),
            external.to_owned(),
            info.os_image.clone(),
            info.container_runtime_version.clone(),
        ];
        let mut shown = json!({
            "name": node.metadata.name,
            "status": state(node),
            "roles": roles(node),
            "age": age,
            "kubelet_version": info.kubelet_version,
            "internal_ip": internal,
            "external_ip": external,
            "os_image": info.os_image,
            "container_runtime": info.container_runtime_version,
        });
        if labels {
            row.push(pairs(&node.metadata.labels));
            shown["labels"] = json!(node.metadata.labels);
        }
        rows.push(row);
        nodes.push(shown);
    }
    let count = nodes.len();
    let mut words = view.cut_note(listed.cut, "nodes").map(|note| format!("{note}\n")).unwrap_or_default();
    words.push_str(&if count == 0 { "no nodes\n".to_owned() } else { table(&head, &rows) });
    Ok(ToolOutput::with_data(words, json!({ "nodes": nodes, "count": count })))
}

/// `Ready`, `NotReady`, `Unknown`, and whether it takes nothing new.
fn state(node: &Node) -> String {
    let ready = node.status.conditions.iter().find(|condition| condition.kind == "Ready");
    let word = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => "Ready",
        Some("False") => "NotReady",
        _ => "Unknown",
    };
    if node.spec.unschedulable { format!("{word},SchedulingDisabled") } else { word.to_owned() }
}

fn roles(node: &Node) -> Vec<&str> {
    let names = node.metadata.labels.keys();
    names.filter_map(|name| name.strip_prefix(ROLE_LABEL)).filter(|role| !role.is_empty()).collect()
}

fn address<'a>(node: &'a Node, kind: &str) -> &'a str {
    node.status.addresses.iter().find(|address| address.kind == kind).map_or("", |found| found.address.as_str())
}

async fn get_node_status(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let view = job.view()?;
    let items: Vec<Node> = match text(job.args(), "node_name") {
        Some(name) => vec![view.api.get(&["api", "v1", "nodes", name]).await?],
        None => view.one_or_all::<Node>("nodes", None, &[]).await?.items,
    };
    let mut words = String::new();
    for node in &items {
        words.push_str(&format!("{}: {}\n", node.metadata.name, state(node)));
        let rows: Vec<Vec<String>> = node
            .status
            .conditions
            .iter()
            .map(|held| {
                let since = held.last_transition_time.map(|at| at.to_string()).unwrap_or_default();
                vec![held.kind.clone(), held.status.clone(), since, held.reason.clone(), held.message.clone()]
            })
            .collect();
        words.push_str(&table(&["CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"], &rows));
        words.push_str(&format!("Capacity:    {}\n", pairs(&room(&node.status.capacity))));
        words.push_str(&format!("Allocatable: {}\n", pairs(&room(&node.status.allocatable))));
        if !node.spec.taints.is_empty() {
            words.push_str(&format!("Taints:      {}\n", taints(node).join(", ")));
        }
        words.push('\n');
    }
    if items.is_empty() {
        words.push_str("no nodes\n");
    }
    let nodes: Vec<Value> = items.iter().map(status_data).collect();
    let count = nodes.len();
    Ok(ToolOutput::with_data(words.trim_end().to_owned() + "\n", json!({ "nodes": nodes, "count": count })))
}

fn status_data(node: &Node) -> Value {
    let conditions = node.status.conditions.iter().map(|held| {
        let mut shown = condition(held);
        shown["last_transition"] = json!(held.last_transition_time);
        shown
    });
    json!({
        "name": node.metadata.name,
        "status": state(node),
        "conditions": conditions.collect::<Vec<_>>(),
        "capacity": room(&node.status.capacity),
        "allocatable": room(&node.status.allocatable),
        "taints": taints(node),
        "unschedulable": node.spec.unschedulable,
    })
}

fn room(whole: &Words) -> Words {
    whole
        .iter()
        .filter(|(name, _)| ROOM.contains(&name.as_str()))
        .map(|(name, size)| (name.clone(), size.clone()))
        .collect()
}

fn taints(node: &Node) -> Vec<String> {
    let words = node.spec.taints.iter().map(|taint| {
        let value = if taint.value.is_empty() { String::new() } else { format!("={}", taint.value) };
        format!("{}{value}:{}", taint.key, taint.effect)
    });
    words.collect()
}
