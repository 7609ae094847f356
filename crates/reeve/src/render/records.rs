//! Records, journeys, actions, tools, keys: lists of what the API tells, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Table, clean, duration_ms, field, first, moment, pairs};
use crate::term::{Look, Tone};

/// Records of the audit log in a table.
pub(crate) fn events(events: &[Value], look: Look) -> String {
    let mut table = Table::new(&["EVENT", "TIME", "TYPE", "WHO", "TOOL", "ON", "OUTCOME", "TRACE"]);
    for event in events {
        let outcome = outcome_of(event);
        let tone = tone_of(&outcome);
        table.toned([
            (field(event, "event_id"), None),
            (moment(&field(event, "timestamp")), None),
            (field(event, "event_type"), None),
            (who(event), None),
            (first(event, &["tool.name", "tool"]), None),
            (on_what(event), None),
            (outcome, tone),
            (field(event, "trace_id"), None),
        ]);
    }
    table.text(look, "No records.")
}

/// One record in one line, as following the log shows it.
pub(crate) fn event_line(event: &Value, look: Look) -> String {
    let outcome = outcome_of(event);
    let painted = tone_of(&outcome).map_or(outcome.clone(), |tone| look.paint(tone, &outcome));
    let words = [who(event), first(event, &["tool.name"]), on_what(event), painted, field(event, "note")];
    let said = words.iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join("  ");
    let time = look.paint(Tone::Faint, &moment(&field(event, "timestamp")));
    format!("{time}  {:<21}  {said}", field(event, "event_type"))
}

fn who(event: &Value) -> String {
    first(event, &["principal.id", "principal.user_id", "principal.service", "session.user_id"])
}

fn on_what(event: &Value) -> String {
    let name = first(event, &["resource.name", "policy_decision.resource_name"]);
    let kind = first(event, &["resource.kind", "policy_decision.resource_type"]);
    if kind.is_empty() { name } else { format!("{kind}:{name}") }
}

fn outcome_of(event: &Value) -> String {
    first(event, &["outcome.status", "policy_decision.effect", "approval.status"])
}

fn tone_of(outcome: &str) -> Option<Tone> {
    match outcome {
        "success" | "succeeded" | "allow" | "approved" | "completed" | "verified_ok" => Some(Tone::Good),
        "deny" | "denied" | "error" | "failed" | "unknown" | "verified_failed" | "escalation_required" => {
            Some(Tone::Critical)
        }
        "require_approval" | "pending" | "awaiting_approval" | "verified_warning" => Some(Tone::Warning),
        _ => None,
    }
}

/// Journeys in a table.
pub(crate) fn journeys(journeys: &[Value], look: Look) -> String {
    let mut table = Table::new(&["TRACE", "STARTED", "TOOK", "WHO", "AGENT", "TOOLS", "OUTCOME", "EVENTS", "QUESTION"]);
    for journey in journeys {
        let outcome = field(journey, "outcome");
        let tone = tone_of(&outcome);
        let took = journey.get("duration_ms").and_then(Value::as_u64).map(duration_ms).unwrap_or_default();
        table.toned([
            (field(journey, "trace_id"), None),
            (moment(&field(journey, "started_at")), None),
            (took, None),
            (field(journey, "user_id"), None),
            (field(journey, "agent"), None),
            (field(journey, "tools_used"), None),
            (outcome, tone),
            (field(journey, "event_count"), None),
            (field(journey, "user_query"), None),
        ]);
    }
    table.text(look, "No journeys.")
}

/// Actions in a table.
pub(crate) fn actions(actions: &[Value], look: Look) -> String {
    let mut table = Table::new(&["ACTION", "STATE", "TOOL", "CLASS", "ON", "WHO", "ASKED"]);
    for action in actions {
        let state = field(action, "state");
        let tone = tone_of(&state);
        table.toned([
            (field(action, "action_id"), None),
            (state, tone),
            (first(action, &["tool", "tool_name"]), None),
            (field(action, "action_class"), None),
            (super::approvals::resource(action), None),
            (first(action, &["principal.id", "requested_by", "requester.id"]), None),
            (moment(&first(action, &["created_at", "requested_at"])), None),
        ]);
    }
    table.text(look, "No actions.")
}

