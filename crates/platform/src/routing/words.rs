//! The sentences of an answer.

use reeve_types::{Diagnosis, Finding, NotChecked, Severity, mask_dsn};
use serde_json::Value;

use super::Citation;
use super::topics::Topic;

/// How many lines of a tool's text an answer shows.
const EXCERPT_LINES: usize = 25;

/// Whether a question asks what is known rather than how something is.
pub(super) fn asks_for_inventory(message: &str) -> bool {
    let lower = message.to_lowercase();
    let thing = ["databases", "targets", "servers", "clusters", "inventory"].iter().any(|word| lower.contains(word));
    let asking = [
        "aware of",
        "do you know",
        "know about",
        "list",
        "which databases",
        "what databases",
        "do you have",
        "are there",
    ]
    .iter()
    .any(|word| lower.contains(word));
    thing && asking
}

/// Whether a text names a word as a whole, not as part of another.
pub(super) fn mentions(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(word).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// `a`, `b` and `c`.
pub(super) fn list(names: &[&String]) -> String {
    let shown: Vec<String> = names.iter().take(8).map(|name| format!("`{name}`")).collect();
    match shown.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A question without the passwords of connection strings inside it.
pub(super) fn masked(message: &str) -> String {
    if message.contains("://") {
        return message
            .split_inclusive(char::is_whitespace)
            .map(|word| if word.contains("://") { mask_dsn(word) } else { word.to_owned() })
            .collect();
    }
    if message.to_lowercase().contains("password") { mask_dsn(message) } else { message.to_owned() }
}

/// The first sentence: how it stands.
pub(super) fn opening(topic: Option<&Topic>, diagnosis: &Diagnosis, relevant: &[Finding]) -> String {
    let target = &diagnosis.target;
    if !diagnosis.reachable {
        return format!("I could not look inside {target}.");
    }
    let version = diagnosis.server_version.as_deref().unwrap_or("PostgreSQL");
    let about = topic.filter(|t| !t.findings.is_empty()).map_or_else(String::new, |t| format!(" about {}", t.title));
    let serious = relevant.iter().filter(|f| f.severity != Severity::Info).count();
    let took = format!("{} checks of {target} ({version}) in {} ms", diagnosis.checks_run, diagnosis.duration_ms);
    match (serious, relevant.len()) {
        (0, 0) => format!("I made {took} and found nothing to worry about{about}."),
        (0, _) => format!("I made {took} and found nothing to worry about{about}; some things are worth knowing."),
        (1, _) => format!("I made {took}. There is one problem{about}."),
        (n, _) => format!("I made {took}. There are {n} problems{about}."),
    }
}

/// One finding in sentences: what, why, by which evidence, what to do.
pub(super) fn finding(finding: &Finding) -> String {
    let mut text = format!("{} ({}). {}", finding.title, finding.severity.as_str(), finding.cause);
    let facts: Vec<String> = finding.evidence.iter().take(4).map(|e| format!("{} [{}]", e.fact, e.source)).collect();
    if !facts.is_empty() {
        text.push_str(&format!(" Evidence: {}.", facts.join("; ")));
    }
    for remedy in finding.remedies.iter().take(2) {
        let arguments = serde_json::to_string(&remedy.arguments).unwrap_or_default();
        let undo = if remedy.reversible { "can be undone" } else { "cannot be undone" };
        text.push_str(&format!(
            " Remedy: {} {arguments} ({}, {undo}). {}",
            remedy.tool, remedy.action_class, remedy.why
        ));
    }
    for advice in finding.advice.iter().take(2) {
        text.push_str(&format!(" Advice: {advice}"));
    }
    text
}

/// What could not be looked at.
pub(super) fn gaps(not_checked: &[NotChecked]) -> Option<String> {
    if not_checked.is_empty() {
        return None;
    }
    let gaps: Vec<String> = not_checked.iter().take(6).map(|gap| format!("{} ({})", gap.check, gap.reason)).collect();
    let more = not_checked.len().saturating_sub(6);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!("I could not look at {}{more}.", gaps.join(", ")))
}

pub(super) fn tool_heading(tool: &str) -> String {
    let words = tool.trim_start_matches("get_").replace('_', " ");
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The beginning of a tool's text.
pub(super) fn excerpt(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.iter().take(EXCERPT_LINES).copied().collect::<Vec<_>>().join("\n");
    match lines.len().saturating_sub(EXCERPT_LINES) {
        0 => shown,
        more => format!("{shown}\n… {more} more lines"),
    }
}

/// What a tool found, in one line.
pub(super) fn summary(tool: &str, data: Option<&Value>, text: &str) -> String {
    match data.and_then(Value::as_array) {
        Some(rows) => format!("{tool} returned {} row{}", rows.len(), if rows.len() == 1 { "" } else { "s" }),
        None => text.lines().next().unwrap_or_default().chars().take(160).collect(),
    }
}

/// The records that the answer rests on.
pub(super) fn sources(citations: &[Citation]) -> String {
    let mut ids: Vec<String> =
        citations.iter().filter_map(|c| c.event_id.as_ref().map(|id| format!("{} ({id})", c.tool))).collect();
    ids.dedup();
    if ids.is_empty() {
        "Sources: the checks named above; they could not be recorded.".to_owned()
    } else {
        format!("Sources: {}.", ids.join(", "))
    }
}
