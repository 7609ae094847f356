//! One pod in full.

use std::fmt::Write as _;

use reeve_types::ToolOutput;
use serde_json::{Value, json};

use super::define::Definition;
use super::job::{CORE, Job};
use super::pods::{condition, ended, last_end, ready, restarts, state, why};
use super::render::{age, pairs};
use super::trouble::Trouble;
use crate::objects::{Container, ContainerState, ContainerStatus, Pod};

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::of_pod(
            "describe_pod",
            "One pod: node, phase, conditions, each container with its state, restarts and last end, requests, limits and labels. Environment variables are not shown.",
            |job| Box::pin(describe_pod(job)),
        )
        .capabilities(&["pods", "restarts", "crashes"]),
    ]
}

async fn describe_pod(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let (api, namespace) = job.view_of_one()?;
    let name = job.needed("pod_name")?;
    let pod: Pod = api.get(&[CORE[0], CORE[1], "namespaces", &namespace, "pods", name]).await?;
    let mut words = String::new();
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let _ = writeln!(words, "Name:            {name}");
    let _ = writeln!(words, "Namespace:       {namespace}");
    let _ = writeln!(words, "Node:            {}", or_none(&pod.spec.node_name));
    let _ = writeln!(words, "Phase:           {}", pod.status.phase);
    let _ = writeln!(words, "Status:          {} ({} ready)", state(&pod), ready(&pod));
    if let Some(why) = why(&pod) {
        let _ = writeln!(words, "Reason:          {}", why.trim());
    }
    let _ = writeln!(words, "IP:              {}", or_none(&pod.status.pod_ip));
    let _ = writeln!(words, "Age:             {}", age(pod.metadata.creation_timestamp, job.now()));
    let _ = writeln!(words, "Restarts:        {}", restarts(&pod));
    let last = last_end(&pod);
    if let Some(end) = last {
        let at = end.finished_at.map(|at| format!(" at {at}")).unwrap_or_default();
        let _ = writeln!(words, "Last ended:      {}{at}", ended(end));
    }
    let _ = writeln!(words, "QoS class:       {}", or_none(&pod.status.qos_class));
    let _ = writeln!(words, "Service account: {}", or_none(&pod.spec.service_account_name));
    let _ = writeln!(words, "Labels:          {}", or_none(&pairs(&pod.metadata.labels)));
    words.push_str("Conditions:\n");
    for held in &pod.status.conditions {
        let why = [held.reason.as_str(), held.message.as_str()].join(" ");
        let line = format!("  {:<16} {:<8} {}", held.kind, held.status, why.trim());
        let _ = writeln!(words, "{}", line.trim_end());
    }
    let mut containers = Vec::new();
    let init = pod.spec.init_containers.iter().map(|container| (container, &pod.status.init_container_statuses, true));
    let own = pod.spec.containers.iter().map(|container| (container, &pod.status.container_statuses, false));
    words.push_str("Containers:\n");
    for (container, statuses, before) in init.chain(own) {
        let status = statuses.iter().find(|status| status.name == container.name).cloned().unwrap_or_default();
        tell(&mut words, container, &status, before);
        containers.push(data(container, &status, before));
    }
    let data = json!({
        "name": name,
        "namespace": namespace,
        "node": pod.spec.node_name,
        "phase": pod.status.phase,
        "status": state(&pod),
        "reason": why(&pod),
        "restarts": restarts(&pod),
        "conditions": pod.status.conditions.iter().map(condition).collect::<Vec<_>>(),
        "containers": containers,
        "labels": pod.metadata.labels,
    });
    Ok(ToolOutput::with_data(words.trim_end().to_owned() + "\n", data))
}

fn tell(words: &mut String, container: &Container, status: &ContainerStatus, before: bool) {
    let first = if before { " (runs before the others)" } else { "" };
    let _ = writeln!(words, "  {}{first}", container.name);
    let _ = writeln!(words, "    Image:    {}", container.image);
    let _ = writeln!(words, "    State:    {}", state_words(&status.state));
    if status.last_state.terminated.is_some() {
        let _ = writeln!(words, "    Before:   {}", state_words(&status.last_state));
    }
    let _ =
        writeln!(words, "    Ready:    {}, {} restarts", if status.ready { "yes" } else { "no" }, status.restart_count);
    for (name, set) in [("Requests:", &container.resources.requests), ("Limits:", &container.resources.limits)] {
        let _ = writeln!(words, "    {name:<9} {}", if set.is_empty() { "none".to_owned() } else { pairs(set) });
    }
}

fn state_words(state: &ContainerState) -> String {
    if let Some(end) = &state.terminated {
        let at = end.finished_at.map(|at| format!(" at {at}")).unwrap_or_default();
        let said = if end.message.is_empty() { String::new() } else { format!(": {}", end.message.trim()) };
        return format!("ended, {}{at}{said}", ended(end));
    }
    if let Some(waiting) = &state.waiting {
        let said = if waiting.message.is_empty() { String::new() } else { format!(": {}", waiting.message) };
        return format!("waiting, {}{said}", waiting.reason);
    }
    match state.running.as_ref().map(|running| running.started_at) {
        Some(Some(since)) => format!("running since {since}"),
        Some(None) => "running".to_owned(),
        None => "not started".to_owned(),
    }
}

fn data(container: &Container, status: &ContainerStatus, before: bool) -> Value {
    json!({
        "name": container.name,
        "init": before,
        "image": container.image,
        "state": state_words(&status.state),
        "last_end": status.last_state.terminated.as_ref().map(|end| json!({
            "reason": end.reason, "exit_code": end.exit_code, "oomkilled": end.reason == "OOMKilled",
            "signal": end.signal, "finished_at": end.finished_at,
        })),
        "ready": status.ready,
        "restarts": status.restart_count,
        "requests": container.resources.requests,
        "limits": container.resources.limits,
    })
}
