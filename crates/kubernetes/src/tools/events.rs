//! Events: what the cluster says happened.

use jiff::Timestamp;
use reeve_types::ToolOutput;
use serde_json::{Value, json};

use super::define::{Definition, string, text};
use super::job::{CORE, Job};
use super::render::table;
use super::trouble::Trouble;
use crate::objects::KubeEvent;

/// How many events an answer holds; the newest say most.
const EVENTS_SHOWN: usize = 200;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::of_namespace(
            "get_events",
            "Events, newest first, at most 200: scheduling, pulling images, probes, restarts, kills. The cluster forgets them after about an hour.",
            |job| Box::pin(get_events(job)),
        )
        .optional("resource_name", string("Only events of objects whose name holds this text.", 253))
        .optional(
            "event_type",
            json!({ "type": "string", "enum": ["Normal", "Warning"], "description": "Only events of this type." }),
        )
        .capabilities(&["events", "scheduling", "crashes"]),
    ]
}

async fn get_events(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let view = job.view()?;
    let selector = text(job.args(), "event_type").map(|kind| format!("type={kind}"));
    let query: Vec<(&str, &str)> = selector.iter().map(|selector| ("fieldSelector", selector.as_str())).collect();
    let path = view.path(&CORE, "events");
    let mut listed = view.all::<KubeEvent>(&path, &query).await?;
    if let Some(wanted) = text(job.args(), "resource_name") {
        listed.items.retain(|event| event.involved_object.name.contains(wanted));
    }
    listed.items.sort_by_key(|event| (std::cmp::Reverse(last_seen(event)), event.metadata.name.clone()));
    let whole = listed.items.len();
    listed.items.truncate(EVENTS_SHOWN);
    let mut words = String::new();
    if let Some(note) = view.cut_note(listed.cut, "events") {
        words.push_str(&format!("{note}\n"));
    }
    if whole > EVENTS_SHOWN {
        words.push_str(&format!("the newest {EVENTS_SHOWN} of {whole} events\n"));
    }
    if whole == 0 {
        words.push_str(&format!("no such events{}\n", view.within()));
    } else {
        let rows: Vec<Vec<String>> = listed
            .items
            .iter()
            .map(|event| {
                vec![
                    last_seen(event).map(|at| at.to_string()).unwrap_or_default(),
                    event.kind.clone(),
                    event.reason.clone(),
                    object(event),
                    count(event).to_string(),
                    event.message.trim().to_owned(),
                ]
            })
            .collect();
        words.push_str(&table(&["LAST SEEN", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"], &rows));
    }
    let events: Vec<Value> = listed.items.iter().map(data).collect();
    Ok(ToolOutput::with_data(words, json!({ "events": events, "count": whole })))
}

fn data(event: &KubeEvent) -> Value {
    json!({
        "type": event.kind,
        "reason": event.reason,
        "message": event.message,
        "object": object(event),
        "namespace": event.involved_object.namespace,
        "source": source(event),
        "first_seen": event.first_timestamp.or(event.event_time).or(event.metadata.creation_timestamp),
        "last_seen": last_seen(event),
        "count": count(event),
    })
}

/// `Pod/web-1`.
fn object(event: &KubeEvent) -> String {
    format!("{}/{}", event.involved_object.kind, event.involved_object.name)
}

fn source(event: &KubeEvent) -> String {
    let component = Some(&event.source.component).filter(|name| !name.is_empty()).unwrap_or(&event.reporting_component);
    if event.source.host.is_empty() { component.clone() } else { format!("{component}, {}", event.source.host) }
}

/// Older events say it themselves, newer ones in their series.
fn last_seen(event: &KubeEvent) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time);
    series.or(event.last_timestamp).or(event.event_time).or(event.metadata.creation_timestamp)
}

fn count(event: &KubeEvent) -> u64 {
    event.series.as_ref().map(|series| series.count).or(event.count).unwrap_or(1).max(1)
}