/// One action and how it ended.
pub(crate) fn action(action: &Value, look: Look) -> String {
    let mut out = pairs(
        look,
        &[
            ("Action", field(action, "action_id")),
            ("State", field(action, "state")),
            ("Tool", first(action, &["tool", "tool_name"])),
            ("Class", field(action, "action_class")),
            ("Resource", super::approvals::resource(action)),
            ("Asked by", first(action, &["principal.id", "requested_by", "requester.id"])),
            ("Asked", moment(&first(action, &["created_at", "requested_at"]))),
            ("Approval", field(action, "approval_id")),
            ("Trace", field(action, "trace_id")),
            ("Verified", first(action, &["verify_status", "result.verify_status"])),
            ("Error", field(action, "error")),
        ],
    );
    let answer =
        action.get("text").or_else(|| action.pointer("/result/output")).or_else(|| action.pointer("/result/text"));
    if let Some(text) = answer.and_then(Value::as_str).filter(|text| !text.is_empty()) {
        let _ = write!(out, "\n{}\n", clean(text).trim_end());
    }
    out
}

/// Tools in a table.
pub(crate) fn tools(tools: &[Value], look: Look) -> String {
    let mut table = Table::new(&["TOOL", "CLASS", "AGENT", "DOES"]);
    for tool in tools {
        let class = field(tool, "action_class");
        let tone = class_tone(&class);
        table.toned([
            (field(tool, "name"), None),
            (class, tone),
            (field(tool, "agent"), None),
            (field(tool, "description"), None),
        ]);
    }
    table.text(look, "No tools.")
}

fn class_tone(class: &str) -> Option<Tone> {
    match class {
        "destructive" => Some(Tone::Critical),
        "write" => Some(Tone::Warning),
        _ => None,
    }
}

/// One tool and what it takes.
pub(crate) fn tool(tool: &Value, look: Look) -> String {
    let name = field(tool, "name");
    let mut out = format!("{}\n", look.paint(Tone::Strong, &name));
    out.push_str(&super::hanging("  ", &field(tool, "description"), look.width));
    out.push('\n');
    let undo = reversibility(tool);
    out.push_str(&pairs(
        look,
        &[
            ("Class", field(tool, "action_class")),
            ("Agent", field(tool, "agent")),
            ("Can be undone", undo),
            ("Good for", field(tool, "capabilities")),
        ],
    ));
    let schema = tool.get("input_schema").unwrap_or(&Value::Null);
    let required: Vec<&str> =
        super::entries(schema.get("required").unwrap_or(&Value::Null), "").iter().filter_map(Value::as_str).collect();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|map| !map.is_empty()) {
        let mut table = Table::new(&["ARGUMENT", "IS A", "NEEDED", "MEANS"]);
        for (argument, shape) in properties {
            let needed = if required.contains(&argument.as_str()) { "yes" } else { "" };
            table.row([clean(argument), kind_of(shape), needed.to_owned(), field(shape, "description")]);
        }
        let _ = write!(out, "\n{}", table.text(look, ""));
    }
    out
}

fn reversibility(tool: &Value) -> String {
    match tool.get("reversibility") {
        None => first(tool, &["reversible"]),
        Some(Value::String(word)) => clean(word),
        Some(how) => {
            let words = first(how, &["description", "reason"]);
            match field(how, "kind").as_str() {
                "not_needed" => "it changes nothing".to_owned(),
                "inverse" => format!("yes, with {}: {words}", field(how, "tool")),
                "partial" => format!("partly: {words}"),
                _ => format!("no: {words}"),
            }
        }
    }
}

fn kind_of(shape: &Value) -> String {
    let choices = field(shape, "enum");
    if !choices.is_empty() {
        return format!("one of {choices}");
    }
    field(shape, "type")
}

/// Keys in a table. The keys themselves are never told again.
pub(crate) fn keys(keys: &[Value], look: Look) -> String {
    let mut table = Table::new(&["KEY", "KIND", "PRINCIPAL", "ROLES", "MADE", "STATE", "NOTE"]);
    for key in keys {
        let revoked = first(key, &["revoked_at"]);
        let state = if revoked.is_empty() { "active".to_owned() } else { format!("revoked {}", moment(&revoked)) };
        table.row([
            field(key, "key_id"),
            field(key, "kind"),
            first(key, &["principal", "principal_id"]),
            field(key, "roles"),
            moment(&field(key, "created_at")),
            state,
            field(key, "note"),
        ]);
    }
    table.text(look, "No keys.")
}

