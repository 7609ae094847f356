//! Pods: which there are, and what state they are in.

use jiff::Timestamp;
use reeve_types::ToolOutput;
use serde_json::{Value, json};

use super::define::{Definition, string, text};
use super::job::Job;
use super::render::{age, table};
use super::trouble::Trouble;
use crate::objects::{Condition, ContainerStatus, Pod, Terminated};

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::of_namespace(
            "get_pods",
            "Pods with their state, readiness, restarts, how their containers last ended, node and address.",
            |job| Box::pin(get_pods(job)),
        )
        .optional("labels", string("Only pods with these labels, such as app=web,tier!=cache.", 1024))
        .capabilities(&["pods", "restarts", "crashes"]),
    ]
}

async fn get_pods(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let view = job.view()?;
    let query: Vec<(&str, &str)> =
        text(job.args(), "labels").map(|labels| ("labelSelector", labels)).into_iter().collect();
    let path = view.path(&super::job::CORE, "pods");
    let listed = view.all::<Pod>(&path, &query).await?;
    let now = job.now();
    let count = listed.items.len();
    let ill = listed.items.iter().filter(|pod| !is_well(pod)).count();
    let (pods, within) = (if count == 1 { "pod" } else { "pods" }, view.within());
    let message = match view.cut_note(listed.cut, "pods") {
        Some(note) => note,
        None if count == 0 => format!("no pods{within}"),
        None if ill == 0 => format!("{count} {pods}{within}, none of them unwell"),
        None => format!("{count} {pods}{within}, {ill} of them not well"),
    };
    let rows: Vec<Vec<String>> = listed
        .items
        .iter()
        .map(|pod| {
            vec![
                view.name_of(&pod.metadata),
                ready(pod),
                state(pod),
                restarts(pod).to_string(),
                last_end(pod).map(ended).unwrap_or_default(),
                age(pod.metadata.creation_timestamp, now),
                pod.status.pod_ip.clone(),
                pod.spec.node_name.clone(),
            ]
        })
        .collect();
    let mut words = format!("{message}\n");
    if count > 0 {
        words.push_str(&table(&["NAME", "READY", "STATUS", "RESTARTS", "LAST END", "AGE", "IP", "NODE"], &rows));
    }
    for pod in listed.items.iter().filter(|pod| !is_well(pod)) {
        if let Some(why) = why(pod) {
            words.push_str(&format!("{}: {}\n", view.name_of(&pod.metadata), one_line(&why)));
        }
    }
    let pods: Vec<Value> = listed.items.iter().map(|pod| data(pod, now)).collect();
    Ok(ToolOutput::with_data(words, json!({ "pods": pods, "count": count, "message": message })))
}

fn data(pod: &Pod, now: Timestamp) -> Value {
    json!({
        "name": pod.metadata.name,
        "namespace": pod.metadata.namespace,
        "phase": pod.status.phase,
        "status": state(pod),
        "reason": why(pod),
        "ready": ready(pod),
        "restarts": restarts(pod),
        "age": age(pod.metadata.creation_timestamp, now),
        "ip": pod.status.pod_ip,
        "node": pod.spec.node_name,
        "labels": pod.metadata.labels,
        "conditions": pod.status.conditions.iter().map(condition).collect::<Vec<_>>(),
        "last_state": last_end(pod).map(|end| json!({
            "reason": end.reason,
            "exit_code": end.exit_code,
            "oomkilled": end.reason == "OOMKilled",
            "finished_at": end.finished_at,
        })),
    })
}

/// A condition as data.
pub(super) fn condition(condition: &Condition) -> Value {
    let mut shown = json!({ "type": condition.kind, "status": condition.status });
    for (name, value) in [("reason", &condition.reason), ("message", &condition.message)] {
        if !value.is_empty() {
            shown[name] = value.as_str().into();
        }
    }
    shown
}

/// `1/2`: containers that take requests, of all.
pub(super) fn ready(pod: &Pod) -> String {
    let ready = pod.status.container_statuses.iter().filter(|container| container.ready).count();
    format!("{ready}/{}", pod.spec.containers.len().max(pod.status.container_statuses.len()))
}

/// How often its containers were started again.
pub(super) fn restarts(pod: &Pod) -> u64 {
    containers(pod).map(|container| container.restart_count).sum()
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses)
}

/// What `kubectl get pods` calls STATUS: the most telling word there is.
pub(super) fn state(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    for (before, list) in [("Init:", &pod.status.init_container_statuses), ("", &pod.status.container_statuses)] {
        for container in list {
            let state = &container.state;
            if let Some(waiting) = state.waiting.as_ref().filter(|w| !w.reason.is_empty() && !is_usual(&w.reason)) {
                return format!("{before}{}", waiting.reason);
            }
            if let Some(end) = state.terminated.as_ref().filter(|end| end.exit_code != 0) {
                return format!("{before}{}", end_word(end));
            }
        }
    }
    if !pod.status.reason.is_empty() {
        return pod.status.reason.clone();
    }
    match pod.status.phase.as_str() {
        "Succeeded" => "Completed".to_owned(),
        phase => phase.to_owned(),
    }
}

/// A container that has just been put on its node waits so.
fn is_usual(reason: &str) -> bool {
    matches!(reason, "ContainerCreating" | "PodInitializing")
}

fn end_word(end: &Terminated) -> String {
    if end.reason.is_empty() { format!("ExitCode:{}", end.exit_code) } else { end.reason.clone() }
}

/// `OOMKilled (137)`.
pub(super) fn ended(end: &Terminated) -> String {
    format!("{} ({})", end_word(end), end.exit_code)
}

/// How a container of it last ended: the latest one.
pub(super) fn last_end<'a>(pod: &'a Pod) -> Option<&'a Terminated> {
    let end = |container: &'a ContainerStatus| {
        container.state.terminated.as_ref().or(container.last_state.terminated.as_ref())
    };
    // Those that run before the others are meant to end.
    let before = pod.status.init_container_statuses.iter().filter_map(end).filter(|end| end.exit_code != 0);
    before.chain(pod.status.container_statuses.iter().filter_map(end)).max_by_key(|end| end.finished_at)
}

fn is_well(pod: &Pod) -> bool {
    let all_ready = pod.status.container_statuses.iter().all(|container| container.ready);
    match pod.status.phase.as_str() {
        "Succeeded" => true,
        "Running" => all_ready && pod.metadata.deletion_timestamp.is_none(),
        _ => false,
    }
}

/// Why it is not well, in the cluster's words.
pub(super) fn why(pod: &Pod) -> Option<String> {
    let waiting = containers(pod)
        .filter_map(|container| container.state.waiting.as_ref())
        .find(|waiting| !waiting.message.is_empty())
        .map(|waiting| waiting.message.clone());
    let condition = || {
        let false_one = pod.status.conditions.iter().find(|c| c.status == "False" && !c.message.is_empty());
        false_one.map(|c| c.message.clone())
    };
    let own = Some(pod.status.message.clone()).filter(|message| !message.is_empty());
    if is_well(pod) { None } else { waiting.or(own).or_else(condition) }
}

fn one_line(text: &str) -> String {
    text.chars().take(400).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
