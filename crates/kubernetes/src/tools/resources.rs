//! What pods may use, and what they use.

use std::collections::BTreeMap;

use reeve_types::ToolOutput;
use serde_json::{Value, json};

use super::define::{Definition, object_name, text};
use super::job::{Job, View};
use super::render::table;
use super::trouble::Trouble;
use crate::client::ApiFailureKind;
use crate::objects::{Pod, PodMetrics, Words};

/// Where the metrics server is asked.
const METRICS: [&str; 3] = ["apis", "metrics.k8s.io", "v1beta1"];

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::of_namespace(
            "get_pod_resources",
            "Requests and limits of each container, and what it uses at the moment where the cluster has a metrics server.",
            |job| Box::pin(get_pod_resources(job)),
        )
        .optional("pod_name", object_name("Only this pod."))
        .capabilities(&["pods", "memory", "cpu"]),
    ]
}

/// By namespace and pod, then by container.
type Usage = BTreeMap<(String, String), BTreeMap<String, Words>>;

async fn get_pod_resources(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let view = job.view()?;
    let name = text(job.args(), "pod_name");
    let listed = view.one_or_all::<Pod>("pods", name, &[]).await?;
    let (usage, note) = usage(&view, name).await?;
    let (mut rows, mut pods) = (Vec::new(), Vec::new());
    for pod in &listed.items {
        let used = usage.get(&(pod.metadata.namespace.clone(), pod.metadata.name.clone()));
        let mut containers = Vec::new();
        for container in &pod.spec.containers {
            let used = used.and_then(|used| used.get(&container.name)).cloned().unwrap_or_default();
            let (requests, limits) = (&container.resources.requests, &container.resources.limits);
            let cell = |of: &Words, what: &str| of.get(what).cloned().unwrap_or_default();
            let mut row = vec![view.name_of(&pod.metadata), container.name.clone()];
            for what in ["cpu", "memory"] {
                row.extend([cell(requests, what), cell(limits, what), cell(&used, what)]);
            }
            rows.push(row);
            containers.push(json!({
                "name": container.name, "requests": requests, "limits": limits,
                "usage": if used.is_empty() { Value::Null } else { json!(used) },
            }));
        }
        pods.push(json!({
            "name": pod.metadata.name, "namespace": pod.metadata.namespace, "node": pod.spec.node_name,
            "qos_class": pod.status.qos_class, "containers": containers,
        }));
    }
    let count = pods.len();
    let mut words = view.cut_note(listed.cut, "pods").map(|note| format!("{note}\n")).unwrap_or_default();
    if rows.is_empty() {
        words.push_str(&format!("no pods{}\n", view.within()));
    } else {
        let head = ["POD", "CONTAINER", "CPU REQUEST", "CPU LIMIT", "CPU USED", "MEM REQUEST", "MEM LIMIT", "MEM USED"];
        words.push_str(&table(&head, &rows));
    }
    let mut data = json!({ "pods": pods, "count": count });
    if let Some(note) = note {
        words.push_str(&format!("{note}\n"));
        data["metrics_note"] = note.into();
    }
    Ok(ToolOutput::with_data(words, data))
}

/// What is used at the moment; where that cannot be told, why.
async fn usage(view: &View, pod: Option<&str>) -> Result<(Usage, Option<String>), Trouble> {
    let path = view.path(&METRICS, "pods");
    let found = match pod {
        Some(pod) if view.namespace.is_some() => {
            let mut path = path;
            path.push(pod);
            view.api.get::<PodMetrics>(&path).await.map(|one| vec![one])
        }
        _ => view.api.list::<PodMetrics>(&path, &[]).await.map(|listed| listed.items),
    };
    let failure = match found {
        Ok(metrics) => {
            let by_container =
                |one: &PodMetrics| one.containers.iter().map(|c| (c.name.clone(), c.usage.clone())).collect();
            let entry = |one: PodMetrics| {
                let containers = by_container(&one);
                ((one.metadata.namespace, one.metadata.name), containers)
            };
            return Ok((metrics.into_iter().map(entry).collect(), None));
        }
        Err(failure) => failure,
    };
    let note = match failure.kind {
        ApiFailureKind::NotFound | ApiFailureKind::NotAnApiServer => {
            "usage is not known: the cluster has no metrics server, or it has not measured this pod yet".to_owned()
        }
        // The spec was read, so the cluster is there: usage is what is missing, not the answer.
        _ => format!("usage is not known: {}", failure.sentence),
    };
    Ok((Usage::new(), Some(note)))
}