/// Tenants in a table.
pub(crate) fn tenants(tenants: &[Value], look: Look) -> String {
    let mut table = Table::new(&["TENANT", "MADE BY", "MADE"]);
    for tenant in tenants {
        table.row([field(tenant, "name"), first(tenant, &["made_by"]), moment(&first(tenant, &["created_at"]))]);
    }
    table.text(look, "No tenants.")
}

/// Users in a table.
pub(crate) fn users(users: &[Value], look: Look) -> String {
    let mut table = Table::new(&["ID", "KIND", "ROLES", "FROM", "STATE"]);
    for user in users {
        let off = user.get("disabled").and_then(Value::as_bool).unwrap_or_default();
        let state = if off { "switched off" } else { "" };
        let from = field(user, "source").replace('_', " ");
        let id = first(user, &["id", "user_id"]);
        table.row([id, field(user, "kind"), field(user, "roles"), from, state.to_owned()]);
    }
    table.text(look, "No users.")
}

/// Workspaces in a table.
pub(crate) fn workspaces(workspaces: &[Value], look: Look) -> String {
    let mut table = Table::new(&["WORKSPACE", "NAME", "STATE", "TEMPLATE", "DRIVER", "OWNER", "LAST USED"]);
    for workspace in workspaces {
        table.row([
            field(workspace, "id"),
            field(workspace, "name"),
            field(workspace, "state"),
            field(workspace, "template"),
            field(workspace, "driver"),
            field(workspace, "owner"),
            moment(&field(workspace, "last_active_at")),
        ]);
    }
    table.text(look, "No workspaces. `reeve workspaces create NAME` makes one.")
}

/// One workspace in words.
pub(crate) fn workspace(workspace: &Value, look: Look) -> String {
    pairs(
        look,
        &[
            ("workspace", field(workspace, "id")),
            ("name", field(workspace, "name")),
            ("description", field(workspace, "description")),
            ("state", field(workspace, "state")),
            ("problem", field(workspace, "problem")),
            ("template", field(workspace, "template")),
            ("driver", field(workspace, "driver")),
            ("owner", field(workspace, "owner")),
            ("directory", field(workspace, "directory")),
            ("isolation", field(workspace, "isolation.tier")),
            ("limits by", field(workspace, "isolation.limits")),
            ("network", field(workspace, "egress.mode")),
            ("made", moment(&field(workspace, "created_at"))),
            ("last used", moment(&field(workspace, "last_active_at"))),
            ("alive because", field(workspace, "alive_because")),
            ("suspends", moment(&field(workspace, "suspends_at"))),
            ("restorable until", moment(&field(workspace, "purged_at"))),
        ],
    )
}

/// What a workspace uses, in words.
pub(crate) fn workspace_usage(usage: &Value, look: Look) -> String {
    let size = |key: &str| match usage.get(key).and_then(Value::as_u64) {
        Some(bytes) => format!("{:.1} MB", bytes as f64 / 1e6),
        None => String::new(),
    };
    let cpu =
        usage.get("cpu_ms").and_then(Value::as_u64).map_or_else(String::new, |ms| format!("{:.1} s", ms as f64 / 1e3));
    pairs(
        look,
        &[
            ("memory", size("memory_bytes")),
            ("disk", size("disk_bytes")),
            ("processor", cpu),
            ("processes", field(usage, "pids")),
            ("terminals", field(usage, "terminals")),
            ("programs", field(usage, "executions")),
            ("out of memory", field(usage, "out_of_memory")),
        ],
    )
}

/// Templates in a table.
pub(crate) fn templates(templates: &[Value], look: Look) -> String {
    let mut table = Table::new(&["TEMPLATE", "TITLE", "DRIVERS", "DESCRIPTION"]);
    for template in templates {
        table.row([
            field(template, "name"),
            field(template, "title"),
            field(template, "drivers"),
            field(template, "description"),
        ]);
    }
    table.text(look, "No templates.")
}

/// Databases of the inventory in a table.
pub(crate) fn databases(databases: &[Value], look: Look) -> String {
    let mut table = Table::new(&["ID", "NAME", "WHERE", "TAGS", "SENSITIVITY", "CONNECTION"]);
    for database in databases {
        table.row([
            field(database, "id"),
            field(database, "name"),
            field(database, "hosting"),
            field(database, "tags"),
            field(database, "sensitivity"),
            reeve_types::mask_dsn(&field(database, "connection_string")),
        ]);
    }
    table.text(look, "The inventory holds no databases.")
}

/// What checking the whole log found.
pub(crate) fn verdict(verdict: &Value, look: Look) -> String {
    let valid = verdict.get("valid").and_then(Value::as_bool) == Some(true);
    let (words, tone) =
        if valid { ("The log is in order", Tone::Good) } else { ("THE LOG IS NOT IN ORDER", Tone::Critical) };
    let mut out = format!("{}\n\n", look.paint(tone, words));
    let ranges = |name: &str| {
        let list = verdict.get(name).map(|list| super::entries(list, name)).unwrap_or_default();
        let words = list.iter().map(|range| (field(range, "from"), field(range, "to")));
        words.map(|(from, to)| if from == to { from } else { format!("{from}–{to}") }).collect::<Vec<_>>().join(", ")
    };
    let completeness = match field(verdict, "completeness").as_str() {
        "complete" => "nothing is missing up to the newest checkpoint".to_owned(),
        "incomplete" => "records are missing".to_owned(),
        "unknown" => "cannot be told: no checkpoint to compare with".to_owned(),
        other => other.to_owned(),
    };
    out.push_str(&pairs(
        look,
        &[
            ("Records", field(verdict, "total_events")),
            ("Integrity", field(verdict, "integrity")),
            ("Completeness", completeness),
            ("Checkpoints compared", field(verdict, "checkpoints_checked")),
            ("Vouched for", ranges("anchored")),
            ("By the chain alone", ranges("unanchored")),
            ("Missing", ranges("missing")),
            ("Broken at", field(verdict, "broken_at")),
            ("Because", field(verdict, "error")),
            ("Last record", field(verdict, "last_event_id")),
            ("Root", field(verdict, "root")),
        ],
    ));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LOOK: Look = Look { colour: false, width: 80, columns: None };

    #[test]
    fn records_show_who_did_what_and_how_it_ended() {
        let list = json!([
            {"event_id": "pol_1", "timestamp": "2026-03-01T12:00:00.5Z", "event_type": "policy_decision", "trace_id": "dt_1",
             "principal": {"id": "otto"}, "tool": {"name": "terminate_connection"},
             "policy_decision": {"resource_type": "database", "resource_name": "prod-db", "effect": "deny"}},
            {"event_id": "tool_1", "timestamp": "2026-03-01T12:00:01Z", "event_type": "tool_execution", "trace_id": "dt_2",
             "principal": {"user_id": "dora"}, "tool": {"name": "get_locks"}, "resource": {"kind": "database", "name": "x"},
             "outcome": {"status": "success"}}
        ]);
        insta::assert_snapshot!(events(entries(&list), LOOK));
        insta::assert_snapshot!(event_line(&list[0], LOOK), @"2026-03-01 12:00:00  policy_decision        otto  terminate_connection  database:prod-db  deny");
    }

    fn entries(value: &Value) -> &[Value] {
        super::super::entries(value, "events")
    }

    #[test]
    fn a_tool_says_what_it_takes() {
        let told = json!({
            "name": "terminate_connection", "agent": "database", "action_class": "destructive",
            "description": "Ends one session; its transaction is rolled back.",
            "reversibility": {"kind": "partial", "description": "the client may connect again"},
            "capabilities": ["locks"],
            "input_schema": {"type": "object", "required": ["pid"], "properties": {
                "pid": {"type": "integer", "description": "Process id of the session."},
                "connection_string": {"type": "string", "description": "Target: an id of the inventory or a DSN."}}}
        });
        insta::assert_snapshot!(tool(&told, LOOK));
    }

    #[test]
    fn a_broken_log_is_said_loudly() {
        let told = json!({"valid": false, "integrity": "broken", "completeness": "incomplete", "total_events": 41,
            "broken_at": 17, "error": "record 17 was changed", "checkpoints_checked": 3, "root": "ab",
            "anchored": [{"from": 0, "to": 16}], "unanchored": [], "missing": [{"from": 20, "to": 21}, {"from": 30, "to": 30}]});
        insta::assert_snapshot!(verdict(&told, LOOK));
    }
}
